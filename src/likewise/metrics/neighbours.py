"""Fidelity and diversity by nearest neighbours: precision and recall (Kynkaanniemi et al., 2019), density and coverage
(Naeem et al., 2020).

Each item has a ball whose radius is the distance to its k-th nearest neighbour of the same set. Precision: the share of
fakes inside a real item's ball. Recall: the share of real items inside a fake's ball. Density: the mean number of real
balls that contain a fake, over k. Coverage: the share of real balls that contain a fake. A point on a ball's edge
counts as inside, so that discrete data, whose balls often have radius zero, still match themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from likewise.metrics.base import Measure, Metric
from likewise.metrics.intervals import Estimate, groups_of, jackknife, jackknife_proportion

Array = NDArray[np.float64]

_BLOCK = 256


@dataclass(frozen=True)
class _Counts:
    """For each left-out group (row 0: none left out) and each item: the number of the other side's balls around it."""

    in_real: NDArray[np.int64]  #: (G + 1, M) for each fake
    in_fake: NDArray[np.int64]  #: (G + 1, N) for each real
    covered: NDArray[np.bool_]  #: (G + 1, N) whether a real item's ball holds a fake


def neighbours(real: Array, fake: Array, k: int = 3, k_density: int = 5, seed: int = 0) -> dict[str, Estimate]:
    """Precision, recall and f1 (their harmonic mean), all with k; density and coverage, with k_density.

    real: shape (N, D); fake: shape (M, D); N, M > k, k_density. Distances are Euclidean. Intervals leave out groups.
    Raises ValueError if N or M is too small.
    """
    fewest = min(len(real), len(fake))
    if fewest <= max(k, k_density):
        raise ValueError(f"{fewest} items: neighbour metrics need at least {max(k, k_density) + 1}")
    groups = groups_of(len(real), seed), groups_of(len(fake), seed)
    near, wide = _count(real, fake, k, groups), _count(real, fake, k_density, groups)
    kept = [np.stack([part != g for g in range(-1, part.max() + 1)]) for part in groups]
    keep_real, keep_fake = (each[: min(map(len, kept))] for each in kept)

    precision = _share(near.in_real > 0, keep_fake)
    recall = _share(near.in_fake > 0, keep_real)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    density = _share(wide.in_real, keep_fake) / k_density
    coverage = _share(wide.covered, keep_real)
    return {
        "precision": jackknife_proportion(precision[0], precision[1:], len(fake)),
        "recall": jackknife_proportion(recall[0], recall[1:], len(real)),
        "f1": jackknife(f1[0], f1[1:], (0.0, 1.0)),
        "density": jackknife(density[0], density[1:], (0.0, np.inf)),
        "coverage": jackknife_proportion(coverage[0], coverage[1:], len(real)),
    }


def duplicates(x: Array) -> float:
    """The share of rows of x, shape (N, D), that equal another row; if it is high, most balls have radius zero."""
    _, inverse, counts = np.unique(x, axis=0, return_inverse=True, return_counts=True)
    return float((counts[inverse.ravel()] > 1).mean())


def nearest(x: Array, among: Array, count: int = 1, skip_self: bool = False) -> tuple[Array, NDArray[np.int64]]:
    """The `count` nearest rows of `among` to each row of x: distances and indices, both with shape (len(x), count).

    skip_self: x is `among`, and a row is not its own neighbour. Ties go to the lower index.
    """
    count = min(count, len(among) - skip_self)
    x, among = np.asarray(x, np.float64), np.asarray(among, np.float64)
    distances, indices = np.empty((len(x), count)), np.empty((len(x), count), np.int64)
    # |x - y|^2 = |x|^2 - 2 x . y + |y|^2 is many times faster than differences, but inexact for nearly equal items; so
    # it only selects candidates, whose distances are then computed exactly.
    some = min(2 * count + 8, len(among) - skip_self)
    centre = among.mean(0)
    y = among - centre
    squares = (y**2).sum(1)
    for start in range(0, len(x), _BLOCK):
        stop = min(start + _BLOCK, len(x))
        block = squares - 2 * (x[start:stop] - centre) @ y.T
        if skip_self:
            block[np.arange(stop - start), np.arange(start, stop)] = np.inf
        chosen = np.sort(np.argpartition(block, some - 1, axis=1)[:, :some], axis=1)
        exact = np.sqrt(((x[start:stop, None] - among[chosen]) ** 2).sum(-1))
        order = np.argsort(exact, axis=1, kind="stable")[:, :count]
        distances[start:stop] = np.take_along_axis(exact, order, 1)
        indices[start:stop] = np.take_along_axis(chosen, order, 1)
    return distances, indices


def _share(inside: NDArray, keep: NDArray[np.bool_]) -> Array:
    """The mean of `inside` over the items kept, for each left-out group; both with shape (G + 1, n)."""
    return (inside[: len(keep)] * keep).sum(1) / keep.sum(1)


def _radii(x: Array, k: int, groups: NDArray[np.int64]) -> Array:
    """The distance to the k-th nearest other row of x, without each group in turn: shape (G + 1, N); row 0: all."""
    count = int(groups.max()) + 1
    radii = np.empty((count + 1, len(x)))
    # Each group is a small share, so a list slightly longer than k usually contains k items outside of it.
    length = min(len(x) - 1, 3 * k + 8)
    for start in range(0, len(x), _BLOCK):
        stop = min(start + _BLOCK, len(x))
        rows = np.arange(stop - start)
        block = cdist(x[start:stop], x)
        block[rows, np.arange(start, stop)] = np.inf
        first = np.argpartition(block, length - 1, axis=1)[:, :length]
        near = np.take_along_axis(block, first, 1)
        order = np.argsort(near, axis=1)
        near, of_group = np.take_along_axis(near, order, 1), groups[np.take_along_axis(first, order, 1)]
        radii[0, start:stop] = near[:, k - 1]
        for g in range(count):
            kept = np.cumsum(of_group != g, 1)
            place = (kept < k).sum(1)
            short = place == length
            radii[g + 1, start:stop] = near[rows, np.minimum(place, length - 1)]
            if short.any():
                left = block[short][:, groups != g]
                at = min(k, left.shape[1]) - 1
                radii[g + 1, start:stop][short] = np.partition(left, at, axis=1)[:, at]
    return radii


def _count(real: Array, fake: Array, k: int, groups: tuple[NDArray[np.int64], NDArray[np.int64]]) -> _Counts:
    of_real, of_fake = groups
    real_radii, fake_radii = _radii(real, k, of_real), _radii(fake, k, of_fake)
    rows = min(len(real_radii), len(fake_radii))
    in_real = np.zeros((rows, len(fake)), np.int64)
    in_fake = np.zeros((rows, len(real)), np.int64)
    covered = np.zeros((rows, len(real)), np.bool_)
    for start in range(0, len(real), _BLOCK):
        block = slice(start, start + _BLOCK)
        distance = cdist(real[block], fake)
        for g in range(rows):
            inside = distance <= real_radii[g, block, None]
            kept = of_fake != g - 1
            in_real[g] += inside[of_real[block] != g - 1].sum(0)
            covered[g, block] = inside[:, kept].any(1)
            in_fake[g, block] = (distance <= fake_radii[g])[:, kept].sum(1)
    return _Counts(in_real, in_fake, covered)


class Neighbours(Metric):
    """Fidelity and diversity by nearest neighbours: see `neighbours`."""

    name = "neighbours"
    group = "Fidelity and diversity"
    measures = {
        "precision": Measure(
            "Precision", "higher", "The share of samples that lie within the real distribution: fidelity.", True
        ),
        "recall": Measure(
            "Recall", "higher", "The share of real items that lie within the samples' distribution: diversity.", True
        ),
        "f1": Measure("F1", "higher", "The harmonic mean of precision and recall.", True),
        "density": Measure("Density", "real", "The density of real data at the samples' positions."),
        "coverage": Measure("Coverage", "higher", "The share of real items with a sample nearby.", True),
    }
    settings = {"k": 3, "k_density": 5, "edge": "inside"}

    def __call__(self, real: Array, fake: Array, seed: int) -> dict[str, Estimate]:
        return neighbours(real, fake, 3, 5, seed)

    def note(self, measure: str, real: Array, value: Estimate, floor: Estimate | None) -> str | None:
        repeated = duplicates(real)
        if repeated <= 0.5:
            return None
        return f"{100 * repeated:.0f}% of the real items have duplicates: radii are often 0, so this is unreliable"

    def sentence(self, rows: Mapping[str, Mapping[str, Any]]) -> str | None:
        if not {"precision", "recall"} <= rows.keys():
            return None
        precision, recall = rows["precision"], rows["recall"]
        floors = precision["floor"], recall["floor"]
        real = [f" (real data: {100 * floor['value']:.0f}%)" if floor else "" for floor in floors]
        text = (
            f"{100 * precision['value']:.0f}% of the samples lie within the real distribution{real[0]}, and they cover "
            f"{100 * recall['value']:.0f}% of the real data{real[1]}."
        )
        if floors[1] and recall["value"] < 0.5 * floors[1]["value"] and precision["value"] > 0.5 * floors[0]["value"]:
            text += " Much of the real diversity is missing: the model may have collapsed to part of the data."
        return text
