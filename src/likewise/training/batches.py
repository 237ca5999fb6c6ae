"""Packed records as batches of tensors: x in the target's space, c in the condition's."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.data.columns import Stream
from likewise.draws import Draws
from likewise.modalities.base import BadValue
from likewise.modalities.encoding import Encoding, encode_items
from likewise.modalities.packed import Packed, Windows
from likewise.spaces import Space, Tokens

#: bytes of packed items that a stream keeps at hand
_AT_HAND = 64 * 2**20
#: logits of one pass of scoring, at most: 256 MiB of float32
_LOGITS = 2**26
#: more than this share of unreadable items ends training
_MOST_BROKEN = 0.1


class Streamed:
    """Values of one field that are packed when a batch needs them; what the next one needs is read meanwhile.

    As `Packed` to those who take from it. An unreadable item is replaced by the next one that can be read: always the
    same, so that a run repeats.
    """

    def __init__(self, encoding: Encoding, values: Sequence[Any]) -> None:
        self.encoding, self.values = encoding, values
        self._rows: dict[int, NDArray[Any]] = {}
        self._bytes = 0
        self._lock = threading.Lock()
        self._reader = ThreadPoolExecutor(1, "reader")
        self._reading: Future[None] | None = None
        #: which items could not be read, and why
        self.broken: dict[int, str] = {}
        self._seen = 0
        space = encoding.space
        self.ragged = space.end is not None if isinstance(space, Tokens) else space.ragged
        self.pad = space.end or 0 if isinstance(space, Tokens) else 0

    def __len__(self) -> int:
        return len(self.values)

    @property
    def lengths(self) -> Lengths | None:
        return _StreamedLengths(self) if self.ragged else None

    def ahead(self, indices: NDArray[np.int64]) -> None:
        """Begin to read what will be asked for soon."""
        if self._reading is None or self._reading.done():
            self._reading = self._reader.submit(self._load, indices)

    def rows(self, indices: NDArray[np.int64]) -> list[NDArray[Any]]:
        """Each item by itself."""
        while True:
            with self._lock:
                found = [self._rows.get(int(i)) for i in indices]
            if all(row is not None for row in found):
                return [row for row in found if row is not None]
            if self._reading is None:
                self._load(indices)
            else:
                self._reading.result()  # raises what went wrong there
                self._reading = None

    def take(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """The values at `indices`, shape (B, ...), padded to the longest of them."""
        rows = self.rows(indices)
        if not self.ragged:
            return np.stack(rows)
        longest = max(1, *(len(r) for r in rows))
        batch = np.full((len(rows), longest, *rows[0].shape[1:]), self.pad, rows[0].dtype)
        for place, row in zip(batch, rows, strict=True):
            place[: len(row)] = row
        return batch

    def _load(self, indices: NDArray[np.int64]) -> None:
        wanted = list(dict.fromkeys(int(i) for i in indices))
        missing = [i for i in wanted if i not in self._rows]
        try:
            fresh = self._pack([self.values[i] for i in missing])
        except BadValue:
            fresh = [self._one(i) for i in missing]
        with self._lock:
            self._seen += len(missing)
            for i in wanted:  # the newest last: the oldest are forgotten first
                if i in self._rows:
                    self._rows[i] = self._rows.pop(i)
            for i, row in zip(missing, fresh, strict=True):
                self._rows[i] = row
                self._bytes += row.nbytes
            few = len(wanted)
            while self._bytes > _AT_HAND and len(self._rows) > few:
                self._bytes -= self._rows.pop(next(iter(self._rows))).nbytes

    def _one(self, index: int) -> NDArray[Any]:
        for step in range(len(self.values)):
            i = (index + step) % len(self.values)
            try:
                return self._pack([self.values[i]])[0]
            except BadValue as error:
                self.broken[i] = str(error)
                if len(self.broken) > max(20, _MOST_BROKEN * self._seen):
                    raise ValueError(
                        f"{self.values[i]}: {error}; and so are {len(self.broken)} of the {self._seen} files read so "
                        "far: mend or remove them"
                    ) from None
        raise ValueError("none of the records can be read")

    def _pack(self, values: list[Any]) -> list[NDArray[Any]]:
        if not values:
            return []
        packed = self.encoding.pack(values)
        if packed.offsets is None:
            return list(packed.data)
        return [packed.data[a:b].copy() for a, b in itertools.pairwise(packed.offsets)]


def scored_together(space: Space, most: int = 64) -> int:
    """How many items are scored at once: the logits of all of an evaluation would not fit where words are many."""
    if not isinstance(space, Tokens):
        return most
    return max(1, min(most, _LOGITS // (space.length * space.vocabulary)))


class Lengths(Protocol):
    """The length of each item, by index: an array, or read as needed."""

    def __getitem__(self, indices: NDArray[np.int64], /) -> NDArray[np.int64]: ...


class _StreamedLengths:
    def __init__(self, source: Streamed) -> None:
        self.source = source

    def __getitem__(self, indices: NDArray[np.int64], /) -> NDArray[np.int64]:
        return np.array([len(row) for row in self.source.rows(indices)], np.int64)


@dataclass(frozen=True)
class FieldData:
    """One field of the records, ready to be encoded."""

    encoding: Encoding
    packed: Packed | Streamed | Windows

    @classmethod
    def of(cls, encoding: Encoding, values: Sequence[Any], memory: int = 128, windows: bool = False) -> FieldData:
        """values: a column of records. memory: MiB of it that may be packed at once; more are packed batch by batch.

        windows: what is too long is all there, in windows, and the items are these; else it is cut.
        """
        if windows and encoding.windowed:
            return cls(encoding, encoding.windows(values))
        each = encoding.packed_bytes
        # a stream's files were not all tried: what cannot be read is found, and left out, when its turn comes
        unknown = isinstance(values, Stream) and (each is None or values.unread or isinstance(values[0], Path))
        if unknown or (each or 0) * len(values) > memory * 2**20:
            return cls(encoding, Streamed(encoding, values))
        return cls(encoding, encoding.pack(values))

    def encode(self, indices: NDArray[np.int64], draws: Draws | None, trim: bool) -> Tensor:
        return encode_items(self.encoding, self.packed, indices, draws, trim)


@dataclass(frozen=True)
class Batches:
    """The records of one split, or their windows. Their order is whoever asks."""

    target: FieldData
    condition: Mapping[str, FieldData] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.target.packed)

    @property
    def lengths(self) -> Lengths | None:
        return self.target.packed.lengths

    def records(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which record each of the items is, or is a window of."""
        packed = self.target.packed
        return packed.owner[indices] if isinstance(packed, Windows) else indices

    def some(self, most: int) -> NDArray[np.int64]:
        """At most so many items that stand for all: the first records, or windows from all over."""
        if isinstance(self.target.packed, Windows) and len(self) > most:
            return np.linspace(0, len(self) - 1, most).astype(np.int64)
        return np.arange(min(len(self), most))

    def ahead(self, indices: NDArray[np.int64]) -> None:
        """Begin to read what will be taken soon, where it is not in memory."""
        for channel in (self.target, *self.condition.values()):
            if isinstance(channel.packed, Streamed) and len(indices):
                channel.packed.ahead(indices)

    def broken(self) -> dict[int, str]:
        """Which targets could not be read so far, and why."""
        return self.target.packed.broken if isinstance(self.target.packed, Streamed) else {}

    def take(
        self, indices: NDArray[np.int64], draws: Draws | None = None, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        """The records at `indices`, shape (B,): x, cut to the longest item, and c (None if nothing is given), cut too.

        draws: for dequantisation, row b for indices[b]; None for none.
        """
        x = self.target.encode(indices, draws, trim=True).to(device, non_blocking=True)
        if not self.condition:
            return x, None
        records = self.records(indices)
        c = {k: v.encode(records, draws, trim=True).to(device, non_blocking=True) for k, v in self.condition.items()}
        return x, c
