"""What a layout is, and what it is shown of the path that a user gave."""

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
#: what a text takes in memory as records and tokens, as a multiple of its bytes
_TEXT_MEMORY = 6


@dataclass(frozen=True)
class Source:
    """A file or a folder, and how the user wants it read."""

    path: Path
    #: "line", "paragraph" or "document"; None to infer it
    unit: str | None = None
    #: MiB that records may take in memory
    memory: int = 128
    #: the modality that the user stated
    as_: str | None = None
    #: names of the fields that the user stated
    fields: Sequence[str] = ()

    @cached_property
    def is_folder(self) -> bool:
        return self.path.is_dir()

    @property
    def suffix(self) -> str:
        """Of a file, in small letters; empty for a folder."""
        return "" if self.is_folder else self.path.suffix.lower()

    @property
    def root(self) -> Path:
        """The folder that `names` are relative to."""
        return self.path if self.is_folder else self.path.parent

    @cached_property
    def names(self) -> list[str]:
        """The files in a folder and below, relative to it, without hidden ones; the file itself if it is one."""
        return _below(self.path) if self.is_folder else [self.path.name]

    @cached_property
    def by_suffix(self) -> dict[str, list[str]]:
        """The names by their suffix in small letters."""
        found: dict[str, list[str]] = {}
        for name in self.names:
            found.setdefault(Path(name).suffix.lower(), []).append(name)
        return found

    def count(self, suffixes: Iterable[str]) -> int:
        """How many files have one of these suffixes."""
        return sum(len(self.by_suffix.get(suffix, ())) for suffix in suffixes)

    def having(self, suffixes: Iterable[str]) -> list[str]:
        """The names with one of these suffixes, in the order of their folders."""
        found = (name for suffix in suffixes for name in self.by_suffix.get(suffix, ()))
        return sorted(found, key=lambda name: name.split(os.sep))

    def files(self, names: Iterable[str]) -> list[Path]:
        return [self.root / name for name in names]

    @property
    def tables(self) -> list[str]:
        """The names of tables, in alphabetical order."""
        return sorted(name for suffix in TABLES for name in self.by_suffix.get(suffix, ()))

    def too_large(self, files: Iterable[Path]) -> bool:
        """Whether texts take more memory than they may, so that they are read when they are needed."""
        return _TEXT_MEMORY * sum(f.stat().st_size for f in files) > self.memory * 2**20


class Layout(ABC):
    """One way in which files hold records.

    Layouts of a lower `rank` are asked first. Of those of one rank, the one that claims the most files reads them; if
    two claim as many, the first of the catalog.
    """

    rank: ClassVar[int] = 0

    @abstractmethod
    def detect(self, source: Source) -> int:
        """How many of the files this layout would read; 0 if they are not its own."""

    @abstractmethod
    def read(self, source: Source) -> Records:
        """The records. Raises ValueError of one line that names the file and the fix."""


def _below(path: Path) -> list[str]:
    out, waiting = [], [""]
    while waiting:
        inside = waiting.pop()
        with os.scandir(path / inside) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                name = os.path.join(inside, entry.name)
                if entry.is_dir(follow_symlinks=False):  # a link may lead round in a circle
                    waiting.append(name)
                elif entry.is_file():
                    out.append(name)
    return out
