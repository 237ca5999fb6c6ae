"""Records of named fields, stored by column, and their split into training and held-out records."""

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
    """The files of a folder that are values of a modality.

    names: paths relative to the folder; of a subfolder if it is one value. layout: a short description of the folder.
    """

    names: list[str]
    layout: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Records:
    """Records by column: columns[field][i] is the raw value of record i (a Path, a string, a mapping).

    Columns are streams if the data are large, or for fields of very many files.
    """

    path: Path
    layout: str
    modalities: dict[str, str]
    columns: dict[str, list[Any] | Stream]
    target: str
    given: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    known_digests: list[str] | None = None
    #: the group of each record, such as its conversation; a split keeps groups together
    groups: list[str] | None = None

    def __len__(self) -> int:
        return len(self.columns[self.target])

    @property
    def streamed(self) -> bool:
        return isinstance(self.columns[self.target], Stream)

    def subset(self, indices: Where, digests: list[str] | None = None) -> Records:
        """The records at `indices`. digests: their content hashes, if they are already known."""
        picked = {
            k: v.subset(indices) if isinstance(v, Stream) else [v[int(i)] for i in indices]
            for k, v in self.columns.items()
        }
        if digests is None and self.known_digests is not None:
            digests = [self.known_digests[int(i)] for i in indices]
        groups = self.groups and [self.groups[int(i)] for i in indices]
        return replace(self, columns=picked, known_digests=digests, groups=groups)

    def digests(self) -> list[str]:
        """A hash of each record's target: of the bytes of files, of the JSON of other values."""
        return self.known_digests or [_digest(v) for v in self.columns[self.target]]

    def fingerprint(self) -> str:
        """A hash of all records' targets."""
        column = self.columns[self.target]
        if isinstance(column, Stream):
            return column.fingerprint()
        return hashlib.sha256("".join(self.digests()).encode()).hexdigest()

    def split(self, held_out: float, how: str = "hash") -> tuple[Where, Where]:
        """Indices of the training and the held-out records; equal records are never on both sides.

        If records have groups, whole groups are split; a held-out record that equals a training record is left out.
        hash: by content, so that existing records keep their side when data are added. tail: the last `held_out` share.
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
        """As `split`; records with equal digests stay together."""
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
