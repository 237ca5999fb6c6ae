"""Sample: draw from a run and write what was drawn, each with its provenance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from likewise.run import Run
from likewise.samples import Samples


def sample(
    run: Run, n: int = 16, seed: int = 0, given: Any = None, out: Path | None = None, start: int = 0,
    settings: dict[str, Any] | None = None,
) -> tuple[Samples, Path]:  # fmt: skip
    """Draw and write samples start..start + n - 1; returns them and their folder (default: samples/ in the run)."""
    drawn = run.sample(n, seed, given, start, settings)
    drawn.provenance["weights"] = run.weights_hash
    folder = out or run.path / "samples"
    drawn.save(folder)
    return drawn, folder


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
