"""Records of one file (or one folder of frames) each, labelled by their folder if there are several."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from likewise.data.indexed import Files
from likewise.data.records import Records

#: maximum files whose paths are kept in memory as Path objects
_MANY_FILES = 20_000


def paths(folder: Path, names: Sequence[str]) -> list[Path] | Files:
    """The paths of files below a folder; if they are many, created on access."""
    return [folder / name for name in names] if len(names) <= _MANY_FILES else Files(folder, names)


def items(path: Path, names: Sequence[str], kind: str, layout: str) -> Records:
    """Records of the modality `kind`, labelled by folder if all files are in subfolders directly below `path`."""
    found = paths(path, names)
    parents = {os.path.dirname(name) for name in names}
    if "" in parents or len(parents) < 2 or any(os.path.dirname(parent) for parent in parents):
        return Records(path, layout, {kind: kind}, {kind: found}, kind)
    labels = found.map(_folder) if isinstance(found, Files) else [_folder(file) for file in found]
    columns: dict[str, Any] = {kind: found, "label": labels}
    return Records(path, f"{layout} with classes", {kind: kind, "label": "label"}, columns, kind, ("label",))


def _folder(file: Path) -> str:
    return file.parent.name
