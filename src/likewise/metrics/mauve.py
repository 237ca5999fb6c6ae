"""MAUVE (Pillutla et al., 2021): the similarity of two collections of texts, as the area under a divergence frontier.

The features of both are clustered together; the frontier has, for each mixture r = w p + (1 - w) q of the two
histograms, the point (exp(-c KL(q | r)), exp(-c KL(p | r))) with c = 5. The area is 1 for equal histograms and
c B(c + 1, c) = 0.004 for disjoint ones. It depends on the features, the number of clusters and the number of texts, so
values are comparable only at equal settings, and should be computed with 5,000 texts of each or more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from likewise.draws import derive_seed
from likewise.metrics.intervals import Estimate, groups_of, jackknife

Array = NDArray[np.float64]

#: the number of texts of each side recommended by its authors
ENOUGH = 5000
SCALING = 5.0
_POINTS = 101


def frontier_area(p: Array, q: Array, scaling: float = SCALING) -> float:
    """The area under the frontier of two histograms, both with shape (K,) and sum 1."""
    # The ends of the frontier are known; only there (w = 0 or 1) a divergence may be infinite.
    weights = np.linspace(0, 1, _POINTS)[1:-1]
    mixtures = weights[:, None] * p + (1 - weights[:, None]) * q
    x = np.concatenate([[1.0], np.exp(-scaling * _kl(q, mixtures)), [0.0]])
    y = np.concatenate([[0.0], np.exp(-scaling * _kl(p, mixtures)), [1.0]])
    order = np.lexsort((-y, x))
    return float(np.trapezoid(y[order], x[order]))


def mauve(real: Array, fake: Array, seed: int = 0) -> Estimate:
    """MAUVE of two sets of features, shapes (N, D) and (M, D), in (0, 1]; n / 10 clusters by k-means, at most 500.

    The interval leaves out groups of items with the clusters fixed: it does not include the variance due to the
    clustering or the bias of few texts. Raises ValueError for fewer than 20 items of a side.
    """
    from sklearn.cluster import KMeans

    fewest = min(len(real), len(fake))
    if fewest < 20:
        raise ValueError(f"{fewest} items: MAUVE needs at least 20 of each")
    count = min(500, max(2, fewest // 10))
    both = np.concatenate([real, fake])
    clusters = KMeans(count, n_init=1, random_state=derive_seed(seed, "mauve") % 2**32)  # pyright: ignore
    kinds = clusters.fit_predict(both)
    sides = kinds[: len(real)], kinds[len(real) :]
    groups = [groups_of(len(side), seed) for side in sides]
    values = []
    for g in range(-1, min(int(part.max()) + 1 for part in groups)):
        counts = [np.bincount(k[part != g], minlength=count) for k, part in zip(sides, groups, strict=True)]
        values.append(frontier_area(*(c / c.sum() for c in counts)))
    return jackknife(values[0], np.array(values[1:]), (0.0, 1.0))


def _kl(p: Array, mixtures: Array) -> Array:
    """KL(p | r) in nats for each mixture r, with shape (R, K), that has mass wherever p has; shape (R,)."""
    there = p > 0
    return (p[there] * np.log(p[there] / mixtures[:, there])).sum(1)
