"""Tables as SDMetrics' quality report scores them (DataCebo; its version 0.32): columns' shapes, and trends of pairs.

A number's shape is 1 - KS, a category's 1 - the total variation. Two numbers are compared by their Pearson
correlations, 1 - |r - s| / 2; any other pair by the total variation of its contingency table, for which numbers are
cut into ten equal bins. Only pairs that have something to do with one another count: |r| above 0.5, or Cramer's V above
0.3, in the real rows. As there, shapes are of what is not missing, real and fake are each cut by their own range, a
missing number is in the highest bin, and a pair that has no correlation is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.metrics.base import Measure, Metric
from likewise.metrics.intervals import Estimate, groups_of, jackknife
from likewise.metrics.table import cells, ks, missing, numeric, variation

Rows = Sequence[Mapping[str, Any]]
#: a column: numbers with NaN for what is missing, or codes of categories with 0 for it
Column = NDArray[Any]

#: a pair counts where real rows are correlated or associated more than this
CORRELATED, ASSOCIATED = 0.5, 0.3


def quality(real: Rows, fake: Rows, seed: int = 0) -> dict[str, Estimate]:
    """Keys quality, quality_shapes and quality_pairs, in [0, 1]: quality is the mean of the other two.

    real, fake: rows, of which real's say which columns are numbers and which pairs count. Where no pair does,
    quality_pairs is left out, and shapes are all there is. Intervals leave out groups of rows.
    """
    columns = [_column(real, fake, name) for name in real[0]]
    pairs = [pair for pair in combinations(range(len(columns)), 2) if _related(*(columns[i][0] for i in pair))]
    groups = groups_of(len(real), seed), groups_of(len(fake), seed)
    scores = [
        _scores([(x[groups[0] != g], y[groups[1] != g]) for x, y in columns], pairs)
        for g in range(-1, min(int(part.max()) + 1 for part in groups))
    ]
    found = {}
    for name, part in zip(("quality", "quality_shapes", "quality_pairs"), np.array(scores).T, strict=True):
        if not np.isnan(part[0]):
            found[name] = jackknife(part[0], part[1:], (0.0, 1.0))
    return found


def _column(real: Rows, fake: Rows, name: str) -> tuple[Column, Column]:
    x, y = [row.get(name) for row in real], [row.get(name) for row in fake]
    if numeric(x):
        return cells(x), cells(y)
    codes = {"": 0}
    x, y = ([codes.setdefault("" if missing(v) else f"{v}", len(codes)) for v in side] for side in (x, y))
    return np.array(x, np.int64), np.array(y, np.int64)


def _scores(columns: Sequence[tuple[Column, Column]], pairs: Sequence[tuple[int, int]]) -> tuple[float, float, float]:
    shapes = _known([_shape(x, y) for x, y in columns])
    trends = _known([_trend(columns[i], columns[j]) for i, j in pairs])
    return _known([shapes, trends]), shapes, trends


def _known(values: Sequence[float]) -> float:
    """The mean of those that are known; NaN if none is."""
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else float("nan")


def _numbers(*columns: Column) -> bool:
    return all(column.dtype == np.float64 for column in columns)


def _shape(x: Column, y: Column) -> float:
    numbers = _numbers(x)
    x, y = (np.sort(side[~np.isnan(side) if numbers else side > 0]) for side in (x, y))
    if not len(x) or not len(y):
        return float("nan")
    return 1 - (ks(x, y) if numbers else variation(_shares(x), _shares(y)))


def _related(x: Column, y: Column) -> bool:
    return abs(_correlation(x, y)) > CORRELATED if _numbers(x, y) else _association(_bins(x), _bins(y)) > ASSOCIATED


def _trend(first: tuple[Column, Column], second: tuple[Column, Column]) -> float:
    if _numbers(first[0], second[0]):
        real, fake = (_correlation(x, y) for x, y in zip(first, second, strict=True))
        return 1 - abs(real - fake) / 2
    # One number for each pair of values: many times faster than pairs of them.
    width = 1 + max(int(_bins(side).max(initial=0)) for side in second)
    real, fake = (_shares(_bins(x) * width + _bins(y)) for x, y in zip(first, second, strict=True))
    return 1 - variation(real, fake)


def _bins(x: Column) -> NDArray[np.int64]:
    if not _numbers(x):
        return x
    present = x[~np.isnan(x)]
    return np.digitize(x, np.histogram_bin_edges(present)) if len(present) else np.zeros(len(x), np.int64)


def _shares(x: NDArray) -> dict[Any, float]:
    return {key: count / len(x) for key, count in Counter(x.tolist()).items()}


def _correlation(x: Column, y: Column) -> float:
    """Pearson's r over rows that have both; NaN where a column is constant."""
    both = ~(np.isnan(x) | np.isnan(y))
    constant = any(len(np.unique(part)) < 2 for part in (x[~np.isnan(x)], y[~np.isnan(y)], x[both], y[both]))
    return float("nan") if constant else float(np.corrcoef(x[both], y[both])[0, 1])


def _association(x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
    """Cramer's V (1946): the root of chi squared over its greatest value; 0 where a column is constant."""
    (kinds, x), (others, y) = (np.unique(part, return_inverse=True) for part in (x, y))
    least = min(len(kinds), len(others)) - 1
    if not least:
        return 0.0
    counts = np.bincount(x * len(others) + y, minlength=len(kinds) * len(others)).reshape(len(kinds), -1)
    expected = np.outer(counts.sum(1), counts.sum(0)) / counts.sum()
    return float(np.sqrt(((counts - expected) ** 2 / expected).sum() / (counts.sum() * least)))


class Quality(Metric):
    """The scores of SDMetrics: see `quality`."""

    name = "quality"
    needs = "row"
    group = "Columns"
    measures = {
        "quality": Measure(
            "Quality (SDMetrics)", "higher", "The mean of how alike columns' shapes and pairs' trends are.", True
        ),
        "quality_shapes": Measure("Columns' shapes", "higher", "How alike each column's distribution is.", True),
        "quality_pairs": Measure(
            "Pairs' trends", "higher", "How alike correlated or associated columns go together.", True
        ),
    }
    settings = {"as": "SDMetrics 0.32"}

    def __call__(self, real: Rows, fake: Rows, seed: int) -> dict[str, Estimate]:
        return quality(real, fake, seed)
