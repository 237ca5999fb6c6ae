"""Independent marginal distributions of each column or token, without any dependence between them."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from likewise.classical.columns import Columns, deviation
from likewise.draws import Draws
from likewise.spaces import Continuous, Space, Tokens, to_index, token_mask

#: Lower bound of a column's standard deviation.
_LEAST = 1e-3
#: Items processed at once.
_ROWS = 4096


class Marginals:
    """Independent columns: histograms for levels and categorical columns, else a Gaussian each.

    Texts have one histogram for all positions, as items of different lengths have no columns. Counts start at 1
    (Laplace smoothing) for every value that can occur.
    """

    def __init__(self, x: Tensor, space: Space) -> None:
        """x: the items to fit, shape (N, *shape), N >= 1."""
        self.space = space
        if isinstance(space, Tokens) and space.end is not None:
            self._token = _histogram([x[token_mask(x, space)][:, None]], 0, space.vocabulary)[0]
            return
        self._columns = Columns(space)
        self._levels = space.levels if isinstance(space, Continuous) else None
        parts = x.split(_ROWS)
        codes = torch.cat([self._columns.split(part)[1] for part in parts])
        self._choices = [
            _histogram([codes[:, i : i + 1]], low, high)[0] for i, (low, high) in enumerate(self._columns.choices)
        ]
        if self._levels:
            levels = self._levels
            indices = (to_index(self._columns.split(part)[0], levels) for part in parts)
            self._histograms = _histogram(indices, 0, levels)
        else:
            numbers = self._columns.split(x)[0]
            self._mean = numbers.mean(0)
            self._deviation = deviation(numbers).clamp(min=_LEAST)

    def sample(self, draws: Draws) -> Tensor:
        """Draw items, shape (B, *shape); texts are padded with `end` after their first `end`."""
        if isinstance(self.space, Tokens) and self.space.end is not None:
            x = _invert(self._token, draws.uniform(self.space.length))
            ended = (x == self.space.end).cumsum(1) > 0
            return x.masked_fill(ended, self.space.end)
        if self._levels:
            index = _invert(self._histograms, draws.uniform(self._columns.numbers))
            numbers = (2 * index.double() + 1) / self._levels - 1
        else:
            numbers = self._mean + self._deviation * draws.normal(self._columns.numbers)
        u = draws.uniform(len(self._choices))
        codes = [
            low + _invert(log_p, u[:, i : i + 1])
            for i, (log_p, (low, _)) in enumerate(zip(self._choices, self._columns.choices, strict=True))
        ]
        none = u.new_zeros(len(u), 0, dtype=torch.int64)
        return self._columns.join(numbers, torch.cat([none, *codes], 1))

    def log_prob(self, x: Tensor) -> Tensor:
        """Nats, shape (B,), float64: a density in x's units for numbers, uniform within a level's bin (2 / levels)."""
        if isinstance(self.space, Tokens) and self.space.end is not None:
            counts = token_mask(x, self.space)
            return torch.where(counts, self._token[x.clamp(min=0)], 0.0).sum(1)
        numbers, codes = self._columns.split(x)
        if self._levels:
            each = self._histograms.gather(1, to_index(numbers, self._levels).T).T - math.log(2 / self._levels)
        else:
            z = (numbers - self._mean) / self._deviation
            each = -0.5 * z.square() - self._deviation.log() - 0.5 * math.log(2 * math.pi)
        total = each.sum(1)
        for i, (low, _) in enumerate(self._columns.choices):
            total = total + self._choices[i][codes[:, i] - low]
        return total


def _histogram(parts: Iterable[Tensor], low: int, high: int) -> Tensor:
    """Log-probabilities of the high - low codes of each integer column; parts: shape (N, K). Returns (K, codes)."""
    kinds, counts = high - low, torch.ones((), dtype=torch.float64)
    for index in parts:
        columns = index.shape[1]
        offset = torch.arange(columns) * kinds
        counts = counts + (index - low + offset).flatten().bincount(minlength=kinds * columns).view(columns, kinds)
    return (counts / counts.sum(1, keepdim=True)).log()


def _invert(log_p: Tensor, u: Tensor) -> Tensor:
    """Inverse transform sampling: log_p, shape (codes,) or (K, codes), at uniform u, shape (B, K)."""
    edges = log_p.exp().cumsum(-1)
    where = u.double().T.contiguous() * edges[..., -1:]
    if log_p.dim() == 1:
        edges = edges.expand(where.shape[0], -1).contiguous()
    return torch.searchsorted(edges, where, right=True).clamp(max=log_p.shape[-1] - 1).T
