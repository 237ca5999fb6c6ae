"""Mode coverage: how many modes of the real data occur among the samples, and how evenly.

Metz et al., "Unrolled generative adversarial networks" (2017), and Lin et al., PacGAN (2018): a classifier of real data
assigns a mode to each sample; measured are the share of modes that occur and KL(samples || real) of the histograms.
Without labels, clusters of real items serve as modes (Richardson and Weiss, NDB, 2018).
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

    real, fake: the mode of each item; modes of `fake` that `real` lacks count in neither. Intervals by leaving out
    groups of fakes. Raises ValueError if either is empty.
    """
    counts = Counter(real)
    numbers = {mode: i for i, mode in enumerate(counts)}
    seen = np.array([numbers.get(mode, -1) for mode in fake])
    if not counts or not len(seen):
        raise ValueError("no items: modes cannot be counted")
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
    """Clusters of real items (k-means, Lloyd, 1982) as unnamed modes."""

    def __init__(self, real: Array, count: int, seed: int = 0) -> None:
        """real: features, shape (N, D). count: the number of clusters, limited to the number of distinct items."""
        from sklearn.cluster import KMeans

        count = min(count, len(np.unique(real, axis=0)))
        state = derive_seed(seed, "clusters") % 2**31
        self._fitted = KMeans(count, n_init=1, random_state=state).fit(real)  # pyright: ignore[reportArgumentType]

    def __call__(self, x: Array) -> list[int]:
        """The cluster of each item; x: shape (M, D)."""
        return np.asarray(self._fitted.predict(x)).tolist()
