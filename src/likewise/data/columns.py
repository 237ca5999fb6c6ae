"""Columns of records that are read on demand, so that memory does not grow with the data.

A stream is a sequence: its length is known and it has random access. `indexed` has the streams of files.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Stream(Sequence[Any]):
    """A column whose items are read on access."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Any: ...  # pyright: ignore[reportIncompatibleMethodOverride]

    @abstractmethod
    def marks(self) -> Iterator[NDArray[np.uint64]]:
        """Yields chunks of the marks, in order: hashes of items in [0, 2^64); equal items have equal marks."""

    @property
    def kinds(self) -> float:
        """The number of possible marks."""
        return 2.0**64

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of all items."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """The size of the data in bytes."""

    @property
    def unread(self) -> bool:
        """Whether items are computed from files that have not been read yet."""
        return False

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def subset(self, where: Where) -> Stream:
        """The items at `where`, as a stream."""
        return _Picked(self, where)

    def map(self, function: Callable[[Any], Any]) -> Stream:
        """A stream of `function(item)`."""
        return _Mapped(self, function)


class Bits:
    """A subset of N items as a bit mask of N / 8 bytes, with the interface of a sorted array of indices."""

    _STRIDE = 4096

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self._packed = np.packbits(mask)
        counts = np.add.reduceat(mask, np.arange(0, max(len(mask), 1), self._STRIDE), dtype=np.int64)
        self._ranks = np.concatenate([[0], np.cumsum(counts)])

    def __len__(self) -> int:
        return int(self._ranks[-1])

    def __getitem__(self, index: int) -> int:
        """The item number of the chosen item at position `index`. Raises IndexError."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        block = int(np.searchsorted(self._ranks, index, side="right")) - 1
        start = block * self._STRIDE // 8
        inside = np.flatnonzero(np.unpackbits(self._packed[start : start + self._STRIDE // 8]))
        return block * self._STRIDE + int(inside[index - self._ranks[block]])

    def indices(self) -> NDArray[np.int64]:
        """All chosen indices, as int64."""
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
    """Marks and fingerprint are those of the source, for example of a whole line, if items are one of its fields."""

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
    """Training items and held-out items, as in `Records.split`, computed in chunks."""
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
