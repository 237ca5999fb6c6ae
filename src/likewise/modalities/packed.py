"""Values of one field in compact arrays, from which batches are taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.spaces import only_read


@dataclass(frozen=True)
class Packed:
    """Values of one field in compact arrays.

    data: shape (N, *shape) if all values have one size, else all values concatenated, shape (total, *rest).
    offsets: None, or shape (N + 1,): value i is data[offsets[i]:offsets[i + 1]].
    pad: the padding value in a batch.
    """

    data: NDArray[Any]
    offsets: NDArray[np.int64] | None = None
    pad: int = 0

    def __len__(self) -> int:
        return len(self.data) if self.offsets is None else len(self.offsets) - 1

    @property
    def ragged(self) -> bool:
        return self.offsets is not None

    @property
    def lengths(self) -> NDArray[np.int64] | None:
        return None if self.offsets is None else np.diff(self.offsets)

    def take(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """The values at `indices`, shape (B, ...), padded to the longest of them."""
        if self.offsets is None:
            return self.data[indices]
        starts, stops = self.offsets[indices], self.offsets[indices + 1]
        longest = max(1, int((stops - starts).max(initial=1)))
        batch = np.full((len(indices), longest, *self.data.shape[1:]), self.pad, self.data.dtype)
        for row, start, stop in zip(batch, starts, stops, strict=True):
            row[: stop - start] = self.data[start:stop]
        return batch


@dataclass(frozen=True)
class Windows:
    """Texts of any length, divided into windows of at most `length` tokens; the interface is that of `Packed`.

    Every window but the first of a text begins with the last token of the previous window, marked by `only_read`, so
    that the loss counts each token once.

    whole: the complete texts. owner: the index of each window's text, shape (W,). starts, stops: the limits of each
    window in whole.data, shape (W,).
    """

    whole: Packed
    owner: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    @classmethod
    def of(cls, whole: Packed, length: int) -> Windows:
        """length: maximum tokens of a window, including the repeated one; at least 2."""
        assert whole.offsets is not None
        sizes = np.diff(whole.offsets)
        counts = np.maximum(1, -(-(sizes - 1) // (length - 1)))
        owner = np.repeat(np.arange(len(whole)), counts)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        starts = whole.offsets[owner] + number * (length - 1)
        return cls(whole, owner, starts, np.minimum(starts + length, whole.offsets[owner + 1]))

    def __len__(self) -> int:
        return len(self.owner)

    @property
    def ragged(self) -> bool:
        return True

    @property
    def pad(self) -> int:
        return self.whole.pad

    @property
    def lengths(self) -> NDArray[np.int64]:
        return self.stops - self.starts

    def take(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """The windows at `indices`, shape (B, L), padded to the longest; only a text's last window can be shorter."""
        assert self.whole.offsets is not None
        starts, stops = self.starts[indices], self.stops[indices]
        batch = np.full((len(indices), max(1, int((stops - starts).max(initial=1)))), self.pad, self.whole.data.dtype)
        for row, start, stop in zip(batch, starts, stops, strict=True):
            row[: stop - start] = self.whole.data[start:stop]
        goes_on = starts > self.whole.offsets[self.owner[indices]]
        batch[goes_on, 0] = only_read(batch[goes_on, 0])
        return batch
