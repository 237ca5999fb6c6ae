"""A folder of files with one value each, such as pictures or clips, optionally in a subfolder for each class.

The modalities find the files (`Modality.find_files`), so a modality that reads files needs no layout of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from likewise import catalog
from likewise.data.layouts.base import Layout, Source
from likewise.data.layouts.items import items
from likewise.data.records import FoundFiles, Records


class KindOfFiles(Protocol):
    """The class attributes and methods of `Modality` that are used here."""

    name: str
    item: str
    reads: tuple[str, ...]

    def find_files(self, folder: Path, names: Sequence[str], asked: bool) -> FoundFiles | None: ...


def kinds_of_files() -> list[KindOfFiles]:
    """The modalities whose values are separate files, in the order of the catalog."""
    kinds = [catalog.find("modality", name) for name in catalog.names("modality")]
    return [kind for kind in kinds if kind.reads]


def suffixes_of_files() -> set[str]:
    """The suffixes of files that any modality reads as a value."""
    return {suffix for kind in kinds_of_files() for suffix in kind.reads}


def files_of_one_kind(folder: Path, names: Sequence[str], as_: str | None) -> tuple[KindOfFiles, FoundFiles] | None:
    """The first modality that finds values among the files, and these files.

    names: relative to the folder. as_: the modality that the user selected, which is tried first.
    """
    for kind in sorted(kinds_of_files(), key=lambda kind: kind.name != as_):
        if found := kind.find_files(folder, names, kind.name == as_):
            return kind, found
    return None


class ValueFiles(Layout):
    rank = 1  # before texts, which may be captions of the pictures

    def detect(self, source: Source) -> int:
        if not source.is_folder:
            return int(source.suffix in suffixes_of_files())
        found = files_of_one_kind(source.path, source.names, source.as_)
        return len(found[1].names) if found else 0

    def read(self, source: Source) -> Records:
        if not source.is_folder:
            item = next(kind.item for kind in kinds_of_files() if source.suffix in kind.reads)
            raise ValueError(f"{source.path}: one {item} is not a data set; give the folder of {item}s")
        found = files_of_one_kind(source.path, source.names, source.as_)
        assert found is not None
        kind, files = found
        records = items(source.path, files.names, kind.name, files.layout)
        records.notes.extend(files.notes)
        return records
