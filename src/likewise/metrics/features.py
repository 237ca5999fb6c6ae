"""Features without a trained network: principal components of standardised descriptions, plus the residual's length.

The components (Pearson, 1901) are fitted on real training items only, so that samples cannot influence the features
they are compared by. One additional feature is the length of the residual that the components do not explain: without
it a metric could not detect noise in directions in which real data do not vary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

Array = NDArray[np.float64]

#: the minimum scale of a feature, as a share of the median scale
LEAST = 0.1
#: features are clipped to this many standard deviations from the mean
CLIP = 5.0


@dataclass(frozen=True)
class Projection:
    """x -> the leading components of (x - mean) / scale, then the length of the residual, both divided by `unit`."""

    mean: Array  #: (F,)
    scale: Array  #: (F,)
    axes: Array  #: (F, D)
    unit: float
    rest: float | None  #: the mean length of the residual; None if the components explain everything

    @classmethod
    def fit(cls, real: Array, components: int = 64, standardise: bool = True) -> Projection:
        """Fit on real items, with shape (N, F), N >= 2; `components` is limited to F and to N - 1.

        standardise: divide each feature by its own standard deviation; otherwise divide all by one value, which keeps
        their relative sizes (the ink of a picture) and is correct only if all features have the same unit.
        Deterministic: each axis gets the sign that makes its largest entry positive. Raises ValueError if N < 2.
        """
        real = np.asarray(real, np.float64)
        if real.ndim != 2 or len(real) < 2:
            raise ValueError(f"features of shape {real.shape}: expected at least two rows")
        mean, scale = real.mean(0), real.std(0)
        varies = scale > 1e-12 * np.abs(real).max(initial=1.0)
        # The scale of a nearly constant feature (a corner of a picture) has a minimum, so that small noise there is not
        # amplified; a constant feature still reveals a fake that varies in it.
        if not standardise:
            scale = np.full_like(scale, float(scale.max(initial=0.0)) or 1.0)
        scale = np.maximum(scale, LEAST * float(np.median(scale[varies])) if varies.any() else 1.0)
        standard = _standard(real, mean, scale)
        components = max(1, min(components, real.shape[1], len(real) - 1))
        size = real.shape[1]
        values, vectors = eigh(standard.T @ standard / len(real), subset_by_index=(size - components, size - 1))
        axes = vectors[:, ::-1]
        axes = axes * np.where(axes[np.abs(axes).argmax(0), np.arange(components)] < 0, -1.0, 1.0)
        # One unit for all axes (mean variance 1 along them) preserves the shape of the cloud, unlike whitening.
        unit = float(np.sqrt(max(values.mean(), 1e-24)))
        rest = None
        if components < real.shape[1]:
            rest = float(_rest(standard, axes).mean())
        return cls(mean, scale, axes, unit, rest)

    @property
    def size(self) -> int:
        """The number of features of an item."""
        return self.axes.shape[1] + (self.rest is not None)

    def __call__(self, x: Array) -> Array:
        """Project x, shape (N, F). Returns shape (N, size), float64."""
        standard = _standard(np.asarray(x, np.float64), self.mean, self.scale)
        projected = standard @ self.axes / self.unit
        if self.rest is None:
            return projected
        length = (_rest(standard, self.axes) - self.rest) / self.unit
        return np.concatenate([projected, length[:, None]], 1)


def _standard(x: Array, mean: Array, scale: Array) -> Array:
    """Standardise and clip: rare features (a nearly always black pixel, a rare category) would otherwise dominate."""
    return np.clip((x - mean) / scale, -CLIP, CLIP)


def _rest(standard: Array, axes: Array) -> Array:
    """The length of the residual of each row that `axes` do not explain, shape (N,)."""
    squared = (standard**2).sum(1) - ((standard @ axes) ** 2).sum(1)
    return np.sqrt(np.maximum(squared, 0.0))


def shuffled(x: Array, rng: np.random.Generator) -> Array:
    """x, shape (N, F), with each column permuted independently: marginals are kept, dependencies are removed."""
    return np.stack([column[rng.permutation(len(x))] for column in x.T], 1)
