"""Which kinds of real items are there among the samples, and how evenly? Mode counting, as on stacked digits.

Metz et al., "Unrolled generative adversarial networks" (2017), and Lin et al., PacGAN (2018): a classifier of real data
names the mode of each sample; what counts is how many modes appear at all, and KL(samples || real) of the histograms.
Where no one named the modes, clusters of real items stand for them (Richardson and Weiss, NDB, 2018).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from likewise.draws import derive_seed
from likewise.metrics.intervals import Estimate, groups_of, jackknife

Array = NDArray[np.float64]


def modes(real: Sequence[Hashable], fake: Sequence[Hashable], seed: int = 0) -> dict[str, Estimate]:
    """Keys modes and modes_kl: the share of the modes in `real` that `fake` has, and KL(fake || real) in nats.

    real, fake: the mode of each item; what no real item is (of a fake) counts in neither. Intervals by leaving out a
    group of the fakes at a time. Raises ValueError if there is nothing to count.
    """
    counts = Counter(real)
    numbers = {mode: i for i, mode in enumerate(counts)}
    seen = np.array([numbers.get(mode, -1) for mode in fake])
    if not counts or not len(seen):
        raise ValueError("no items, and so no modes to count")
    share = np.array([counts[mode] for mode in numbers], np.float64) / counts.total()

    def measured(chosen: NDArray[np.int64]) -> tuple[float, float]:
        found = np.bincount(chosen[chosen >= 0], minlength=len(share)).astype(np.float64)
        p = found / max(found.sum(), 1)
        there = p > 0
        return float(there.mean()), float((p[there] * np.log(p[there] / share[there])).sum())

    whole = measured(seen)
    parts = groups_of(len(seen), seed)
    left_out = np.array([measured(seen[parts != g]) for g in range(int(parts.max()) + 1)])
    return {
        "modes": jackknife(whole[0], left_out[:, 0], (0.0, 1.0)),
        "modes_kl": jackknife(whole[1], left_out[:, 1], (0.0, float("inf"))),
    }


class Clusters:
    """Clusters of real items (k-means, Lloyd, 1982), as modes that have no names."""

    def __init__(self, real: Array, count: int, seed: int = 0) -> None:
        """real: features, shape (N, D). count: of clusters, fewer where there are fewer different items."""
        from sklearn.cluster import KMeans

        count = min(count, len(np.unique(real, axis=0)))
        state = derive_seed(seed, "clusters") % 2**31
        self._fitted = KMeans(count, n_init=1, random_state=state).fit(real)  # pyright: ignore[reportArgumentType]

    def __call__(self, x: Array) -> list[int]:
        """The cluster of each item; x: shape (M, D)."""
        return np.asarray(self._fitted.predict(x)).tolist()
