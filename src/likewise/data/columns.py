"""Columns of records that are read as they are needed, so that memory does not grow with the data.

A stream is a sequence: its length is known and any item can be had at once. `sources` has those of files.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Stream(Sequence[Any]):
    """A column whose items are read when they are asked for."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Any: ...  # pyright: ignore[reportIncompatibleMethodOverride]

    @abstractmethod
    def marks(self) -> Iterator[NDArray[np.uint64]]:
        """A hash of each item's content in [0, 2^64), in order, piece by piece: equal items have equal marks."""

    @property
    def kinds(self) -> float:
        """How many different marks there can be."""
        return 2.0**64

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of all items."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """How large the data are."""

    @property
    def unread(self) -> bool:
        """Whether an item is computed from a file that nobody has tried to read."""
        return False

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def subset(self, where: Where) -> Stream:
        """The items at `where`, as a stream."""
        return _Picked(self, where)

    def map(self, function: Callable[[Any], Any]) -> Stream:
        """What `function` gives for each item."""
        return _Mapped(self, function)


class Bits:
    """Which of N items are chosen, at a bit each: a sorted array of indices that takes N / 8 bytes."""

    _STRIDE = 4096

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self._packed = np.packbits(mask)
        counts = np.add.reduceat(mask, np.arange(0, max(len(mask), 1), self._STRIDE), dtype=np.int64)
        self._ranks = np.concatenate([[0], np.cumsum(counts)])

    def __len__(self) -> int:
        return int(self._ranks[-1])

    def __getitem__(self, index: int) -> int:
        """Which item the chosen one number `index` is."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        block = int(np.searchsorted(self._ranks, index, side="right")) - 1
        start = block * self._STRIDE // 8
        inside = np.flatnonzero(np.unpackbits(self._packed[start : start + self._STRIDE // 8]))
        return block * self._STRIDE + int(inside[index - self._ranks[block]])

    def indices(self) -> NDArray[np.int64]:
        """All of them, at eight bytes each."""
        return np.flatnonzero(np.unpackbits(self._packed))

    def digest(self) -> bytes:
        return hashlib.sha256(self._packed.tobytes()).digest()


#: indices of items
Where = Bits | NDArray[np.int64] | Sequence[int]


class _Picked(Stream):
    def __init__(self, source: Stream, where: Where) -> None:
        self.source, self.where = source, where

    def __len__(self) -> int:
        return len(self.where)

    def __getitem__(self, index: int) -> Any:
        return self.source[int(self.where[index])]

    def marks(self) -> Iterator[NDArray[np.uint64]]:
        where = self.where.indices() if isinstance(self.where, Bits) else np.asarray(self.where, np.int64)
        yield np.concatenate(list(self.source.marks()))[where]

    def fingerprint(self) -> str:
        chosen = self.where.digest() if isinstance(self.where, Bits) else np.asarray(self.where, np.int64).tobytes()
        return hashlib.sha256(self.source.fingerprint().encode() + chosen).hexdigest()

    @property
    def bytes(self) -> int:
        return self.source.bytes * len(self) // max(1, len(self.source))

    @property
    def kinds(self) -> float:
        return self.source.kinds


class _Mapped(Stream):
    """Marks and fingerprint are the source's: of a whole line, where a field of it is taken."""

    def __init__(self, source: Stream, function: Callable[[Any], Any]) -> None:
        self.source, self.function = source, function

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Any:
        return self.function(self.source[index])

    @property
    def kinds(self) -> float:
        return self.source.kinds

    def marks(self) -> Iterator[NDArray[np.uint64]]:
        return self.source.marks()

    def fingerprint(self) -> str:
        return self.source.fingerprint()

    @property
    def bytes(self) -> int:
        return self.source.bytes


def split(marks: Stream, held_out: float, how: str) -> tuple[Bits, Bits]:
    """Which items are for training and which are held out: as `Records.split`, piece by piece."""
    count = len(marks)
    if how == "hash":
        held = np.concatenate([piece < np.uint64(held_out * 2.0**64) for piece in marks.marks()])
        if not held.any():
            least = min(int(piece.min()) for piece in marks.marks())
            held = np.concatenate([piece == np.uint64(least) for piece in marks.marks()])
        return Bits(~held), Bits(held)
    first = count - max(1, round(held_out * count))
    last = np.concatenate(list(_between(marks, first, count)))
    known = np.zeros(len(last), bool)
    for piece in _between(marks, 0, first):
        known |= np.isin(last, piece)
    train, held = np.zeros(count, bool), np.zeros(count, bool)
    train[:first] = True
    held[first:] = ~known
    return Bits(train), Bits(held)


def _between(stream: Stream, start: int, stop: int) -> Iterator[NDArray[np.uint64]]:
    place = 0
    for piece in stream.marks():
        yield piece[max(0, start - place) : max(0, stop - place)]
        place += len(piece)
