"""Sample: draw from a run and write what was drawn, each with its provenance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from likewise import catalog
from likewise.run import Run
from likewise.samples import Samples


def sample(
    run: Run, n: int = 16, seed: int = 0, given: Any = None, out: Path | None = None, start: int = 0,
    settings: dict[str, Any] | None = None,
) -> tuple[Samples, Path]:  # fmt: skip
    """Draw and write samples start..start + n - 1; returns them and their folder (default: samples/ in the run)."""
    drawn = run.sample(n, seed, given, start, settings)
    folder = out or run.path / "samples"
    drawn.save(folder)
    return drawn, folder


def _provenance(file: Path) -> dict[str, Any] | None:
    """What is written in a sample's own file, by whichever modality writes such files."""
    kinds = [catalog.find("modality", name) for name in catalog.names("modality")]
    return next((found for k in kinds if k.suffix == file.suffix and (found := k.read_provenance(file))), None)


def again(file: Path, out: Path) -> Path:
    """Draw written samples once more, from their provenance: one picture, or a whole samples.jsonl or samples.csv.

    Returns the file that was written, in `out`. Raises ValueError if the run's weights are others now.
    """
    if not file.is_file():
        raise ValueError(f"{file}: there is no such file")
    whole = file.name in ("samples.jsonl", "samples.csv")
    if whole:
        found = json.loads((file.parent / "provenance.json").read_text(encoding="utf-8"))
        rows = [json.loads(line) for line in (file.parent / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
        first, given = rows[0]["index"], [row["given"] for row in rows]
    else:
        found = _provenance(file)
        if found is None:
            raise ValueError(f"{file}: it carries no provenance of likewise")
        first, given = found["index"], [found["given"]]
    run = Run(Path(found["run"]))
    if run.weights_hash != found["weights"]:
        raise ValueError(f"{file}: drawn by other weights than those {run.path} has now")
    sample(run, len(given), found["seed"], given, out, first, found["settings"])
    return out / file.name if whole else out / f"{first:06d}{run.modality.suffix}"
