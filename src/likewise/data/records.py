"""Records of named fields, by column, and how they are divided into those to learn from and those held out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.data.columns import Stream, Where, split
from likewise.data.indexed import content, mark


@dataclass(frozen=True)
class FoundFiles:
    """Which of a folder's files are values of a modality.

    names: relative to the folder; of a subfolder, where that is one value. layout: what the folder is, in a few words.
    """

    names: list[str]
    layout: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Records:
    """Records by column: columns[field][i] is the raw value of record i (a Path, a string, a mapping).

    Columns are streams where the data are large, or where a field is one of files that are many.
    """

    path: Path
    layout: str
    modalities: dict[str, str]
    columns: dict[str, list[Any] | Stream]
    target: str
    given: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    known_digests: list[str] | None = None
    #: what each record is a part of, such as a conversation, where a split must not divide that
    groups: list[str] | None = None

    def __len__(self) -> int:
        return len(self.columns[self.target])

    @property
    def streamed(self) -> bool:
        return isinstance(self.columns[self.target], Stream)

    def subset(self, indices: Where, digests: list[str] | None = None) -> Records:
        """The records at `indices`; digests: their content hashes, if somebody has them already."""
        picked = {
            k: v.subset(indices) if isinstance(v, Stream) else [v[int(i)] for i in indices]
            for k, v in self.columns.items()
        }
        if digests is None and self.known_digests is not None:
            digests = [self.known_digests[int(i)] for i in indices]
        groups = self.groups and [self.groups[int(i)] for i in indices]
        return replace(self, columns=picked, known_digests=digests, groups=groups)

    def digests(self) -> list[str]:
        """A hash of each record's target: files by their bytes, the rest by their text."""
        return self.known_digests or [_digest(v) for v in self.columns[self.target]]

    def fingerprint(self) -> str:
        """A hash of all records' targets."""
        column = self.columns[self.target]
        if isinstance(column, Stream):
            return column.fingerprint()
        return hashlib.sha256("".join(self.digests()).encode()).hexdigest()

    def split(self, held_out: float, how: str = "hash") -> tuple[Where, Where]:
        """Indices of the training and the held-out records; equal records are never on both sides.

        Where records are parts of wholes it is the wholes that are split; a part that training has too, as of another
        whole, is left out of both.
        hash: by each record's own content, so that adding data moves no record. tail: the last share of them.
        """
        column = self.columns[self.target]
        if isinstance(column, Stream):
            return split(column, held_out, how)
        digests = self.groups or self.digests()
        train, held = self._divide(self.groups or column, digests, held_out, how)
        if not self.groups:
            return train, held
        parts = [json.dumps(row, default=str) for row in zip(*self.columns.values(), strict=True)]
        seen = {parts[i] for i in train}
        return train, np.array([i for i in held if parts[i] not in seen], np.int64)

    def _divide(
        self, column: list[Any], digests: list[str], held_out: float, how: str
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As `split`; digests: of which equal ones stay together."""
        count = len(digests)
        if how == "tail":
            first = count - max(1, round(held_out * count))
            seen = set(digests[:first])
            kept = [i for i in range(first, count) if digests[i] not in seen]
            return np.arange(first), np.array(kept, np.int64)
        marks = [mark(v) if isinstance(v, str) else int(d[:16], 16) for v, d in zip(column, digests, strict=True)]
        place = np.array(marks, np.uint64) / 2.0**64
        chosen = place < held_out
        if not chosen.any() and len(set(digests)) > 1:
            chosen = place == place.min()
        if chosen.all():
            chosen = (place == place.min()) & (len(set(digests)) > 1)
        return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _digest(value: Any) -> str:
    data = content(value) if isinstance(value, Path) else json.dumps(value, default=str).encode()
    return hashlib.blake2b(data, digest_size=16).hexdigest()
