"""A Gaussian with all its correlations, shrunk so that it can be estimated from fewer items than it has numbers.

Shrinkage: Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices" (2004), of numbers
that are each measured by their own deviation, so that it draws correlations to none and leaves variances. Of more
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
#: what numbers are measured by is at least this, and this share of their mean deviation: a pixel that was always black
#: may be lit yet. Of shares from 0 to 3 this one needs the fewest bits for held-out digits
_LEAST, _SHARE = 1e-3, 0.2


class Gaussian:
    """Items of real values as one Gaussian; one-hot channels are numbers like any other until an item is drawn."""

    def __init__(self, x: Tensor, space: Continuous) -> None:
        """x: the items it is fitted to, shape (N, *shape), N >= 1."""
        self.space = space
        # Values on levels are anywhere in their bins: that adds the variance of a uniform density 2 / levels wide.
        self._normal = Normal(x.flatten(1), 1 / (3 * space.levels**2) if space.levels else 0.0)

    def sample(self, draws: Draws) -> Tensor:
        """Shape (B, *shape): on levels where there are levels, one-hot where there are choices."""
        columns = Columns(self.space)
        return columns.join(*columns.split(self._normal.sample(draws).view(-1, *self.space.shape)))

    def log_prob(self, x: Tensor) -> Tensor:
        """Nats of the density in x's units, shape (B,), float64. x: dequantised where there are levels."""
        return self._normal.log_prob(x.flatten(1))


class Normal:
    """N(mean, covariance) over rows of numbers, each measured by its own deviation."""

    def __init__(self, x: Tensor, noise: float = 0.0) -> None:
        """x: the rows it is fitted to, shape (N, F), N >= 1. noise: a variance that each number has besides."""
        size = x.shape[1]
        if size > _WHOLE:
            x = x[:_ITEMS]
        count, parts = len(x), x.split(_ROWS)
        self.mean = torch.stack([part.double().sum(0) for part in parts]).sum(0) / count
        squares = torch.stack([(part - self.mean).square().sum(0) for part in parts]).sum(0)
        variance = squares / count + noise
        least = max(_LEAST, _SHARE * float(variance.mean().sqrt()))
        self.deviation = variance.sqrt().clamp(min=least)  #: what each number is measured by, (F,)
        fourth = torch.zeros((), dtype=torch.float64)
        if count < size or size > _WHOLE:  # the nonzero eigenvalues of X'X are those of XX'
            rows = (x - self.mean) / self.deviation
            fourth += rows.square().sum(1).square().sum()
            values, vectors = torch.linalg.eigh(rows @ rows.T / count)
            kept = values > 1e-10 * values.sum().clamp(min=_LEAST)
            values = values[kept]
            axes = rows.T @ vectors[:, kept] / (values * count).sqrt()
        else:
            covariance = torch.zeros(size, size, dtype=torch.float64)
            for part in parts:
                rows = (part - self.mean) / self.deviation
                covariance += rows.T @ rows
                fourth += rows.square().sum(1).square().sum()
            besides = torch.diag(noise / self.deviation.square())
            values, axes = torch.linalg.eigh(covariance / count + besides)
            values = values.clamp(min=0)
        #: how far the correlations are drawn towards none, in [0, 1]
        self.shrinkage = _shrinkage(values, fourth / count, count, size)
        level = self.shrinkage * float(values.sum()) / size
        self.axes = axes  #: (F, K), orthonormal columns
        #: in all directions that the axes leave out
        self.rest = max(level, noise * float((1 / self.deviation.square()).mean()), _LEAST**2)
        #: along the axes, (K,)
        self.variances = ((1 - self.shrinkage) * values + level).clamp(min=self.rest)

    def spread(self) -> Tensor:
        """The deviation of each number as it is drawn, shape (F,)."""
        return self.deviation * (self.axes.square() @ (self.variances - self.rest) + self.rest).sqrt()

    def sample(self, draws: Draws) -> Tensor:
        """Shape (B, F), float64."""
        noise = draws.normal(len(self.axes)).double()
        # The root of the covariance: what lies along an axis is scaled by its deviation, all else by one.
        root = math.sqrt(self.rest)
        drawn = noise * root + (noise @ self.axes * (self.variances.sqrt() - root)) @ self.axes.T
        return self.mean + self.deviation * drawn

    def log_prob(self, x: Tensor) -> Tensor:
        """x: shape (B, F). Nats of the density, shape (B,), float64."""
        size, kept = self.axes.shape
        rows = (x.double() - self.mean) / self.deviation
        along = rows @ self.axes
        # The length of what the axes leave out, by Pythagoras; rounding may make it negative.
        left = (rows.square().sum(1) - along.square().sum(1)).clamp(min=0) if kept < size else 0.0
        distance = (along.square() / self.variances).sum(1) + left / self.rest
        volume = self.variances.log().sum() + (size - kept) * math.log(self.rest) + 2 * self.deviation.log().sum()
        return -0.5 * (distance + volume + size * math.log(2 * math.pi))


def _shrinkage(values: Tensor, fourth: Tensor, count: int, size: int) -> float:
    """Ledoit and Wolf's: the eigenvalues of the covariance, shape (K,), and the mean of |row|^4."""
    level = values.sum() / size
    squares = values.square().sum()
    apart = (squares - level * values.sum()) / size  # |S - level I|^2 / size
    error = torch.minimum((fourth - squares) / (size * count), apart)
    return float(error / apart) if apart > 1e-12 * squares and error > 0 else 0.0
