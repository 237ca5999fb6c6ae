"""A bounded number of training items, kept with the model by families that go back to them.

Training takes the items in a random order, so the first ones of a pass are a uniform sample of all: nothing kept is
ever replaced.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from likewise.spaces import MISSING_TOKEN, Condition, Continuous, Space, Tokens, from_index, to_index


class Reservoir(nn.Module):
    """The first `capacity` items it is shown, with the labels they are given; all of it in buffers.

    The buffers grow with what is kept, so that a checkpoint is as large as that: before weights are loaded,
    `make_room` gives them the length they had.
    """

    items: Tensor
    labels: Tensor
    count: Tensor

    def __init__(self, space: Space, condition: Condition, memory: int) -> None:
        """condition: of fields of one token each. memory: bytes that may be kept."""
        super().__init__()
        self.space, self.names = space, sorted(condition)
        # Values on levels and tokens are small integers: of 8-bit pictures four times as many can be kept.
        kinds = space.vocabulary if isinstance(space, Tokens) else space.levels
        shape = (space.length,) if isinstance(space, Tokens) else space.shape
        dtype = torch.float32 if kinds is None else torch.int16 if kinds <= 2**15 else torch.int32
        if kinds is not None and kinds <= 256 and isinstance(space, Continuous):
            dtype = torch.uint8
        each = torch.Size(shape).numel() * dtype.itemsize + 4 * len(self.names)
        self.capacity = max(1, memory // each)
        self.register_buffer("items", torch.zeros(0, *shape, dtype=dtype))
        self.register_buffer("labels", torch.zeros(0, len(self.names), dtype=torch.int32))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return int(self.count)

    def add(self, x: Tensor, c: dict[str, Tensor] | None) -> None:
        """Keep what there is room for. x: shape (B, *shape), or tokens (B, L), L <= length. c: labels, each (B, 1)."""
        start = len(self)
        stop = min(start + len(x), self.capacity)
        x = x[: stop - start]
        if stop > len(self.items):  # twice as much each time: what is kept is copied only a few times in all
            self._resize(min(self.capacity, max(stop, 2 * len(self.items))))
        if isinstance(self.space, Tokens):
            self.items[start:stop] = MISSING_TOKEN if self.space.end is None else self.space.end
            self.items[start:stop, : x.shape[1]] = x.to(self.items.dtype)
        else:
            x = to_index(x, self.space.levels) if self.space.levels else x
            self.items[start:stop] = x.to(self.items.dtype)
        for j, name in enumerate(self.names):
            self.labels[start:stop, j] = MISSING_TOKEN if c is None else c[name][: stop - start, 0].int()
        self.count.fill_(stop)

    def take(self, labels: tuple[int, ...]) -> Tensor:
        """The items that were given `labels`, one for each field, MISSING_TOKEN for any; all if none was.

        Shape (n, *shape), n >= 1, as the space has them.
        """
        asked = torch.tensor(labels, dtype=torch.int32)
        kept = self.labels[: len(self)]
        same = ((kept == asked) | (asked == MISSING_TOKEN)).all(1)
        rows = self.items[: len(self)]
        rows = rows[same] if bool(same.any()) else rows
        if isinstance(self.space, Tokens):
            return rows.long()
        return from_index(rows.float(), self.space.levels) if self.space.levels else rows

    def make_room(self, weights: Mapping[str, Tensor]) -> None:
        """Take the length that the buffers have in `weights`."""
        if len(found := weights.get("items", self.items)) != len(self.items) and len(found) <= self.capacity:
            self._resize(len(found))

    def _resize(self, count: int) -> None:
        for name in ("items", "labels"):
            old: Tensor = getattr(self, name)
            new = old.new_zeros(count, *old.shape[1:])
            new[: len(old)] = old[:count]
            setattr(self, name, new)
