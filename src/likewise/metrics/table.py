"""Marginal distances of table columns between real and fake rows, from 0 (equal) to 1 (disjoint).

Numbers: the Kolmogorov-Smirnov statistic (Kolmogorov, 1933; Smirnov, 1948). Categories: the total variation, half the
sum of absolute differences of their shares. A missing value is a category of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np

from likewise.metrics.base import Measure, Metric
from likewise.metrics.intervals import Estimate, jackknife_over


@dataclass(frozen=True)
class Column:
    """Comparison of one column; `bins` are (label, real share, fake share) for its histogram."""

    name: str
    measure: str  #: "KS" for numbers, "TV" for categories
    distance: float
    bins: tuple[tuple[str, float, float], ...]


def columns(real: Sequence[Mapping[str, Any]], fake: Sequence[Mapping[str, Any]], bins: int = 20) -> list[Column]:
    """Compare each column of two lists of rows; numbers are shown in `bins` bins of equal width."""
    compared = []
    for name in real[0]:
        x, y = [row.get(name) for row in real], [row.get(name) for row in fake]
        if numeric(x):
            compared.append(Column(name, "KS", _gap(x, y), _number_bins(x, y, bins)))
        else:
            a, b = _shares(x), _shares(y)
            order = sorted(a.keys() | b.keys(), key=lambda key: (-a.get(key, 0), key))
            shown = tuple((key, a.get(key, 0.0), b.get(key, 0.0)) for key in order)
            compared.append(Column(name, "TV", variation(a, b), shown))
    return compared


def mean_distance(real: Sequence[Mapping[str, Any]], fake: Sequence[Mapping[str, Any]], seed: int = 0) -> Estimate:
    """The mean of the columns' distances, with an interval that leaves out groups of rows."""

    def statistic(x: Sequence[Mapping[str, Any]], y: Sequence[Mapping[str, Any]]) -> float:
        return float(np.mean([_distance([r.get(name) for r in x], [r.get(name) for r in y]) for name in real[0]]))

    return jackknife_over(statistic, [real, fake], seed, within=(0.0, 1.0))


def shuffled(rows: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> list[dict[str, Any]]:
    """The rows with each column permuted independently: marginals are kept, dependencies are removed."""
    table = {name: [rows[i].get(name) for i in rng.permutation(len(rows))] for name in rows[0]}
    return [{name: table[name][i] for name in table} for i in range(len(rows))]


def cuts(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray | None]:
    """The quartile edges of each numeric column, ascending; None for a categorical column."""
    found: dict[str, np.ndarray | None] = {}
    for name in rows[0]:
        values = [row.get(name) for row in rows]
        edges = np.quantile(_present(values), [0, 0.25, 0.5, 0.75, 1], method="nearest") if numeric(values) else None
        found[name] = None if edges is None else np.unique(edges)
    return found


def traits(row: Mapping[str, Any], cuts: Mapping[str, np.ndarray | None]) -> set[str]:
    """The named traits of a row: each column's category, or the quartile (see `cuts`) of its number."""
    found = set()
    for name, edges in cuts.items():
        value = row.get(name)
        if missing(value):
            found.add(f"{name} missing")
        elif edges is None or not isinstance(value, Real):
            found.add(f"{name} = {value}")
        else:
            found.add(f"{name} {_quarter(edges, float(value))}")
    return found


def _quarter(edges: np.ndarray, value: float) -> str:
    """The range of a value, as text; a value that equals an edge is its own range, to show accumulation at e.g. 0."""
    place = int(np.searchsorted(edges, value, "left"))
    if place < len(edges) and edges[place] == value:
        return f"= {value:g}"
    if place == 0:
        return f"below {edges[0]:g}"
    if place == len(edges):
        return f"above {edges[-1]:g}"
    return f"between {edges[place - 1]:g} and {edges[place]:g}"


def _distance(x: Sequence[Any], y: Sequence[Any]) -> float:
    return _gap(x, y) if numeric(x) else variation(_shares(x), _shares(y))


def missing(value: Any) -> bool:
    """Whether a cell is empty: None, or a float that is not finite."""
    return value is None or (isinstance(value, float) and not isfinite(value))


def numeric(values: Sequence[Any]) -> bool:
    """Whether all values that are not missing are numbers."""
    present = [v for v in values if not missing(v)]
    return bool(present) and all(isinstance(v, Real) and not isinstance(v, bool) for v in present)


def cells(values: Sequence[Any]) -> np.ndarray:
    """A numeric column as float64, shape (n,); NaN for missing or non-numeric values."""
    return np.array([float(v) if isinstance(v, Real) and not missing(v) else np.nan for v in values], np.float64)


def _present(values: Sequence[Any]) -> np.ndarray:
    column = cells(values)
    return np.sort(column[~np.isnan(column)])


def ks(a: np.ndarray, b: np.ndarray) -> float:
    """The Kolmogorov-Smirnov statistic of two sorted samples, shapes (n,) and (m,), neither of them empty."""
    at = np.concatenate([a, b])
    return float(np.abs(np.searchsorted(a, at, "right") / len(a) - np.searchsorted(b, at, "right") / len(b)).max())


def _gap(x: Sequence[Any], y: Sequence[Any]) -> float:
    """The larger of the KS statistic of present values and the difference of the shares of missing values."""
    a, b = _present(x), _present(y)
    lacking = abs((1 - len(a) / len(x)) - (1 - len(b) / len(y)))
    if not len(b):
        return 1.0
    return max(ks(a, b), lacking)


def _shares(values: Sequence[Any]) -> dict[str, float]:
    counts = Counter("(missing)" if missing(v) else str(v) for v in values)
    return {key: count / len(values) for key, count in counts.items()}


def variation(a: Mapping[Any, float], b: Mapping[Any, float]) -> float:
    """The total variation between two distributions, each given as the shares of its values."""
    return 0.5 * sum(abs(a.get(key, 0.0) - b.get(key, 0.0)) for key in a.keys() | b.keys())


def _number_bins(x: Sequence[Any], y: Sequence[Any], bins: int) -> tuple[tuple[str, float, float], ...]:
    a, b = _present(x), _present(y)
    low, high = float(np.quantile(a, 0.005)), float(np.quantile(a, 0.995))
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, bins + 1)
    # Values beyond the edges count in the outer bins, so that each side sums to its share of present values.
    counts = [np.histogram(np.clip(side, low, high), edges)[0] / len(all_of) for side, all_of in ((a, x), (b, y))]
    shown = [(f"{edges[i]:.4g} to {edges[i + 1]:.4g}", float(counts[0][i]), float(counts[1][i])) for i in range(bins)]
    lacking = (1 - len(a) / len(x), 1 - len(b) / len(y))
    return (*shown, ("(missing)", *lacking)) if any(lacking) else tuple(shown)


class Columns(Metric):
    """The mean marginal distance of columns: see `mean_distance`."""

    name = "columns"
    needs = "row"
    group = "Columns"
    measures = {
        "columns": Measure(
            "Column distance", "lower", "The mean over columns of KS (numbers) or total variation (categories)."
        )
    }

    def __call__(
        self, real: Sequence[Mapping[str, Any]], fake: Sequence[Mapping[str, Any]], seed: int
    ) -> dict[str, Estimate]:
        return {"columns": mean_distance(real, fake, seed)}

    def note(self, measure: str, real: Any, value: Estimate, floor: Estimate | None) -> str | None:
        return "compares columns one at a time: it cannot detect wrong dependencies between columns"
