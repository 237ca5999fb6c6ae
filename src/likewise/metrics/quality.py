"""SDMetrics' quality report for tables (DataCebo; version 0.32): column shapes and trends of column pairs.

The shape score of a numeric column is 1 - KS, of a categorical one 1 - total variation. A pair of numeric columns is
scored by Pearson correlations, 1 - |r - s| / 2; any other pair by the total variation of its contingency table, for
which numbers are cut into ten equal bins. Only related pairs count: |r| above 0.5, or Cramer's V above 0.3, in the real
rows. As in SDMetrics, shapes ignore missing values, real and fake values are binned by their own range, a missing
number falls into the highest bin, and a pair without a defined correlation is left out.
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
#: a column: numbers with NaN for missing values, or category codes with 0 for missing values
Column = NDArray[Any]

#: a pair counts if its correlation or association in the real rows exceeds this
CORRELATED, ASSOCIATED = 0.5, 0.3


def quality(real: Rows, fake: Rows, seed: int = 0) -> dict[str, Estimate]:
    """Keys quality, quality_shapes and quality_pairs, in [0, 1]: quality is the mean of the other two.

    real, fake: rows; the real rows determine which columns are numeric and which pairs count. If no pair does,
    quality_pairs is left out, and quality is the shapes' score. Intervals leave out groups of rows.
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
    """The mean of the values that are not NaN; NaN if there are none."""
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
    # Encode each pair of values as one number: many times faster than tuples.
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
    """Pearson's r over rows in which both are present; NaN if a column is constant."""
    both = ~(np.isnan(x) | np.isnan(y))
    constant = any(len(np.unique(part)) < 2 for part in (x[~np.isnan(x)], y[~np.isnan(y)], x[both], y[both]))
    return float("nan") if constant else float(np.corrcoef(x[both], y[both])[0, 1])


def _association(x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
    """Cramer's V (1946): the root of chi squared over its maximum; 0 if a column is constant."""
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
            "Quality (SDMetrics)", "higher", "The mean of the scores of column shapes and of pair trends.", True
        ),
        "quality_shapes": Measure("Column shapes", "higher", "How similar the distribution of each column is.", True),
        "quality_pairs": Measure("Pair trends", "higher", "How similar the dependence of related columns is.", True),
    }
    settings = {"as": "SDMetrics 0.32"}

    def __call__(self, real: Rows, fake: Rows, seed: int) -> dict[str, Estimate]:
        return quality(real, fake, seed)
