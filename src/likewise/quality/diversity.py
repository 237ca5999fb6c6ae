"""Diversity against size: how many different items the data hold, and whether twice as many would bring new ones.

The Vendi score (Friedman and Dieng, 2023) is the exponential of the entropy of the eigenvalues of K / n: n where no two
items are alike, 1 where all are equal. Here two items are alike by exp(-1/2) at a third of the median distance of
random pairs: a scale of the nearest neighbours' own size would call any data diverse, five kinds with a little noise
too. The other curve is the distance from items to the nearest of a growing number of others.
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

#: items of which the score is computed at most, and items that ask for their nearest neighbour
MOST, ASKED = 2000, 500
_SMALLEST = 16
#: at what share of the median distance two items are alike by exp(-1/2)
_SCALE = 1 / 3

Curve = list[tuple[int, float]]


@dataclass(frozen=True)
class Diversity:
    """Curves of (items, value), each at doubling sizes."""

    vendi: Curve
    nearest: Curve  #: mean distance to the nearest, as a share of the median distance of random pairs

    @property
    def gain(self) -> float | None:
        """By what factor the last doubling raised the score, in [1, 2]; None where there was none."""
        return self.vendi[-1][1] / self.vendi[-2][1] if len(self.vendi) > 1 else None

    @property
    def nearer(self) -> float | None:
        """By what share the last doubling brought the nearest item nearer."""
        if len(self.nearest) < 2 or not self.nearest[-2][1]:
            return None
        return 1 - self.nearest[-1][1] / self.nearest[-2][1]


def diversity(items: Items, seed: int = 0) -> Diversity:
    """Both curves of random items of growing number, each set holding the smaller ones."""
    order = generator(seed, "diversity").permutation(len(items))
    x = items.x[order].astype(np.float64)
    some = x[:MOST]
    apart = cdist(some, some)
    # all pairs alike would have no scale: the mean is zero only where all items are
    unit = float(np.median(apart[np.triu_indices(len(some), 1)]) or apart.mean() or 1.0)
    kernel = np.exp(-0.5 * (apart / (_SCALE * unit)) ** 2)
    asked = x[: min(ASKED, len(x) // 4)]
    rest = x[len(asked) :]
    distances: Curve = []
    if len(asked):
        distances = [(n, float(nearest(asked, rest[:n])[0].mean()) / unit) for n in doublings(len(rest))]
    return Diversity([(n, vendi(kernel[:n, :n])) for n in doublings(len(some))], distances)


def vendi(kernel: NDArray[np.float64]) -> float:
    """exp of the entropy of the eigenvalues of kernel / n; kernel: (n, n), positive definite, its diagonal is 1."""
    values = eigvalsh(kernel / len(kernel))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def doublings(count: int) -> list[int]:
    """count, and its halves down to some: ascending."""
    sizes = [count]
    while sizes[-1] // 2 >= _SMALLEST:
        sizes.append(sizes[-1] // 2)
    return sizes[::-1]
