"""Does it copy? How near samples are to training items, beside how near real held-out items are to them.

Called a copy check: a distance to the closest record finds copies, and does not measure privacy (Yao et al., 2025,
arXiv:2505.01524).
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

#: A sample is a near copy when its nearest training item is this much nearer than the next (Yoon et al., 2023).
RATIO = 1 / 3


@dataclass(frozen=True)
class CopyCheck:
    """What was found among `n_train` training items; the same of other real items is what chance does."""

    exact: Estimate  #: share of samples that equal a training item
    exact_real: Estimate
    near: Estimate  #: share that are copies, exact or near (`RATIO`)
    near_real: Estimate
    authenticity: Estimate  #: share farther from their nearest training item than that item is from its own nearest
    authenticity_real: Estimate
    z: float  #: as C_T (Meehan et al., 2020): below -3, samples are nearer to training data than real ones
    #: of as many copies by chance (Fisher's exact test, one-sided; the lesser of exact and near, doubled)
    p_value: float
    flagged: bool  #: p_value < 0.05, or z < -3 where held-out data are like training data
    copied: NDArray[np.int64]  #: the samples that are copies, by index
    reference: Literal["held-out", "training"]  #: which real items say what chance does
    neighbours: NDArray[np.int64]  #: (M, K) each sample's nearest training items
    distances: Array  #: (M, K)
    n_train: int


def copy_check(train: Array, held_out: Array, fake: Array, alike: bool = True) -> CopyCheck:
    """Compare distances to `train`, with shape (N, D), N >= 3, of `fake` (M, D) and of `held_out` (H, D).

    alike: whether training and held-out data have one distribution. Where they have not (the last chapters of a book),
    any model of the training data is nearer to them than held-out data are, and that says nothing about copies.

    What chance does is told by held-out items and by training items, each beside all the others: some hundred of the
    first alone could not tell 1% from none. What training data hold more than once (a phrase that begins many verses)
    is no sign of copying, so only copies of items that stand alone are tested. Where real data repeat themselves (rows
    of a table), held-out items do not show it, as equal records are never on both sides of a split; then only the
    training items count.
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
        mutual = own_index[own_index[:, 0], 0] == np.arange(len(train))  # an item is not to measure itself
        real_scale = np.where(mutual, own[own_index[:, 0], 1], own[own_index[:, 0], 0])
        chance = alone_own
    # In few dimensions near ones are many by chance, and would drown the exact ones: two tests, each at half the level.
    p_value = min(1.0, 2 * min(_more(ours, real) for ours, real in zip(alone, chance, strict=True)))
    # In the scale of the place, which is Meehan's cells without their borders: samples that crowd where the data are
    # dense are nearer to them than most real items, and that is no copying.
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
    """Which rows of distances to the nearest, second nearest ... are exact copies, and which exact or near ones.

    Then the same of items that stand alone in the training data.
    """
    # Projections of equal items differ by rounding only; anything else is many orders of magnitude larger.
    rounding = 1e-9 * max(float(np.median(distance[:, -1])), 1e-300)
    exact, near = distance[:, 0] <= rounding, distance[:, 0] < RATIO * distance[:, 1]
    return exact, exact | near, exact & (distance[:, 1] > rounding), near & (distance[:, 1] > rounding)


def _more(fake: NDArray[np.bool_], real: NDArray[np.bool_]) -> float:
    """The p-value of there being as many among `fake` if they were as frequent as among `real`."""
    table = [[fake.sum(), (~fake).sum()], [real.sum(), (~real).sum()]]
    return float(np.asarray(fisher_exact(table, alternative="greater"))[1])


def _share(hits: NDArray[np.bool_]) -> Estimate:
    return proportion(float(hits.mean()), len(hits))


def _rank_z(fake: Array, real: Array) -> float:
    """The standardised Mann-Whitney statistic of two sets of distances: negative where `fake` are smaller."""
    result = mannwhitneyu(fake, real, alternative="two-sided", method="asymptotic", use_continuity=False)
    n, m = len(fake), len(real)
    _, ties = np.unique(np.concatenate([fake, real]), return_counts=True)
    total = n + m
    variance = n * m / 12 * ((total + 1) - (ties**3 - ties).sum() / (total * (total - 1)))
    return float((result.statistic - n * m / 2) / np.sqrt(variance)) if variance > 0 else 0.0
