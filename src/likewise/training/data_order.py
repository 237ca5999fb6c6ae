"""Which items make up batch number k: a pure function of (seed, k), so that resuming is a seek and never a replay.

The stream of items is one permutation of the data after another, computed item by item by a small Feistel network
with cycle walking (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). Items of different lengths are
then sorted by length inside chunks of a few dozen batches and shared out so that each batch has about as many tokens as
another: it pads little, and no step is much dearer than the next. The batches of a chunk come in permuted order.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from likewise.draws import derive_seed

_CHUNK = 32


class _Lengths(Protocol):
    def __getitem__(self, indices: NDArray[np.int64], /) -> NDArray[np.int64]: ...


def permute(count: int, seed: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of `positions`, in [0, count), goes in the permutation of [0, count) that `seed` names."""
    half = max(1, (max(count - 1, 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << half) - 1)
    keys = [np.uint64(derive_seed(seed, "feistel", r)) for r in range(6)]

    def rounds(v: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = v >> np.uint64(half), v & mask
        for key in keys:
            mixed = (right ^ key) * np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
            left, right = right, left ^ ((mixed >> np.uint64(32)) & mask)
        return (left << np.uint64(half)) | right

    out = rounds(positions.astype(np.uint64))
    while (outside := out >= count).any():  # the network permutes a power of two: walk on until inside
        out[outside] = rounds(out[outside])
    return out.astype(np.int64)


def least(batch: int) -> int:
    """The fewest items of any batch, where batches are of items of different lengths and of `batch` on average."""
    return max(min(batch, 8), batch // 4)


def _even(lengths: NDArray[np.int64], fewest: int) -> NDArray[np.int64]:
    """Where to cut sorted items into `_CHUNK` parts of about equal sums of `lengths`, each of `fewest` at least."""
    cuts = np.arange(1, _CHUNK)
    total = np.cumsum(lengths, dtype=np.int64)
    edges = np.searchsorted(total * _CHUNK, total[-1] * cuts)
    whole = 8 if fewest >= 8 else 1  # few shapes of batches: a matrix product of a new one has to be prepared first
    edges, fewest = (edges + whole // 2) // whole * whole, -(-fewest // whole) * whole
    edges = np.maximum.accumulate(np.maximum(edges, fewest * cuts) - fewest * cuts) + fewest * cuts
    return np.minimum(edges, len(lengths) - fewest * (_CHUNK - cuts))


class Order:
    """The batches of a run, by number."""

    def __init__(self, count: int, batch: int, seed: int, lengths: _Lengths | None = None, once: bool = False) -> None:
        """count: items >= 1. batch: items of each batch; of items of different lengths, on average over a chunk.

        lengths: of each item, by index, if batches are to hold items of like length.
        once: a single pass, in an order that is random whatever the lengths; the last batch is what is left.
        """
        if count < 1:
            raise ValueError("there are no items to train on")
        self.count, self.size, self.seed, self.lengths = count, batch, seed, None if once else lengths
        self.once = once
        self._chunk: tuple[int, list[NDArray[np.int64]]] | None = None

    def batch(self, number: int) -> NDArray[np.int64]:
        """The item indices of batch `number` >= 0, shape (batch,); fewer at the end of a single pass.

        Of items of different lengths more or fewer, but never fewer than `least(batch)`.
        """
        chunk, slot = divmod(number, _CHUNK)
        if self._chunk is None or self._chunk[0] != chunk:
            items = self._stream(chunk * _CHUNK * self.size, _CHUNK * self.size)
            if self.lengths is None:
                rows = [*items.reshape(_CHUNK, self.size)]
            else:
                lengths = self.lengths[items]
                by_length = np.argsort(lengths, kind="stable")
                parts = np.split(items[by_length], _even(lengths[by_length], least(self.size)))
                turn = permute(_CHUNK, derive_seed(self.seed, "chunk", chunk), np.arange(_CHUNK))
                rows = [parts[i] for i in turn]
            self._chunk = chunk, rows
        part = self._chunk[1][slot]
        return part[: max(0, self.count - number * self.size)] if self.once else part

    def ahead(self, number: int) -> NDArray[np.int64]:
        """What to read while batch `number` is computed: the next batch, or a whole chunk for its items' lengths."""
        if self.lengths is None:
            return self.batch(number + 1)
        chunk, slot = divmod(number, _CHUNK)
        size = _CHUNK * self.size if slot == 0 else 0
        return self._stream((chunk + 1) * _CHUNK * self.size, size)

    def batches(self, most: int) -> int:
        """How many batches there are until the pass is over, or until `most` items were seen."""
        return -(-min(self.count, most) // self.size)

    def _stream(self, start: int, size: int) -> NDArray[np.int64]:
        where = np.arange(start, start + size)
        epochs, places = np.divmod(where, self.count)
        out = np.empty_like(where)
        for epoch in np.unique(epochs):
            inside = epochs == epoch
            out[inside] = permute(self.count, derive_seed(self.seed, "epoch", int(epoch)), places[inside])
        return out
