"""Training items with added noise: high sample quality without any learning, as a baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from likewise.classical.columns import Columns, deviation
from likewise.draws import Draws
from likewise.spaces import Space, Tokens, token_mask

#: Items from which the scale of the noise is estimated.
_ROWS = 4096


class Resample:
    """Items of the data with Gaussian noise on numbers (kernel density, Parzen 1962), and some codes and tokens
    swapped.
    """

    def __init__(self, x: Tensor, space: Space, noise: float) -> None:
        """x: the items, shape (N, *shape), N >= 1.

        noise: standard deviation of the noise relative to each number's, and the probability of swapping a code or
        token.
        """
        self.space, self.noise, self._items = space, noise, x
        if isinstance(space, Tokens) and space.end is not None:
            self._lengths = token_mask(x, space).sum(1)
            return
        self._columns = Columns(space)
        self._deviation = deviation(self._columns.split(x[:_ROWS])[0])

    def sample(self, draws: Draws) -> Tensor:
        """Draw items, shape (B, *shape)."""
        chosen, other = draws.integers(len(self._items)), draws.integers(len(self._items))
        if isinstance(self.space, Tokens) and self.space.end is not None:
            return self._text(chosen, draws)
        (numbers, codes), (_, others) = (self._columns.split(self._items[each]) for each in (chosen, other))
        numbers = numbers + self.noise * self._deviation * draws.normal(numbers.shape[1])
        swapped = draws.uniform(codes.shape[1]) < self.noise
        return self._columns.join(numbers, torch.where(swapped, others, codes))

    def _text(self, chosen: Tensor, draws: Draws) -> Tensor:
        """Lengths are kept: tokens are replaced by random tokens of other texts, except `end`."""
        assert isinstance(self.space, Tokens)
        x = self._items[chosen]
        swapped = draws.uniform(x.shape[1]) < self.noise
        row = draws.integers(len(self._items), x.shape[1])
        place = (draws.uniform(x.shape[1]) * self._lengths[row]).long()
        found = self._items[row, place]
        fine = token_mask(x, self.space) & (x != self.space.end) & (found != self.space.end) & (found >= 0)
        return torch.where(swapped & fine, found, x)
