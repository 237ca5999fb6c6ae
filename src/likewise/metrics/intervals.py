"""95% confidence intervals of estimates: the range expected for other items from the same distribution.

Three methods, each used where it is valid: Wilson's interval for a proportion (JASA 1927), the seeded bootstrap (Efron,
1979) for means and ratios, and the delete-a-group jackknife (Kott, 2001) for statistics of distances between items.
The bootstrap is invalid for the latter: it draws items twice, and an item's nearest neighbour would then be itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from likewise.draws import derive_seed

Array = NDArray[np.float64]

LEVEL = 0.95
#: the quantile of the normal distribution at this level
Z = float(norm.ppf(0.5 + LEVEL / 2))


@dataclass(frozen=True)
class Estimate:
    """A value and its 95% interval [low, high]; both ends are NaN if no interval can be computed."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            object.__setattr__(self, name, float(getattr(self, name)))  # NumPy scalars print and serialise differently


def generator(seed: int, *purpose: object) -> np.random.Generator:
    """A NumPy generator for one purpose of one seed; the global generator is not used."""
    return np.random.default_rng(derive_seed(seed, *purpose))


def proportion(share: float, n: float) -> Estimate:
    """Wilson's score interval of `share` in [0, 1], observed in n independent items (n may be an effective number)."""
    if n <= 0:
        return Estimate(share, float("nan"), float("nan"))
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return Estimate(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def resamples(n: int, seed: int, replicates: int = 1000) -> Array:
    """The number of times each of n items is drawn in each bootstrap sample, shape (replicates, n)."""
    return generator(seed, "bootstrap").multinomial(n, np.full(n, 1 / n), size=replicates).astype(np.float64)


def percentiles(value: float, replicates: NDArray[np.floating]) -> Estimate:
    """The percentile interval of bootstrap replicates, with shape (R,)."""
    low, high = np.quantile(replicates, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Estimate(float(value), min(float(low), float(value)), max(float(high), float(value)))


def ratio_of_sums(numerators: Array, denominators: Array, seed: int = 0) -> Estimate:
    """sum(numerators) / sum(denominators) over n items, both with shape (n,), by the bootstrap over items."""
    value = float(numerators.sum() / denominators.sum())
    if len(numerators) < 2:
        return Estimate(value, float("nan"), float("nan"))
    counts = resamples(len(numerators), seed)
    return percentiles(value, (counts @ numerators) / (counts @ denominators))


def mean(values: Array, seed: int = 0) -> Estimate:
    """The mean of values, with shape (n,), by the bootstrap over items."""
    return ratio_of_sums(np.asarray(values, np.float64), np.ones(len(values)), seed)


def over_seeds(values: Sequence[float]) -> Estimate:
    """The mean of one value per seed, at least two, with Student's t interval (Gosset, 1908)."""
    spread = float(np.std(values, ddof=1)) / len(values) ** 0.5
    middle, half = float(np.mean(values)), float(t.ppf(0.5 + LEVEL / 2, len(values) - 1)) * spread
    return Estimate(middle, middle - half, middle + half)


def groups_of(n: int, seed: int, count: int = 20) -> NDArray[np.int64]:
    """A random group number in [0, count) for each of n items; group sizes differ by at most one."""
    return generator(seed, "groups", n).permutation(np.arange(n) % min(count, n))


def jackknife(value: float, left_out: Array, within: tuple[float, float] = (-inf, inf)) -> Estimate:
    """The interval from `left_out`, with shape (G,): the statistic without group 0, 1, ... of G equal groups.

    Groups of several independent samples may be left out together, because variances add. `within` clips the interval.
    """
    groups = len(left_out)
    spread = float(np.sqrt((groups - 1) / groups * ((left_out - left_out.mean()) ** 2).sum())) if groups > 1 else inf
    if not isfinite(spread):
        return Estimate(float(value), float("nan"), float("nan"))
    half = float(t.ppf(0.5 + LEVEL / 2, groups - 1)) * spread
    return Estimate(float(value), max(within[0], value - half), min(within[1], value + half))


def jackknife_proportion(share: float, left_out: Array, n: int) -> Estimate:
    """`jackknife` for a share of n items that also depends on other items: Wilson's interval at an effective n.

    The effective n is the number of independent items that would give the observed variance between groups, at most n.
    Thus a share of exactly 0 or 1, which no group changes, still has an interval.
    """
    groups = len(left_out)
    variance = (groups - 1) / groups * float(((left_out - left_out.mean()) ** 2).sum())
    effective = share * (1 - share) / variance if variance > 0 else n
    # Wilson's interval uses the normal quantile; few groups require Student's t, which is equivalent to a smaller n.
    wider = (float(t.ppf(0.5 + LEVEL / 2, groups - 1)) / Z) ** 2 if groups > 1 else 1.0
    return proportion(float(share), max(min(effective, n) / wider, 1e-9))


def jackknife_over(
    statistic: Callable[..., float],
    samples: Sequence[Sequence[Any]],
    seed: int = 0,
    within: tuple[float, float] = (-inf, inf),
) -> Estimate:
    """The jackknife of `statistic` over samples (each a sequence of items): group g is left out of all of them."""
    parts = [groups_of(len(sample), seed) for sample in samples]
    left_out = []
    for g in range(min(int(part.max()) + 1 for part in parts)):
        kept = [[x for x, p in zip(s, part, strict=True) if p != g] for s, part in zip(samples, parts, strict=True)]
        left_out.append(statistic(*kept))
    return jackknife(statistic(*samples), np.array(left_out), within)
