"""The base class of layouts, and their input: the user's path and reading options."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from likewise.data.records import Records

#: suffixes of tables
TABLES = {".csv", ".tsv", ".parquet", ".jsonl"}
#: memory of a text as records and tokens, as a multiple of its bytes
_TEXT_MEMORY = 6


@dataclass(frozen=True)
class Source:
    """A file or a folder, and the user's options for reading it."""

    path: Path
    #: "line", "paragraph" or "document"; None to infer it
    unit: str | None = None
    #: maximum MiB of records in memory
    memory: int = 128
    #: the modality that the user selected
    as_: str | None = None
    #: names of the fields that the user selected
    fields: Sequence[str] = ()

    @cached_property
    def is_folder(self) -> bool:
        return self.path.is_dir()

    @property
    def suffix(self) -> str:
        """The suffix of a file in lower case; empty for a folder."""
        return "" if self.is_folder else self.path.suffix.lower()

    @property
    def root(self) -> Path:
        """The folder that `names` are relative to."""
        return self.path if self.is_folder else self.path.parent

    @cached_property
    def names(self) -> list[str]:
        """All files of a folder and its subfolders, relative to it, without hidden ones; for a file, its own name."""
        return _below(self.path) if self.is_folder else [self.path.name]

    @cached_property
    def by_suffix(self) -> dict[str, list[str]]:
        """The names by their suffix in lower case."""
        found: dict[str, list[str]] = {}
        for name in self.names:
            found.setdefault(Path(name).suffix.lower(), []).append(name)
        return found

    def count(self, suffixes: Iterable[str]) -> int:
        """The number of files with one of these suffixes."""
        return sum(len(self.by_suffix.get(suffix, ())) for suffix in suffixes)

    def having(self, suffixes: Iterable[str]) -> list[str]:
        """The names with one of these suffixes, sorted by folder and name."""
        found = (name for suffix in suffixes for name in self.by_suffix.get(suffix, ()))
        return sorted(found, key=lambda name: name.split(os.sep))

    def files(self, names: Iterable[str]) -> list[Path]:
        return [self.root / name for name in names]

    @property
    def tables(self) -> list[str]:
        """The names of tables, in alphabetical order."""
        return sorted(name for suffix in TABLES for name in self.by_suffix.get(suffix, ()))

    def too_large(self, files: Iterable[Path]) -> bool:
        """Whether texts exceed the memory limit and must be read on demand."""
        return _TEXT_MEMORY * sum(f.stat().st_size for f in files) > self.memory * 2**20


class Layout(ABC):
    """A way in which files hold records.

    Layouts of lower `rank` are tried first. Among equal ranks, the layout that detects the most files is used; on a
    tie, the first in the catalog.
    """

    rank: ClassVar[int] = 0

    @abstractmethod
    def detect(self, source: Source) -> int:
        """The number of files that this layout would read; 0 if it does not apply."""

    @abstractmethod
    def read(self, source: Source) -> Records:
        """Read the records. Raises ValueError whose message of one line names the file and the fix."""


def _below(path: Path) -> list[str]:
    out, waiting = [], [""]
    while waiting:
        inside = waiting.pop()
        with os.scandir(path / inside) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                name = os.path.join(inside, entry.name)
                if entry.is_dir(follow_symlinks=False):  # links may form a cycle
                    waiting.append(name)
                elif entry.is_file():
                    out.append(name)
    return out
