"""Sample: draw from a run and write what was drawn, each with its provenance."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from likewise.run import Run, Samples


def sample(
    run: Run, n: int = 16, seed: int = 0, given: Any = None, out: Path | None = None, start: int = 0,
    settings: dict[str, Any] | None = None,
) -> tuple[Samples, Path]:  # fmt: skip
    """Draw and write samples start..start + n - 1; returns them and their folder (default: samples/ in the run)."""
    drawn = run.sample(n, seed, given, start, settings)
    drawn.provenance["weights"] = run.weights_hash
    folder = out or run.path / "samples"
    write(drawn, folder)
    return drawn, folder


def write(drawn: Samples, folder: Path) -> None:
    """Write samples.jsonl, provenance.json, and a file for each sample or samples.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    modality, base = drawn.modality, drawn.provenance
    lines = []
    for i, (value, asked) in enumerate(zip(drawn.values, drawn.given, strict=True), drawn.start):
        line: dict[str, Any] = {"index": i, "seed": drawn.seed, "given": asked}
        if modality.suffix:
            line["file"] = f"{i:06d}{modality.suffix}"
            modality.write(value, folder / line["file"], {**base, "index": i, "given": asked})
        else:
            line["row" if isinstance(value, Mapping) else "text"] = modality.to_json(value)
        lines.append(json.dumps(line, ensure_ascii=False))
    (folder / "samples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "provenance.json").write_text(json.dumps(base, indent=1), encoding="utf-8")
    if isinstance(drawn.values[0], Mapping):
        with (folder / "samples.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(drawn.values[0]))
            writer.writeheader()
            writer.writerows(drawn.values)


def again(file: Path, out: Path) -> Path:
    """Draw a written picture once more, from the provenance in it."""
    from likewise.modalities.image import Image

    found = Image.read_provenance(Image(1, "L", 1, None), file)
    if found is None:
        raise ValueError(f"{file}: it carries no provenance of likewise")
    run = Run(Path(found["run"]))
    if run.weights_hash != found["weights"]:
        raise ValueError(f"{file}: drawn by other weights than those {run.path} has now")
    sample(run, 1, found["seed"], found["given"], out, found["index"], found["settings"])
    return out / f"{found['index']:06d}{run.modality.suffix}"
