"""Groups of items that are the same but for a trifle: equal ones, those that look alike, and those too near by chance.

Two items are near duplicates when they are much nearer to each other than to their further neighbours (the ratio test
of Lowe, 2004, which `metrics.copies` uses too). How near that is depends on the data: in d dimensions, d(1) / d(k) of
random points falls below r with probability of about (k - 1) r^d, so r is chosen to make one chance pair expected in
all of the data. d is the maximum likelihood estimate of Levina and Bickel (2005).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from likewise.metrics.copies import RATIO
from likewise.quality.items import Items

#: chance pairs that are expected in all of the data
_CHANCE = 1.0


def dimension(items: Items) -> float:
    """How many dimensions the data locally have (Levina and Bickel, 2005, with MacKay and Ghahramani's mean of 1/d)."""
    far = items.distances[:, -1:]
    logs = np.log(far / np.maximum(items.distances[:, :-1], 1e-12 * np.maximum(far, 1e-300)))
    each = logs[(items.distances > 0).all(1)]
    mean = float(each.mean()) if each.size else 0.0
    return 1 / mean if mean > 0 else 1.0


def near_pairs(items: Items) -> list[tuple[int, int]]:
    """Pairs of records that are near duplicates, by features."""
    count = items.distances.shape[1]
    if count < 3:
        return []
    ratio = min(RATIO, (_CHANCE / (len(items) * (count - 1))) ** (1 / dimension(items)))
    own = ratio * items.distances[:, -1]
    a, k = np.nonzero(items.distances[:, :-1] <= own[:, None])
    b = items.nearest[a, k]
    both = items.distances[a, k] <= own[b]  # each is as near to the other
    ends = np.sort(np.stack([items.where[a[both]], items.where[b[both]]], 1), 1)
    return sorted({(int(i), int(j)) for i, j in ends})


def groups(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The connected groups of `count` records that `pairs` make, the largest first; each ascending."""
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
