"""A Gaussian copula: each column has the empirical distribution of the data; the dependence is Gaussian.

Sklar, "Fonctions de répartition à n dimensions et leurs marges" (1959); normal scores: Liu, Lafferty and Wasserman,
"The nonparanormal" (2009). Tied values get the score of their middle rank: a random rank would hide most of the
dependence in data with many ties, such as images with a black background.
"""

from __future__ import annotations

import torch
from torch import Tensor

from likewise.classical.columns import Columns
from likewise.classical.gaussian import Normal
from likewise.draws import Draws
from likewise.spaces import Space

#: Maximum number of values that are ranked; beyond it only the first items are used.
_CELLS = 2**23


class Copula:
    """Columns with the empirical marginals, and a Gaussian dependence between their normal scores."""

    def __init__(self, x: Tensor, space: Space) -> None:
        """x: the items to fit, shape (N, *shape), N >= 1."""
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
        """Draw items, shape (B, *shape)."""
        score = (self._scores.sample(draws) - self._scores.mean) / self._spread
        count = self._sorted.shape[1]
        place = (torch.special.ndtr(score) * count).long().clamp(0, count - 1)
        values = self._sorted.gather(1, place.T).T
        return self._columns.join(values[:, : self._columns.numbers], values[:, self._columns.numbers :].long())
