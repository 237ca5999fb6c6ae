"""Copy check: compares the distance from samples to training items with the distance from held-out items to them.

It is called a copy check because distance to the closest record detects copies and does not measure privacy (Yao et
al., 2025, arXiv:2505.01524).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import fisher_exact, mannwhitneyu

from likewise.metrics.intervals import Estimate, proportion
from likewise.metrics.neighbours import nearest

Array = NDArray[np.float64]

#: A sample is a near copy if the distances to its nearest and second nearest training items have a smaller ratio (Yoon
#: et al., 2023).
RATIO = 1 / 3


@dataclass(frozen=True)
class CopyCheck:
    """Result of a copy check against `n_train` training items. The `*_real` values are the rates expected by chance."""

    exact: Estimate  #: share of samples that equal a training item
    exact_real: Estimate
    near: Estimate  #: share that are copies, exact or near (`RATIO`)
    near_real: Estimate
    authenticity: Estimate  #: share farther from their nearest training item than that item is from its own nearest
    authenticity_real: Estimate
    z: float  #: as C_T (Meehan et al., 2020): below -3, samples are nearer to training data than real ones
    #: of finding as many copies by chance (Fisher's exact test, one-sided; the smaller of exact and near, doubled)
    p_value: float
    flagged: bool  #: p_value < 0.05, or z < -3 if held-out data have the same distribution as training data
    copied: NDArray[np.int64]  #: indices of the samples that are copies
    reference: Literal["held-out", "training"]  #: the real items that serve as the chance reference
    neighbours: NDArray[np.int64]  #: (M, K) indices of each sample's nearest training items
    distances: Array  #: (M, K)
    n_train: int


def copy_check(train: Array, held_out: Array, fake: Array, alike: bool = True) -> CopyCheck:
    """Compare the distances to `train`, shape (N, D), N >= 3, of `fake` (M, D) with those of `held_out` (H, D).

    alike: whether training and held-out data have the same distribution. If not (e.g. the last chapters of a book are
    held out), any model of the training data is closer to them than held-out data are, so z is not used as evidence.

    The chance rate is estimated from held-out items and from training items (each compared with all others): a few
    hundred held-out items alone cannot distinguish 1% from 0. Training items that occur more than once (a phrase that
    begins many verses) are no evidence of copying, so only copies of unique items are tested. If real data contain
    duplicates (rows of a table), held-out items do not show it, because equal records are never on both sides of a
    split; in that case only training items are used as the reference. Raises ValueError if N < 3.
    """
    if len(train) < 3:
        raise ValueError(f"{len(train)} training items: a copy check needs at least 3")
    own, own_index = nearest(train, train, 3, skip_self=True)
    fake_distance, fake_index = nearest(fake, train, 3)
    real_distance, real_index = nearest(held_out, train, 3)
    exact, near, *alone = _copies(fake_distance)
    exact_real, near_real, *alone_real = _copies(real_distance)
    authentic_real = real_distance[:, 0] > own[real_index[:, 0], 0]
    repeated, near_repeated, *alone_own = _copies(own)
    reference, real_scale = "held-out", own[real_index[:, 0], 0]
    chance = [np.concatenate(both) for both in zip(alone_real, alone_own, strict=True)]
    if len(train) > 3 and repeated.mean() > exact_real.mean() and near_repeated.mean() > near_real.mean():
        exact_real, near_real, real_distance, reference = repeated, near_repeated, own, "training"
        mutual = own_index[own_index[:, 0], 0] == np.arange(len(train))  # the scale must not depend on the item itself
        real_scale = np.where(mutual, own[own_index[:, 0], 1], own[own_index[:, 0], 0])
        chance = alone_own
    # In few dimensions near copies are frequent by chance and would mask exact ones: two tests, each at half the level.
    p_value = min(1.0, 2 * min(_more(ours, real) for ours, real in zip(alone, chance, strict=True)))
    # Distances are divided by the local scale (Meehan's cells without borders): samples concentrated where the data are
    # dense are closer to training items than most real items are, which is not copying.
    least = max(1e-9 * float(np.median(own[:, 0])), 1e-300)
    z = _rank_z(
        fake_distance[:, 0] / np.maximum(own[fake_index[:, 0], 0], least),
        real_distance[:, 0] / np.maximum(real_scale, least),
    )
    return CopyCheck(
        exact=_share(exact),
        exact_real=_share(exact_real),
        near=_share(near),
        near_real=_share(near_real),
        authenticity=_share(fake_distance[:, 0] > own[fake_index[:, 0], 0]),
        authenticity_real=_share(authentic_real),
        z=z,
        p_value=p_value,
        flagged=p_value < 0.05 or (alike and z < -3),
        reference=reference,
        copied=np.flatnonzero(near),
        neighbours=fake_index,
        distances=fake_distance,
        n_train=len(train),
    )


def _copies(distance: Array) -> tuple[NDArray[np.bool_], ...]:
    """Boolean masks of exact copies and of exact or near copies; then the same for copies of unique training items.

    distance: distances to the nearest, second nearest, ... training item, shape (n, K), K >= 2.
    """
    # Projections of equal items differ by rounding only; anything else is many orders of magnitude larger.
    rounding = 1e-9 * max(float(np.median(distance[:, -1])), 1e-300)
    exact, near = distance[:, 0] <= rounding, distance[:, 0] < RATIO * distance[:, 1]
    return exact, exact | near, exact & (distance[:, 1] > rounding), near & (distance[:, 1] > rounding)


def _more(fake: NDArray[np.bool_], real: NDArray[np.bool_]) -> float:
    """The p-value of at least as many hits among `fake` under equal hit rates in `fake` and `real`."""
    table = [[fake.sum(), (~fake).sum()], [real.sum(), (~real).sum()]]
    return float(np.asarray(fisher_exact(table, alternative="greater"))[1])


def _share(hits: NDArray[np.bool_]) -> Estimate:
    return proportion(float(hits.mean()), len(hits))


def _rank_z(fake: Array, real: Array) -> float:
    """The standardised Mann-Whitney statistic of two sets of distances: negative if those of `fake` are smaller."""
    result = mannwhitneyu(fake, real, alternative="two-sided", method="asymptotic", use_continuity=False)
    n, m = len(fake), len(real)
    _, ties = np.unique(np.concatenate([fake, real]), return_counts=True)
    total = n + m
    variance = n * m / 12 * ((total + 1) - (ties**3 - ties).sum() / (total * (total - 1)))
    return float((result.statistic - n * m / 2) / np.sqrt(variance)) if variance > 0 else 0.0
