"""Training items again, a little changed: the best of samples, and not learned at all."""

from __future__ import annotations

import torch
from torch import Tensor

from likewise.classical.columns import Columns, deviation
from likewise.draws import Draws
from likewise.spaces import Space, Tokens, token_mask

#: items that say how large the noise is
_ROWS = 4096


class Resample:
    """Items drawn from the data: numbers with Gaussian noise (a kernel density, Parzen 1962), and some of the choices
    and tokens taken from another item.
    """

    def __init__(self, x: Tensor, space: Space, noise: float) -> None:
        """x: the items, shape (N, *shape), N >= 1.

        noise: the noise's deviation as a share of each number's, and the chance of another choice or token.
        """
        self.space, self.noise, self._items = space, noise, x
        if isinstance(space, Tokens) and space.end is not None:
            self._lengths = token_mask(x, space).sum(1)
            return
        self._columns = Columns(space)
        self._deviation = deviation(self._columns.split(x[:_ROWS])[0])

    def sample(self, draws: Draws) -> Tensor:
        """Shape (B, *shape)."""
        chosen, other = draws.integers(len(self._items)), draws.integers(len(self._items))
        if isinstance(self.space, Tokens) and self.space.end is not None:
            return self._text(chosen, draws)
        (numbers, codes), (_, others) = (self._columns.split(self._items[each]) for each in (chosen, other))
        numbers = numbers + self.noise * self._deviation * draws.normal(numbers.shape[1])
        swapped = draws.uniform(codes.shape[1]) < self.noise
        return self._columns.join(numbers, torch.where(swapped, others, codes))

    def _text(self, chosen: Tensor, draws: Draws) -> Tensor:
        """Lengths stay: a token becomes one from somewhere in another text, never its end."""
        assert isinstance(self.space, Tokens)
        x = self._items[chosen]
        swapped = draws.uniform(x.shape[1]) < self.noise
        row = draws.integers(len(self._items), x.shape[1])
        place = (draws.uniform(x.shape[1]) * self._lengths[row]).long()
        found = self._items[row, place]
        fine = token_mask(x, self.space) & (x != self.space.end) & (found != self.space.end) & (found >= 0)
        return torch.where(swapped & fine, found, x)
