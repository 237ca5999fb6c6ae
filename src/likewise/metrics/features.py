"""Features without a trained network: principal components of standardised descriptions, and what they leave out.

The components (Pearson, 1901) are fitted on real training items only, so that what is measured cannot move the ruler
it is measured with. One feature more holds the length of what the components leave out: without it a metric would be
blind to noise in directions in which real data do not vary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

Array = NDArray[np.float64]

#: the least unit of a feature, as a share of the median one
LEAST = 0.1
#: how many standard deviations from the mean a feature counts at most
CLIP = 5.0


@dataclass(frozen=True)
class Projection:
    """x -> the leading components of (x - mean) / scale, then the length of the rest, both divided by `unit`."""

    mean: Array  #: (F,)
    scale: Array  #: (F,)
    axes: Array  #: (F, D)
    unit: float
    rest: float | None  #: the mean length of the rest; None where the components leave nothing out

    @classmethod
    def fit(cls, real: Array, components: int = 64, standardise: bool = True) -> Projection:
        """Fit on real items, with shape (N, F), N >= 2; `components` is capped by F and by N - 1.

        standardise: measure each feature by its own spread; else all by one, which keeps what is large large (the ink
        of a picture), and is right only where features have one unit. Deterministic: the sign of each axis is such
        that its largest entry is positive.
        """
        real = np.asarray(real, np.float64)
        if real.ndim != 2 or len(real) < 2:
            raise ValueError(f"features of shape {real.shape}: expected at least two rows")
        mean, scale = real.mean(0), real.std(0)
        varies = scale > 1e-12 * np.abs(real).max(initial=1.0)
        # A feature that hardly varies (a corner of a picture) must not make a mountain of a speck of noise there, and
        # one that never does still shows a fake that varies in it.
        if not standardise:
            scale = np.full_like(scale, float(scale.max(initial=0.0)) or 1.0)
        scale = np.maximum(scale, LEAST * float(np.median(scale[varies])) if varies.any() else 1.0)
        standard = _standard(real, mean, scale)
        components = max(1, min(components, real.shape[1], len(real) - 1))
        size = real.shape[1]
        values, vectors = eigh(standard.T @ standard / len(real), subset_by_index=(size - components, size - 1))
        axes = vectors[:, ::-1]
        axes = axes * np.where(axes[np.abs(axes).argmax(0), np.arange(components)] < 0, -1.0, 1.0)
        # One unit for all axes (mean variance 1 along them) keeps the shape of the cloud, unlike whitening.
        unit = float(np.sqrt(max(values.mean(), 1e-24)))
        rest = None
        if components < real.shape[1]:
            rest = float(_rest(standard, axes).mean())
        return cls(mean, scale, axes, unit, rest)

    @property
    def size(self) -> int:
        """How many features an item has."""
        return self.axes.shape[1] + (self.rest is not None)

    def __call__(self, x: Array) -> Array:
        """x: shape (N, F). Returns shape (N, size), float64."""
        standard = _standard(np.asarray(x, np.float64), self.mean, self.scale)
        projected = standard @ self.axes / self.unit
        if self.rest is None:
            return projected
        length = (_rest(standard, self.axes) - self.rest) / self.unit
        return np.concatenate([projected, length[:, None]], 1)


def _standard(x: Array, mean: Array, scale: Array) -> Array:
    """Rare features (a pixel that is nearly always black, a rare category) would otherwise drown all others."""
    return np.clip((x - mean) / scale, -CLIP, CLIP)


def _rest(standard: Array, axes: Array) -> Array:
    """The length of what `axes` leave out of each row."""
    squared = (standard**2).sum(1) - ((standard @ axes) ** 2).sum(1)
    return np.sqrt(np.maximum(squared, 0.0))


def shuffled(x: Array, rng: np.random.Generator) -> Array:
    """The rows of x with each column permuted by itself: every marginal kept, every relation between columns broken."""
    return np.stack([column[rng.permutation(len(x))] for column in x.T], 1)
