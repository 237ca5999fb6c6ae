"""Items of a space as columns of numbers and categorical codes."""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.spaces import MISSING_TOKEN, Space, Tokens, from_index, to_index


class Columns:
    """Converts between items of `space` and their columns.

    Each channel of a Continuous space is a number at each position; each one-hot group is one categorical column per
    position. Each position of Tokens without an end is a categorical column.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        #: The range of codes of each categorical column, (low, high): low <= code < high.
        self.choices: list[tuple[int, int]]
        if isinstance(space, Tokens):
            assert space.end is None, "texts of different lengths have no columns"
            self.choices = list(space.ranges) or [(0, space.vocabulary)] * space.length
            self.numbers = 0
            return
        grouped = {channel for start, stop in space.choices for channel in range(start, stop)}
        places = prod(space.positions)
        self._rest = [channel for channel in range(space.channels) if channel not in grouped]
        self.choices = [(0, stop - start) for start, stop in space.choices for _ in range(places)]
        self.numbers = len(self._rest) * places

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x, shape (B, *shape), as numbers, (B, numbers), float64, and codes, (B, choices), int64.

        Numbers on levels keep their values; a missing token becomes the lowest code of its column.
        """
        if isinstance(self.space, Tokens):
            low = torch.tensor([low for low, _ in self.choices], device=x.device)
            return x.new_zeros(len(x), 0, dtype=torch.float64), torch.where(x == MISSING_TOKEN, low, x)
        flat = x.double().reshape(len(x), self.space.channels, -1)
        codes = [flat[:, start:stop].argmax(1) for start, stop in self.space.choices]
        none = flat.new_zeros(len(x), 0, dtype=torch.int64)
        return flat[:, self._rest].flatten(1), torch.cat([none, *codes], 1)

    def join(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """The inverse of `split`: shape (B, *shape), float32 or int64. Numbers are rounded to the nearest level."""
        if isinstance(self.space, Tokens):
            return codes
        space, count, places = self.space, len(numbers), prod(self.space.positions)
        if space.levels:
            numbers = from_index(to_index(numbers, space.levels), space.levels)
        x = torch.zeros(count, space.channels, places, device=numbers.device)
        x[:, self._rest] = numbers.reshape(count, len(self._rest), places).float()
        each = codes.reshape(count, len(space.choices), places)
        for i, (start, stop) in enumerate(space.choices):
            x[:, start:stop] = F.one_hot(each[:, i], stop - start).transpose(1, 2).float()
        return x.reshape(count, *space.shape)


def deviation(numbers: Tensor) -> Tensor:
    """The standard deviation of each column, shape (N, F): shape (F,). (torch.std warns where F is 0.)"""
    return (numbers - numbers.mean(0)).square().mean(0).sqrt()
