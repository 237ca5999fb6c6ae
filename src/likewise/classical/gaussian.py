"""A full-covariance Gaussian with shrinkage, so that it can be estimated from fewer items than dimensions.

Shrinkage: Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices" (2004), on
standardised values, so that correlations shrink to zero and variances are kept. Above `_WHOLE` dimensions only the
principal components are kept, with one variance for all other directions, as in Tipping and Bishop, "Probabilistic
principal component analysis" (1999).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from likewise.classical.columns import Columns
from likewise.draws import Draws
from likewise.spaces import Continuous

#: Maximum dimension for the full covariance; above it, the principal components of the first `_ITEMS` items are used.
_WHOLE, _ITEMS = 2048, 1024
#: Rows converted to float64 at once.
_ROWS = 4096
#: Lower bounds of a dimension's standard deviation: absolute, and as a share of the mean one. A pixel that was always
#: black may still vary. Of shares from 0 to 3 this one needs the fewest bits for held-out digits.
_LEAST, _SHARE = 1e-3, 0.2


class Gaussian:
    """A Gaussian over items of real values; one-hot channels are treated as numbers and rounded when sampling."""

    def __init__(self, x: Tensor, space: Continuous) -> None:
        """x: the items to fit, shape (N, *shape), N >= 1."""
        self.space = space
        # Dequantised values are uniform within bins of width 2 / levels, which adds this variance.
        self._normal = Normal(x.flatten(1), 1 / (3 * space.levels**2) if space.levels else 0.0)

    def sample(self, draws: Draws) -> Tensor:
        """Draw items, shape (B, *shape): rounded to levels, and one-hot where there are choices."""
        columns = Columns(self.space)
        return columns.join(*columns.split(self._normal.sample(draws).view(-1, *self.space.shape)))

    def log_prob(self, x: Tensor) -> Tensor:
        """The log density in nats in x's units, shape (B,), float64. x: dequantised where there are levels."""
        return self._normal.log_prob(x.flatten(1))


class Normal:
    """N(mean, covariance) over rows of numbers, each standardised by its own deviation."""

    def __init__(self, x: Tensor, noise: float = 0.0) -> None:
        """x: the rows to fit, shape (N, F), N >= 1. noise: variance that is added to each dimension."""
        size = x.shape[1]
        if size > _WHOLE:
            x = x[:_ITEMS]
        count, parts = len(x), x.split(_ROWS)
        self.mean = torch.stack([part.double().sum(0) for part in parts]).sum(0) / count
        squares = torch.stack([(part - self.mean).square().sum(0) for part in parts]).sum(0)
        variance = squares / count + noise
        least = max(_LEAST, _SHARE * float(variance.mean().sqrt()))
        self.deviation = variance.sqrt().clamp(min=least)  #: standard deviation of each dimension, (F,)
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
        #: Shrinkage of the correlations towards zero, in [0, 1].
        self.shrinkage = _shrinkage(values, fourth / count, count, size)
        level = self.shrinkage * float(values.sum()) / size
        self.axes = axes  #: (F, K), orthonormal columns
        #: Variance in all directions orthogonal to the axes.
        self.rest = max(level, noise * float((1 / self.deviation.square()).mean()), _LEAST**2)
        #: Variances along the axes, (K,).
        self.variances = ((1 - self.shrinkage) * values + level).clamp(min=self.rest)

    def spread(self) -> Tensor:
        """The standard deviation of each dimension of samples, shape (F,)."""
        return self.deviation * (self.axes.square() @ (self.variances - self.rest) + self.rest).sqrt()

    def sample(self, draws: Draws) -> Tensor:
        """Draw rows, shape (B, F), float64."""
        noise = draws.normal(len(self.axes)).double()
        # The square root of the covariance: components along an axis are scaled by its deviation, all others by `root`.
        root = math.sqrt(self.rest)
        drawn = noise * root + (noise @ self.axes * (self.variances.sqrt() - root)) @ self.axes.T
        return self.mean + self.deviation * drawn

    def log_prob(self, x: Tensor) -> Tensor:
        """x: shape (B, F). The log density in nats, shape (B,), float64."""
        size, kept = self.axes.shape
        rows = (x.double() - self.mean) / self.deviation
        along = rows @ self.axes
        # The squared length orthogonal to the axes, by Pythagoras; rounding may make it negative.
        left = (rows.square().sum(1) - along.square().sum(1)).clamp(min=0) if kept < size else 0.0
        distance = (along.square() / self.variances).sum(1) + left / self.rest
        volume = self.variances.log().sum() + (size - kept) * math.log(self.rest) + 2 * self.deviation.log().sum()
        return -0.5 * (distance + volume + size * math.log(2 * math.pi))


def _shrinkage(values: Tensor, fourth: Tensor, count: int, size: int) -> float:
    """Ledoit and Wolf's coefficient, in [0, 1], from the covariance's eigenvalues, (K,), and mean |row|^4."""
    level = values.sum() / size
    squares = values.square().sum()
    apart = (squares - level * values.sum()) / size  # |S - level I|^2 / size
    error = torch.minimum((fourth - squares) / (size * count), apart)
    return float(error / apart) if apart > 1e-12 * squares and error > 0 else 0.0
