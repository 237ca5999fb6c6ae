"""Batches of tensors from packed records: x in the space of the target, c in the spaces of the conditions."""

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

#: bytes of packed items that `Streamed` caches
_AT_HAND = 64 * 2**20
#: maximum number of logits in one batch of scoring: 256 MiB of float32
_LOGITS = 2**26
#: a larger share of unreadable items ends training
_MOST_BROKEN = 0.1


class Streamed:
    """Values of one field, packed when a batch needs them; a thread reads the next batch ahead.

    It has the interface of `Packed`. An unreadable item is replaced by the next readable one, which depends on the
    data only, so that a run is reproducible.
    """

    def __init__(self, encoding: Encoding, values: Sequence[Any]) -> None:
        self.encoding, self.values = encoding, values
        self._rows: dict[int, NDArray[Any]] = {}
        self._bytes = 0
        self._lock = threading.Lock()
        self._reader = ThreadPoolExecutor(1, "reader")
        self._reading: Future[None] | None = None
        #: for the index of each unreadable item, the reason
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
        """Start to read the items at `indices` in the background."""
        if self._reading is None or self._reading.done():
            self._reading = self._reader.submit(self._load, indices)

    def rows(self, indices: NDArray[np.int64]) -> list[NDArray[Any]]:
        """The packed items at `indices`, one array for each, not padded."""
        while True:
            with self._lock:
                found = [self._rows.get(int(i)) for i in indices]
            if all(row is not None for row in found):
                return [row for row in found if row is not None]
            if self._reading is None:
                self._load(indices)
            else:
                self._reading.result()  # raises an error of the reading thread
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
            for i in wanted:  # least recently used first: these are dropped first
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
    """The batch size for scoring, at most `most`, such that the logits of a large vocabulary fit in memory."""
    if not isinstance(space, Tokens):
        return most
    return max(1, min(most, _LOGITS // (space.length * space.vocabulary)))


class Lengths(Protocol):
    """The length of each item by index: an array, or computed on demand."""

    def __getitem__(self, indices: NDArray[np.int64], /) -> NDArray[np.int64]: ...


class _StreamedLengths:
    def __init__(self, source: Streamed) -> None:
        self.source = source

    def __getitem__(self, indices: NDArray[np.int64], /) -> NDArray[np.int64]:
        return np.array([len(row) for row in self.source.rows(indices)], np.int64)


@dataclass(frozen=True)
class FieldData:
    """One field of the records: its encoding and its packed values."""

    encoding: Encoding
    packed: Packed | Streamed | Windows

    @classmethod
    def of(cls, encoding: Encoding, values: Sequence[Any], memory: int = 128, windows: bool = False) -> FieldData:
        """Pack the values of a column.

        memory: MiB; a larger column is packed batch by batch. windows: whether long values are divided into windows,
        which are the items then; otherwise they are truncated.
        """
        if windows and encoding.windowed:
            return cls(encoding, encoding.windows(values))
        each = encoding.packed_bytes
        # not all files of a stream have been opened yet: unreadable ones are found and replaced when a batch needs them
        unknown = isinstance(values, Stream) and (each is None or values.unread or isinstance(values[0], Path))
        if unknown or (each or 0) * len(values) > memory * 2**20:
            return cls(encoding, Streamed(encoding, values))
        return cls(encoding, encoding.pack(values))

    def encode(self, indices: NDArray[np.int64], draws: Draws | None, trim: bool) -> Tensor:
        return encode_items(self.encoding, self.packed, indices, draws, trim)


@dataclass(frozen=True)
class Batches:
    """The items of one split: records or windows of records. The caller decides their order."""

    target: FieldData
    condition: Mapping[str, FieldData] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.target.packed)

    @property
    def lengths(self) -> Lengths | None:
        return self.target.packed.lengths

    def records(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The index of the record of each item, shape (B,)."""
        packed = self.target.packed
        return packed.owner[indices] if isinstance(packed, Windows) else indices

    def some(self, most: int) -> NDArray[np.int64]:
        """Indices of at most `most` representative items: the first records, or windows at equal distances."""
        if isinstance(self.target.packed, Windows) and len(self) > most:
            return np.linspace(0, len(self) - 1, most).astype(np.int64)
        return np.arange(min(len(self), most))

    def ahead(self, indices: NDArray[np.int64]) -> None:
        """Start to read the items at `indices` in the background, where they are not in memory."""
        for channel in (self.target, *self.condition.values()):
            if isinstance(channel.packed, Streamed) and len(indices):
                channel.packed.ahead(indices)

    def broken(self) -> dict[int, str]:
        """The targets found unreadable so far: for each index, the reason."""
        return self.target.packed.broken if isinstance(self.target.packed, Streamed) else {}

    def take(
        self, indices: NDArray[np.int64], draws: Draws | None = None, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        """x and c of the items at `indices`, shape (B,), each trimmed to its longest item; c is None if unconditional.

        draws: noise for dequantisation, row b for indices[b]; None for no dequantisation.
        """
        x = self.target.encode(indices, draws, trim=True).to(device, non_blocking=True)
        if not self.condition:
            return x, None
        records = self.records(indices)
        c = {k: v.encode(records, draws, trim=True).to(device, non_blocking=True) for k, v in self.condition.items()}
        return x, c
