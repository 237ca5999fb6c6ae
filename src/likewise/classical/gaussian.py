"""A Gaussian with all its correlations, shrunk so that it can be estimated from fewer items than it has numbers.

Shrinkage: Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices" (2004). Of more
numbers than can be correlated with each other only the principal components are kept, with one variance for all other
directions, as in Tipping and Bishop, "Probabilistic principal component analysis" (1999).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from likewise.classical.columns import Columns
from likewise.draws import Draws
from likewise.spaces import Continuous

#: numbers whose covariance is computed whole; of more, the components that `_ITEMS` items span
_WHOLE, _ITEMS = 2048, 1024
#: rows that are in memory as float64 at once
_ROWS = 4096
_LEAST = 1e-6


class Gaussian:
    """Items of real values as one Gaussian; one-hot channels are numbers like any other until an item is drawn."""

    def __init__(self, x: Tensor, space: Continuous) -> None:
        """x: the items it is fitted to, shape (N, *shape), N >= 1."""
        self.space = space
        # Values on levels are anywhere in their bins: that adds the variance of a uniform distribution 2 / levels wide.
        self._normal = Normal(x.flatten(1), 1 / (3 * space.levels**2) if space.levels else 0.0)

    def sample(self, draws: Draws) -> Tensor:
        """Shape (B, *shape): on levels where there are levels, one-hot where there are choices."""
        columns = Columns(self.space)
        return columns.join(*columns.split(self._normal.sample(draws).view(-1, *self.space.shape)))

    def log_prob(self, x: Tensor) -> Tensor:
        """Nats of the density in x's units, shape (B,), float64. x: dequantised where there are levels."""
        return self._normal.log_prob(x.flatten(1))


class Normal:
    """N(mean, covariance) over rows of numbers."""

    def __init__(self, x: Tensor, noise: float = 0.0) -> None:
        """x: the rows it is fitted to, shape (N, F), N >= 1. noise: a variance that every number has besides."""
        size = x.shape[1]
        if size > _WHOLE:
            x = x[:_ITEMS]
        count = len(x)
        parts = [part.double() for part in x.split(_ROWS)]
        self.mean = torch.stack([part.sum(0) for part in parts]).sum(0) / count
        fourth = torch.zeros((), dtype=torch.float64)
        if count < size or size > _WHOLE:  # the nonzero eigenvalues of X'X are those of XX'
            rows = torch.cat(parts) - self.mean
            fourth += rows.square().sum(1).square().sum()
            values, vectors = torch.linalg.eigh(rows @ rows.T / count)
            kept = values > 1e-10 * values.sum().clamp(min=_LEAST)
            values = values[kept]
            axes = rows.T @ vectors[:, kept] / (values * count).sqrt()
        else:
            covariance = torch.zeros(size, size, dtype=torch.float64)
            for part in parts:
                rows = part - self.mean
                covariance += rows.T @ rows
                fourth += rows.square().sum(1).square().sum()
            values, axes = torch.linalg.eigh(covariance / count)
            values = values.clamp(min=0)
        #: how far the covariance is drawn towards one variance for all numbers, in [0, 1]
        self.shrinkage = _shrinkage(values, fourth / count, count, size)
        level = float(values.sum()) / size
        self.axes = axes  #: (F, K), orthonormal columns
        self.variances = (1 - self.shrinkage) * values + self.shrinkage * level + noise  #: (K,)
        #: in all directions that the axes leave out
        self.rest = max(self.shrinkage * level + noise, _LEAST * max(level, _LEAST))
        self.variances = self.variances.clamp(min=self.rest)

    def variance(self) -> Tensor:
        """Of each number, shape (F,)."""
        return self.axes.square() @ (self.variances - self.rest) + self.rest

    def sample(self, draws: Draws) -> Tensor:
        """Shape (B, F), float64."""
        size = len(self.axes)
        noise = draws.normal(size).double()
        along = noise @ self.axes
        # sqrt(covariance) applied to noise: what lies along an axis is scaled by its deviation, the rest by one.
        out = self.mean + noise * math.sqrt(self.rest)
        return out + (along * (self.variances.sqrt() - math.sqrt(self.rest))) @ self.axes.T

    def log_prob(self, x: Tensor) -> Tensor:
        """x: shape (B, F). Nats of the density, shape (B,), float64."""
        size, kept = self.axes.shape
        rows = x.double() - self.mean
        along = rows @ self.axes
        # |what the axes leave out|^2 by Pythagoras; rounding may make it negative where they leave nothing out
        left = (rows.square().sum(1) - along.square().sum(1)).clamp(min=0) if kept < size else torch.zeros(len(rows))
        distance = (along.square() / self.variances).sum(1) + left / self.rest
        volume = self.variances.log().sum() + (size - kept) * math.log(self.rest)
        return -0.5 * (distance + volume + size * math.log(2 * math.pi))


def _shrinkage(values: Tensor, fourth: Tensor, count: int, size: int) -> float:
    """Ledoit and Wolf's: the eigenvalues of the covariance, shape (K,), and the mean of |row|^4."""
    level = values.sum() / size
    squares = values.square().sum()
    apart = (squares - level * values.sum()) / size  # |S - level I|^2 / size
    error = torch.minimum((fourth - squares) / (size * count), apart)
    return float(error / apart) if apart > 1e-12 * squares and error > 0 else 0.0
