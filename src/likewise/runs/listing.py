"""Summaries of run folders from their small files, read without torch."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from likewise import catalog
from likewise.runs import migrate


@dataclass(frozen=True)
class Summary:
    """One run of a list.

    learns: target and conditions, such as "image given label". steps: None if training is unfinished. seconds: training
    time. loss: the best validation loss, None if there is none.
    """

    path: Path
    learns: str
    family: str
    backbone: str
    steps: int | None
    seconds: float
    loss: float | None


def list_runs(folder: Path) -> list[Summary]:
    """The runs in a folder, sorted by name. Raises ValueError as `summary` does."""
    return [summary(file.parent) for file in sorted(folder.glob("*/experiment.toml"))]


def summary(path: Path) -> Summary:
    """The summary of the run folder `path`. Raises ValueError if one of its files cannot be parsed."""
    file = path / "experiment.toml"
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
        file = path / "run.json"
        info = _json(file) if file.is_file() else {}
        file = path / "modality.json"
        learns = _learns(_json(file))
        file = path / "metrics.jsonl"
        lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []
    except ValueError as error:
        raise ValueError(f"{file}: cannot be read: {error}") from None
    # "held_out" in runs of earlier versions
    losses = [line["best"] for line in lines if line["split"] in ("val", "held_out")]
    family, backbone = (settings.get(part, {}).get("name", "") for part in ("family", "backbone"))
    return Summary(
        path, learns, family, backbone, info.get("steps"), info.get("seconds", 0.0), losses[-1] if losses else None
    )


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _learns(state: dict[str, Any]) -> str:
    state = migrate.modality(state)
    what, encoding = (state["target"][part]["name"] for part in ("modality", "encoding"))
    if encoding in catalog.encodings(catalog.ANY):
        what = f"{what} as {encoding}"
    given = ", ".join(state["condition"])
    return f"{what} given {given}" if given else what
