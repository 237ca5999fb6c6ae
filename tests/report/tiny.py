"""Data of each kind that `evaluate` must take as it is, and runs of a few steps on them."""

from __future__ import annotations

import csv
import json
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits, load_wine

from likewise.catalog import find
from likewise.runs.run import Run
from likewise.verbs.train import train
from moving import save_gif, square

COUNT = 120
KINDS = ("picture", "captioned", "clip", "text", "translation", "dialogue", "table")
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
NUMBERS = ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"]
#: small enough that training and measuring take a second or two
SMALL = {
    "training.batch": 16,
    "training.threads": 1,
    "training.checkpoint_every": 2,
    "data.val_fraction": 0.3,
}
#: the kinds that are a file, not a folder
FILES = {"text": "lines.txt", "translation": "pairs.tsv", "dialogue": "talks.jsonl", "table": "rows.csv"}
QUICK_FLOW = {"family.likelihood_steps": 2, "family.sampling.steps": 2}


def lay_out(kind: str, folder: Path) -> Path:
    """Write the data of a kind as a user would have them, and return their path."""
    folder.mkdir(parents=True)
    pixels, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    match kind:
        case "picture" | "captioned":
            lines = []
            for i in range(COUNT):
                name = f"{labels[i]}/{i}.png" if kind == "picture" else f"{i}.png"
                (folder / name).parent.mkdir(exist_ok=True)
                Image.fromarray((pixels[i].reshape(8, 8) * 15).astype(np.uint8)).save(folder / name)
                lines.append(json.dumps({"file_name": name, "text": f"the digit {WORDS[labels[i]]}, hand {i}"}))
            if kind == "captioned":
                (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
            return folder
        case "clip":
            for i in range(COUNT):
                save_gif(folder / "ab"[i % 2] / f"{i:03d}.gif", square(i, 4, (8, 8)))
            return folder
        case "text":
            lines = [line.strip() for text in topics.values() for line in text.splitlines() if len(line) > 30]
            path = folder / FILES[kind]
            path.write_text("\n".join(line[:40] for line in lines[:COUNT]), encoding="utf-8")
        case "translation":
            path = folder / FILES[kind]
            chosen = [rng.integers(10, size=4) for _ in range(COUNT)]
            rows = [(" ".join(WORDS[k] for k in each), " ".join(NUMBERS[k] for k in each)) for each in chosen]
            path.write_text("en\tde\n" + "\n".join(f"{a}\t{b}" for a, b in rows), encoding="utf-8")
        case "dialogue":
            path = folder / FILES[kind]
            talks = []
            for i in range(COUNT // 2):
                said = [" ".join(WORDS[k] for k in rng.integers(10, size=3)) for _ in range(4)]
                turns = [{"role": ("user", "assistant")[j % 2], "content": text} for j, text in enumerate(said)]
                talks.append({"messages": [{"role": "system", "content": "Count."}] * (i % 2) + turns})
            path.write_text("\n".join(json.dumps(talk) for talk in talks), encoding="utf-8")
        case "table":
            wine: Any = load_wine()
            path = folder / FILES[kind]
            with path.open("w", newline="", encoding="utf-8") as file:
                out = csv.writer(file)
                out.writerow(["alcohol", "colour", "hue", "kind"])
                for x, y in list(zip(wine.data, wine.target, strict=True))[:COUNT]:
                    out.writerow([x[0], round(x[9], 1), x[10], f"cultivar <{y}>"])
    return path


def laid_out(kind: str, folder: Path) -> Path:
    """The path of the data of a kind in `folder`, written at the first call."""
    data = folder / kind
    return data / FILES.get(kind, "") if data.exists() else lay_out(kind, data)


def make_run(kind: str, folder: Path, family: str | None = None) -> Run:
    """Train for two steps; the plan's own choice of family if none is named. Raises ValueError where none fits."""
    path = laid_out(kind, folder)
    out = folder / f"{kind}-{family or 'any'}"
    settings = SMALL | (QUICK_FLOW if family == "flow" else {})
    if family is None or find("family", family).has_networks:
        settings |= {"backbone.width": 16}
    return train(path, out=out, family=family, steps=2, set_=settings, say=lambda _: None)


@cache
def schema() -> dict[str, Any]:
    from likewise.report import page

    return json.loads(Path(page.__file__).with_name("schema.json").read_text(encoding="utf-8"))
