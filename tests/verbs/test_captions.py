"""R-precision and clusters in a report: of models that draw what was asked for, or something else."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage
from test_evaluate import FakeRun, part, rows_of

from likewise.modalities.image import Image
from likewise.modalities.image_pixels import ImagePixels
from likewise.spaces import Continuous
from likewise.verbs.evaluate import evaluate

pytestmark = pytest.mark.full

COLOURS = {
    "red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 40, 220), "white": (250, 250, 250),
    "black": (5, 5, 5), "yellow": (230, 220, 40),
}  # fmt: skip
KINDS = [f"{a} above {b}" for a, b in product(COLOURS, COLOURS)]


def picture(rng: np.random.Generator, caption: str) -> Any:
    pixels = np.empty((8, 8, 3))
    pixels[:4], pixels[4:] = (COLOURS[word] for word in caption.split(" above "))
    return PILImage.fromarray((pixels + rng.normal(size=pixels.shape) * 10).round().clip(0, 255).astype(np.uint8))


def captioned_run(path: Path, draw: Any) -> FakeRun:
    rng = np.random.default_rng(0)
    modality = Image(8, "RGB")
    pixels = ImagePixels(modality)
    parts = {}
    for name, count in (("train", 150), ("held_out", 60)):
        captions = [KINDS[i] for i in rng.integers(0, len(KINDS), count)]
        values = [picture(rng, caption) for caption in captions]
        x = pixels.encode(pixels.pack(values).data)
        parts[name] = part(values, x, text=captions)
    return FakeRun(path, modality, parts, draw, space=Continuous((3, 8, 8), levels=256), name="pairs")


def test_samples_that_fit_their_captions_and_such_that_do_not(tmp_path: Path) -> None:
    fitting = evaluate(captioned_run(tmp_path / "good", lambda rng, given: picture(rng, given["text"])), n=60)
    row = rows_of(fitting)["r_precision:text"]
    assert row["title"] == "R-precision@10 for text"
    assert row["low"] > 0.7
    assert row["floor"]["value"] > 0.9
    assert row["baseline"]["value"] < 0.3
    assert any("network trained on real pairs" in sentence for sentence in fitting["verdict"])
    assert "agreement:text" not in rows_of(fitting)
    other = evaluate(captioned_run(tmp_path / "bad", lambda rng, _: picture(rng, KINDS[rng.integers(36)])), n=60)
    assert rows_of(other)["r_precision:text"]["value"] < 0.35


def test_pairs_that_say_nothing_give_no_row(tmp_path: Path) -> None:
    run = captioned_run(tmp_path, lambda rng, given: picture(rng, given["text"]))
    rng = np.random.default_rng(1)
    for name in ("train", "held_out"):
        given = run.reference(name).given
        given["text"] = [given["text"][i] for i in rng.permutation(len(given["text"]))]
    report = evaluate(run, n=60)
    assert "r_precision:text" not in rows_of(report)
    assert any(each["what"] == "R-precision for text" and "no judge" in each["why"] for each in report["skipped"])


def test_kinds_that_nobody_named_are_counted_too(tmp_path: Path) -> None:
    def run(name: str, kinds: int) -> Any:
        made = captioned_run(tmp_path / name, lambda rng, _: picture(rng, KINDS[rng.integers(kinds)]))
        for each in ("train", "held_out"):
            made.reference(each).given.clear()
        made.conditions = {}
        return rows_of(evaluate(made, n=60))["modes"]

    everything, one = run("all", len(KINDS)), run("one", 1)
    assert everything["value"] == everything["floor"]["value"] == 1
    assert one["value"] == pytest.approx(1 / 3)
