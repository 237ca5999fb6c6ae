"""Groups of duplicates: equal items, items that look alike, and items closer than expected by chance.

Two items are near duplicates if they are much closer to each other than to their other neighbours (the ratio test of
Lowe, 2004, also used in `metrics.copies`). The threshold depends on the data: in d dimensions, d(1) / d(k) of random
points falls below r with probability of about (k - 1) r^d, so r is chosen such that one chance pair is expected in the
whole data set. d is the maximum likelihood estimate of Levina and Bickel (2005).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from likewise.metrics.copies import RATIO
from likewise.quality.items import Items

#: the number of chance pairs expected in the whole data set
_CHANCE = 1.0


def dimension(items: Items) -> float:
    """The local intrinsic dimension (Levina and Bickel, 2005, with MacKay and Ghahramani's mean of 1/d)."""
    far = items.distances[:, -1:]
    logs = np.log(far / np.maximum(items.distances[:, :-1], 1e-12 * np.maximum(far, 1e-300)))
    each = logs[(items.distances > 0).all(1)]
    mean = float(each.mean()) if each.size else 0.0
    return 1 / mean if mean > 0 else 1.0


def near_pairs(items: Items) -> list[tuple[int, int]]:
    """Pairs of record indices (i < j) that are near duplicates by features, ascending."""
    count = items.distances.shape[1]
    if count < 3:
        return []
    ratio = min(RATIO, (_CHANCE / (len(items) * (count - 1))) ** (1 / dimension(items)))
    own = ratio * items.distances[:, -1]
    a, k = np.nonzero(items.distances[:, :-1] <= own[:, None])
    b = items.nearest[a, k]
    both = items.distances[a, k] <= own[b]  # the condition holds in both directions
    ends = np.sort(np.stack([items.where[a[both]], items.where[b[both]]], 1), 1)
    return sorted({(int(i), int(j)) for i, j in ends})


def groups(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The connected components of `count` records with edges `pairs`, the largest first; each ascending."""
    edges = np.array([*pairs], np.int64).reshape(-1, 2)
    if not len(edges):
        return []
    graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(count, count))
    _, number = connected_components(graph, directed=False)
    members = np.unique(edges)
    found: dict[int, list[int]] = {}
    for i in members.tolist():
        found.setdefault(int(number[i]), []).append(i)
    return sorted(found.values(), key=lambda group: (-len(group), group))
