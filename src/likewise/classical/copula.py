"""A Gaussian copula: every column has the values of the data, and they hang together as a Gaussian's do.

Sklar, "Fonctions de répartition à n dimensions et leurs marges" (1959); normal scores: Liu, Lafferty and Wasserman,
"The nonparanormal" (2009). Values that are equal have the score of the middle of the stretch they take up: a random
place in it would hide most of what hangs together in data with many ties, such as pictures with a black ground.
"""

from __future__ import annotations

import torch
from torch import Tensor

from likewise.classical.columns import Columns
from likewise.classical.gaussian import Normal
from likewise.draws import Draws
from likewise.spaces import Space

#: numbers that are ranked; of more items, the first
_CELLS = 2**23


class Copula:
    """Columns with the margins of the data, and a Gaussian's dependence between their normal scores."""

    def __init__(self, x: Tensor, space: Space) -> None:
        """x: the items it is fitted to, shape (N, *shape), N >= 1."""
        self._columns = Columns(space)
        x = x[: max(2, _CELLS // max(1, self._columns.numbers + len(self._columns.choices)))]
        numbers, codes = self._columns.split(x)
        values = torch.cat((numbers, codes.double()), 1).T.contiguous()
        self._sorted = values.sort(1).values  #: (F, N)
        low = torch.searchsorted(self._sorted, values)
        high = torch.searchsorted(self._sorted, values, right=True)
        self._scores = Normal(torch.special.ndtri((low + high) / (2 * len(x))).T)
        self._spread = self._scores.spread()

    def sample(self, draws: Draws) -> Tensor:
        """Shape (B, *shape)."""
        score = (self._scores.sample(draws) - self._scores.mean) / self._spread
        count = self._sorted.shape[1]
        place = (torch.special.ndtr(score) * count).long().clamp(0, count - 1)
        values = self._sorted.gather(1, place.T).T
        return self._columns.join(values[:, : self._columns.numbers], values[:, self._columns.numbers :].long())
