"""Distances between two sets of features: the Frechet distance (Dowson and Landau, 1982; Heusel et al., 2017) and the
kernel distance KID, an unbiased squared maximum mean discrepancy (Gretton et al., 2012; Binkowski et al., 2018).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.draws import derive_seed
from likewise.metrics.base import Measure, Metric
from likewise.metrics.intervals import Estimate, Z, generator, percentiles, resamples

Array = NDArray[np.float64]

_BLOCK = 512


def frechet_distance(real: Array, fake: Array) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of the two samples' means and covariances (divided by n - 1).

    real: shape (N, D); fake: shape (M, D); N, M >= 2. Biased upward, more so for fewer items: compare only values of
    equal n. See `frechet` for an extrapolation to infinitely many items. Raises ValueError for fewer than two rows.
    """
    (m1, s1), (m2, s2) = _moments(real), _moments(fake)
    root = _power(s1, 0.5)
    cross = np.linalg.eigvalsh(root @ s2 @ root)
    return float(((m1 - m2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * np.sqrt(np.maximum(cross, 0)).sum())


def frechet(real: Array, fake: Array, seed: int = 0) -> dict[str, Estimate]:
    """The Frechet distance, and its value extrapolated to infinitely many items ("frechet_infinity").

    The bias decreases as 1/n (Chong and Forsyth, 2020), so the value at n and the mean over random halves, at n/2, give
    the limit: 2 FD(n) - FD(n/2). The intervals are those of the delta method, from the distance's derivative with
    respect to each item; they describe the variance of the value at this n, not its bias.
    """
    value = frechet_distance(real, fake)
    spread = Z * _standard_error(real, fake)
    rng = generator(seed, "halves")
    halves = []
    for _ in range(8):
        first, second = rng.permutation(len(real)), rng.permutation(len(fake))
        halves += [frechet_distance(real[first[i::2]], fake[second[i::2]]) for i in (0, 1)]
    limit = 2 * value - float(np.mean(halves))
    return {
        "frechet": Estimate(value, max(0.0, value - spread), value + spread),
        # A squared distance is not negative, but its estimate may be: then the two are indistinguishable at this n.
        "frechet_infinity": Estimate(limit, limit - spread, limit + spread),
    }


def _moments(x: Array) -> tuple[Array, Array]:
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"features of shape {x.shape}: the Frechet distance needs at least two rows")
    return x.mean(0), np.atleast_2d(np.cov(x, rowvar=False, ddof=1))


def _power(matrix: Array, exponent: float) -> Array:
    """A power of a symmetric positive semidefinite matrix; directions without variance remain without variance."""
    values, vectors = np.linalg.eigh(matrix)
    solid = values > 1e-12 * max(values.max(initial=0.0), 1e-300)
    powers = np.where(solid, np.where(solid, values, 1.0) ** exponent, 0.0)
    return (vectors * powers) @ vectors.T


def _standard_error(real: Array, fake: Array) -> float:
    """Delta method: d FD = 2 (m1 - m2) . dm1 + tr((I - T) dS1) + ..., with T the optimal transport map from 1 to 2."""
    (m1, s1), (m2, s2) = _moments(real), _moments(fake)
    variance = 0.0
    for x, mean, other, own, target in ((real, m1, m2, s1, s2), (fake, m2, m1, s2, s1)):
        root, inverse = _power(own, 0.5), _power(own, -0.5)
        slope = np.eye(len(mean)) - inverse @ _power(root @ target @ root, 0.5) @ inverse
        centred = x - mean
        influence = 2 * centred @ (mean - other) + ((centred @ slope) * centred).sum(1)
        variance += float(influence.var(ddof=1)) / len(x)
    return float(np.sqrt(variance))


def kernel(x: Array, y: Array) -> Array:
    """The polynomial kernel (x . y / D + 1)^3 of KID. x: (N, D), y: (M, D); returns (N, M)."""
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def kernel_distance(real: Array, fake: Array) -> float:
    """The unbiased squared maximum mean discrepancy under `kernel`; slightly negative values are possible.

    real: shape (N, D); fake: shape (M, D); N, M >= 2.
    """
    one = np.ones((1, len(real))), np.ones((1, len(fake)))
    return float(_weighted(real, fake, *one)[0])


def kid(real: Array, fake: Array, seed: int = 0) -> dict[str, Estimate]:
    """KID with an interval by the bootstrap over items, in which an item is never paired with a duplicate of itself."""
    replicates = _weighted(
        real, fake, resamples(len(real), seed, 300), resamples(len(fake), derive_seed(seed, "fake"), 300)
    )
    return {"kid": percentiles(kernel_distance(real, fake), replicates)}


def _weighted(real: Array, fake: Array, p: Array, q: Array) -> Array:
    """KID for each row of item weights p (R, N) and q (R, M); returns (R,)."""
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    if min(len(real), len(fake)) < 2:
        raise ValueError(f"{len(real)} real and {len(fake)} fake items: KID needs at least two of each")
    between = _quadratic(real, fake, p, q) / (p.sum(1) * q.sum(1))
    return _within(real, p) + _within(fake, q) - 2 * between


def _within(x: Array, w: Array) -> Array:
    """The weighted mean of the kernel over pairs of different items."""
    itself = ((x**2).sum(1) / x.shape[1] + 1.0) ** 3
    return (_quadratic(x, x, w, w) - (w**2) @ itself) / (w.sum(1) ** 2 - (w**2).sum(1))


def _quadratic(x: Array, y: Array, p: Array, q: Array) -> Array:
    """p K q for each row of p and q, computed by blocks to avoid holding an N x M matrix; returns (R,)."""
    total = np.zeros(len(p))
    for start in range(0, len(y), _BLOCK):
        block = slice(start, start + _BLOCK)
        total += ((p @ kernel(x, y[block])) * q[:, block]).sum(1)
    return total


_GROUP = "Distance from real data"


class Kernel(Metric):
    """KID of features: see `kid`."""

    name = "kernel"
    group = _GROUP
    measures = {
        "kid": Measure("KID", "lower", "The distance between two sets of features; unbiased: 0 on average at best.")
    }
    settings = {"kernel": "polynomial", "degree": 3, "gamma": "1/d", "c": 1, "unbiased": True}

    def __call__(self, real: Array, fake: Array, seed: int) -> dict[str, Estimate]:
        return kid(real, fake, seed)

    def sentence(self, rows: Mapping[str, Mapping[str, Any]]) -> str | None:
        row = rows["kid"]
        sides = row["floor"], row["baseline"]
        if not all(sides) or None in (row["low"], *(side["high"] for side in sides)):
            return None
        way = row["baseline"]["value"] - row["floor"]["value"]
        if way <= 0:
            return None
        share = (row["baseline"]["value"] - row["value"]) / way
        what = row["baseline"]["what"]
        if share < 0:
            return f"By KID the samples are farther from real data than the trivial baseline ({what})."
        if row["low"] <= row["floor"]["high"]:
            return "By KID the samples are as close to held-out data as real training data are."
        return (
            f"By KID the samples cover {100 * min(share, 0.999):.1f}% of the distance from a trivial baseline to real "
            "data."
        )


class Frechet(Metric):
    """The Frechet distance of features: see `frechet`."""

    name = "frechet"
    group = _GROUP
    measures = {
        "frechet": Measure(
            "Fréchet distance", "lower", "The distance between means and covariances; biased upward at small n."
        ),
        "frechet_infinity": Measure(
            "Fréchet, extrapolated", "lower", "The same, extrapolated to infinitely many items: about 0 at best."
        ),
    }
    settings = {"ddof": 1, "halves": 8}

    def __call__(self, real: Array, fake: Array, seed: int) -> dict[str, Estimate]:
        return frechet(real, fake, seed)
