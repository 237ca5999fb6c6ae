"""Diversity as a function of size: the effective number of different items, and whether more data would add new ones.

The Vendi score (Friedman and Dieng, 2023) is the exponential of the entropy of the eigenvalues of K / n: n if all items
are dissimilar, 1 if all are equal. The similarity is a Gaussian kernel whose standard deviation is a third of the
median distance of random pairs. (With a scale of the size of nearest-neighbour distances any data would count as
diverse, even five classes with a little noise.) The second curve is the distance to the nearest of a growing number of
other items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigvalsh
from scipy.spatial.distance import cdist

from likewise.metrics.intervals import generator
from likewise.metrics.neighbours import nearest
from likewise.quality.items import Items

#: the maximum number of items for the score, and of items whose nearest neighbour is searched
MOST, ASKED = 2000, 500
_SMALLEST = 16
#: the kernel's standard deviation, as a share of the median distance
_SCALE = 1 / 3

Curve = list[tuple[int, float]]


@dataclass(frozen=True)
class Diversity:
    """Curves of (items, value), each at doubling sizes."""

    vendi: Curve
    nearest: Curve  #: mean distance to the nearest item, as a share of the median distance of random pairs

    @property
    def gain(self) -> float | None:
        """The factor by which the last doubling raised the score, in [1, 2]; None if there was no doubling."""
        return self.vendi[-1][1] / self.vendi[-2][1] if len(self.vendi) > 1 else None

    @property
    def nearer(self) -> float | None:
        """The share by which the last doubling reduced the distance to the nearest item; None if there was none."""
        if len(self.nearest) < 2 or not self.nearest[-2][1]:
            return None
        return 1 - self.nearest[-1][1] / self.nearest[-2][1]


def diversity(items: Items, seed: int = 0) -> Diversity:
    """Both curves over random subsets of growing size; each subset contains the smaller ones."""
    order = generator(seed, "diversity").permutation(len(items))
    x = items.x[order].astype(np.float64)
    some = x[:MOST]
    apart = cdist(some, some)
    # The median may be zero if many items are equal; the mean is zero only if all are.
    unit = float(np.median(apart[np.triu_indices(len(some), 1)]) or apart.mean() or 1.0)
    kernel = np.exp(-0.5 * (apart / (_SCALE * unit)) ** 2)
    asked = x[: min(ASKED, len(x) // 4)]
    rest = x[len(asked) :]
    distances: Curve = []
    if len(asked):
        distances = [(n, float(nearest(asked, rest[:n])[0].mean()) / unit) for n in doublings(len(rest))]
    return Diversity([(n, vendi(kernel[:n, :n])) for n in doublings(len(some))], distances)


def vendi(kernel: NDArray[np.float64]) -> float:
    """exp of the entropy of the eigenvalues of kernel / n; kernel: (n, n), positive definite, with unit diagonal."""
    values = eigvalsh(kernel / len(kernel))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def doublings(count: int) -> list[int]:
    """`count` and its repeated halves, at least `_SMALLEST`, ascending."""
    sizes = [count]
    while sizes[-1] // 2 >= _SMALLEST:
        sizes.append(sizes[-1] // 2)
    return sizes[::-1]
