"""The items of batch k, as a pure function of (seed, k), so that a resumed run can compute any batch directly.

Each epoch is a permutation of the data, computed item by item by a small Feistel network with cycle walking (Black and
Rogaway, "Ciphers with arbitrary finite domains", 2002). Items of different lengths are sorted by length within chunks
of `_CHUNK` batches and divided into batches of about equally many tokens: padding is small, and all steps take about
the same time. The batches of a chunk come in permuted order.
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
    """The images of `positions`, in [0, count), under the permutation of [0, count) given by `seed`; the same shape."""
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
    while (outside := out >= count).any():  # cycle walking: the network permutes a power of two
        out[outside] = rounds(out[outside])
    return out.astype(np.int64)


def least(batch: int) -> int:
    """The minimum size of a batch of items of different lengths, where `batch` is the mean size."""
    return max(min(batch, 8), batch // 4)


def _even(lengths: NDArray[np.int64], fewest: int) -> NDArray[np.int64]:
    """The _CHUNK - 1 indices that cut sorted items into parts of about equal total length and of at least `fewest`."""
    cuts = np.arange(1, _CHUNK)
    total = np.cumsum(lengths, dtype=np.int64)
    edges = np.searchsorted(total * _CHUNK, total[-1] * cuts)
    whole = 8 if fewest >= 8 else 1  # few different shapes: each new one costs a set-up of its kernels
    edges, fewest = (edges + whole // 2) // whole * whole, -(-fewest // whole) * whole
    edges = np.maximum.accumulate(np.maximum(edges, fewest * cuts) - fewest * cuts) + fewest * cuts
    return np.minimum(edges, len(lengths) - fewest * (_CHUNK - cuts))


class Order:
    """The item indices of each batch of a run, by the number of the batch."""

    def __init__(self, count: int, batch: int, seed: int, lengths: _Lengths | None = None, once: bool = False) -> None:
        """count: number of items, >= 1. batch: items per batch; with `lengths`, the mean over a chunk.

        lengths: the length of each item by index, to group items of similar length; None for batches of fixed size.
        once: a single pass in random order, which ignores the lengths; the last batch may be smaller.
        Raises ValueError if there are no items.
        """
        if count < 1:
            raise ValueError("there are no items to train on")
        self.count, self.size, self.seed, self.lengths = count, batch, seed, None if once else lengths
        self.once = once
        self._chunk: tuple[int, list[NDArray[np.int64]]] | None = None

    def batch(self, number: int) -> NDArray[np.int64]:
        """The item indices of batch `number` >= 0, shape (batch,); fewer at the end of a single pass.

        With `lengths`, the size varies and is at least `least(batch)`.
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
        """The item indices to read during batch `number`: the next batch, or with `lengths` the next chunk (once)."""
        if self.lengths is None:
            return self.batch(number + 1)
        chunk, slot = divmod(number, _CHUNK)
        size = _CHUNK * self.size if slot == 0 else 0
        return self._stream((chunk + 1) * _CHUNK * self.size, size)

    def batches(self, most: int) -> int:
        """The number of batches in a single pass over at most `most` items."""
        return -(-min(self.count, most) // self.size)

    def _stream(self, start: int, size: int) -> NDArray[np.int64]:
        where = np.arange(start, start + size)
        epochs, places = np.divmod(where, self.count)
        out = np.empty_like(where)
        for epoch in np.unique(epochs):
            inside = epochs == epoch
            out[inside] = permute(self.count, derive_seed(self.seed, "epoch", int(epoch)), places[inside])
        return out
