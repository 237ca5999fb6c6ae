"""Verify: checks the checksums of a run's files and redraws its stored samples bit for bit."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from likewise.runs.run import Run
from likewise.sampling.editing import Edit
from likewise.sampling.prompting import Prompting
from likewise.sampling.samples import json_lines
from likewise.training import checkpoint
from likewise.training.checkpoint import Damaged


@dataclass
class Verified:
    """The results of the checks, one line each: intact and damaged."""

    fine: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"fine     {line}" for line in self.fine] + [f"DAMAGED  {line}" for line in self.damaged]
        return "\n".join([*lines, "all is bit-identical" if not self.damaged else f"{len(self.damaged)} damaged"])


def verify(path: Path) -> Verified:
    """Check the files of a run, each checkpoint and the stored samples. Raises ValueError if `path` is not a run."""
    if not (path / checkpoint.MANIFEST).is_file() and not (path / "experiment.toml").is_file():
        raise ValueError(f"{path}: not a run (no experiment.toml in it)")
    found = Verified()
    try:
        count = checkpoint.check_seal(path)
        found.fine.append(f"{count} files of the run: plan, what was learned of the data, reference")
    except Damaged as damage:
        found.damaged.append(str(damage))
    folders = checkpoint.found(path / "checkpoints")
    for folder in folders:
        try:
            checkpoint.load(folder)
            found.fine.append(f"checkpoint {folder.name}")
        except Damaged as damage:
            found.damaged.append(str(damage))
    if not folders:
        found.fine.append("no checkpoint yet")
    if not found.damaged and folders and (path / "samples" / "provenance.json").is_file():
        _redraw(Run(path), found)
    return found


def _redraw(run: Run, found: Verified) -> None:
    folder = run.path / "samples"
    provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in json_lines(folder / "samples.jsonl")]
    if provenance.get("weights") != run.weights_hash:
        found.fine.append(f"{len(rows)} stored samples are of earlier weights, and were not drawn again")
        return
    given = [row["given"] for row in rows]
    prompting = Prompting.from_dict(provenance.get("steering", {}))
    drawn = run.sample(
        len(rows), provenance["seed"], given, rows[0]["index"], provenance["settings"], prompting=prompting,
        edit=Edit.from_dict(provenance.get("edit")), tile=provenance.get("tile", False),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        again = Path(name)
        dataclasses.replace(drawn, provenance=provenance).save(again)  # the run may have been moved
        differ = [p.name for p in sorted(again.iterdir()) if _bytes(folder / p.name) != p.read_bytes()]
    if differ:
        found.damaged.append(f"{folder}: {len(differ)} files are drawn otherwise now, the first is {differ[0]}")
    else:
        found.fine.append(f"{len(rows)} stored samples, drawn again bit for bit")


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
