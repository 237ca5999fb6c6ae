"""A bounded number of training items, stored with the model, for families that need them when sampling.

Training iterates over the items in random order, so the first ones of an epoch are a uniform sample: no stored item is
ever replaced.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from likewise.spaces import MISSING_TOKEN, Condition, Continuous, Space, Tokens, from_index, to_index


class Reservoir(nn.Module):
    """Stores the first `capacity` items, with their labels.

    The buffers grow, so that a checkpoint is only as large as the stored items; before weights are loaded, `make_room`
    resizes the buffers.
    """

    items: Tensor  #: (n, *shape), in the smallest sufficient type
    labels: Tensor  #: (n, fields)

    def __init__(self, space: Space, condition: Condition, memory: int) -> None:
        """condition: fields of one token each. memory: maximum size in bytes."""
        super().__init__()
        self.space, self.names = space, sorted(condition)
        # Values on levels and tokens are small integers: for 8-bit images four times as many items fit.
        kinds = space.vocabulary if isinstance(space, Tokens) else space.levels
        shape = (space.length,) if isinstance(space, Tokens) else space.shape
        dtype = torch.float32 if kinds is None else torch.int16 if kinds <= 2**15 else torch.int32
        if kinds is not None and kinds <= 256 and isinstance(space, Continuous):
            dtype = torch.uint8
        each = torch.Size(shape).numel() * dtype.itemsize + 4 * len(self.names)
        self.capacity = max(1, memory // each)
        self.register_buffer("items", torch.zeros(0, *shape, dtype=dtype))
        self.register_buffer("labels", torch.zeros(0, len(self.names), dtype=torch.int32))
        #: The allocated tensors, of which the buffers are the beginnings.
        self._room = {"items": self.items, "labels": self.labels}

    def __len__(self) -> int:
        return len(self.items)

    def add(self, x: Tensor, c: dict[str, Tensor] | None) -> None:
        """Store items while there is room. x: shape (B, *shape), or tokens (B, L), L <= length. c: labels, (B, 1)."""
        start = len(self)
        stop = min(start + len(x), self.capacity)
        x = x[: stop - start]
        if stop > len(self._room["items"]):  # doubling, so that items are copied only a few times in total
            self._resize(min(self.capacity, max(stop, 2 * start)), stop)
        else:
            self._show(stop)
        if isinstance(self.space, Tokens):
            self.items[start:] = MISSING_TOKEN if self.space.end is None else self.space.end
            self.items[start:, : x.shape[1]] = x.to(self.items.dtype)
        else:
            x = to_index(x, self.space.levels) if self.space.levels else x
            self.items[start:] = x.to(self.items.dtype)
        for j, name in enumerate(self.names):
            self.labels[start:, j] = MISSING_TOKEN if c is None else c[name][: stop - start, 0].int()

    def take(self, labels: tuple[int, ...]) -> Tensor:
        """The items with `labels`, one per field, MISSING_TOKEN for any; all items if none match.

        Shape (n, *shape), n >= 1, in the space's representation.
        """
        wanted = torch.tensor(labels, dtype=torch.int32)
        same = ((self.labels == wanted) | (wanted == MISSING_TOKEN)).all(1)
        rows = self.items[same] if bool(same.any()) else self.items
        if isinstance(self.space, Tokens):
            return rows.long()
        return from_index(rows.float(), self.space.levels) if self.space.levels else rows

    def make_room(self, weights: Mapping[str, Tensor]) -> None:
        """Resize the buffers to their length in `weights`."""
        count = len(weights.get("items", self.items))
        if count != len(self) and count <= self.capacity:
            self._resize(count, count)

    def _resize(self, room: int, count: int) -> None:
        for name, old in self._room.items():
            self._room[name] = old.new_zeros(room, *old.shape[1:])
            kept = min(len(self), count)
            self._room[name][:kept] = old[:kept]
        self._show(count)

    def _show(self, count: int) -> None:
        self.items, self.labels = self._room["items"][:count], self._room["labels"][:count]
