"""Train on synthetic, test on real (TSTR; Esteban et al., 2017), for tables: each column predicted from the others.

A random forest (Breiman, 2001) is trained to predict each column from all others (a number as its quartile in the real
data) and tested on held-out rows. The score, the share of cells predicted correctly, applies to tables of any kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from likewise.metrics.intervals import Estimate, mean
from likewise.metrics.table import cells, numeric

Rows = Sequence[Mapping[str, Any]]

#: in a table with more columns, this many are predicted: evenly spaced, including the last one
MOST_COLUMNS = 16
#: the most frequent categories that are distinguished; the rest count as one
MOST_KINDS = 64


class ColumnPrediction:
    """A prediction task on held-out rows; models trained on any rows of the same table can be scored on it."""

    def __init__(self, real: Rows, test: Rows) -> None:
        """real: training rows, which define the columns' types; test: held-out rows, at least two with two columns."""
        names = list(test[0])
        if len(names) < 2 or len(test) < 2:
            raise ValueError(f"{len(names)} columns and {len(test)} rows: TSTR needs at least two of each")
        self._codes = {name: _Codes([row.get(name) for row in real]) for name in names}
        self._asked = [names[i] for i in sorted({-1 - round(i) for i in np.linspace(0, len(names) - 1, MOST_COLUMNS)})]
        self._x, self._y = self._tables(test)

    def _tables(self, rows: Rows) -> tuple[NDArray[np.float64], dict[str, NDArray[np.int64]]]:
        columns = {name: [row.get(name) for row in rows] for name in self._codes}
        x = np.stack([code.place(columns[name]) for name, code in self._codes.items()], 1)
        return x, {name: self._codes[name].kind(columns[name]) for name in self._asked}

    def score(self, rows: Rows, seed: int = 0) -> Estimate:
        """The share of held-out cells predicted correctly by forests trained on `rows`, with a bootstrap over rows."""
        x, y = self._tables(rows)
        names = list(self._codes)
        right = np.zeros((len(self._x), len(self._asked)))
        for i, name in enumerate(self._asked):
            others = [j for j, other in enumerate(names) if other != name]
            forest = RandomForestClassifier(40, min_samples_leaf=3, random_state=0).fit(x[:, others], y[name])
            right[:, i] = forest.predict(self._x[:, others]) == self._y[name]
        return mean(right.mean(1), seed)


class _Codes:
    """A column's cells as inputs of a tree (`place`) and as class labels (`kind`)."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._number = numeric(values)
        if self._number:
            column = cells(values)
            self._cuts = np.unique(np.nanquantile(column, [0.25, 0.5, 0.75]))
            return
        keys, counts = np.unique([str(v) for v in values], return_counts=True)
        # The most frequent first, so that adjacent codes have similar frequencies.
        self._index = {str(keys[i]): n for n, i in enumerate(np.argsort(-counts, kind="stable")[:MOST_KINDS])}

    def place(self, values: Sequence[Any]) -> NDArray[np.float64]:
        return cells(values) if self._number else self.kind(values).astype(np.float64)

    def kind(self, values: Sequence[Any]) -> NDArray[np.int64]:
        if self._number:
            column = cells(values)
            return np.where(np.isnan(column), -1, np.searchsorted(self._cuts, column, "left")).astype(np.int64)
        return np.array([self._index.get(str(v), MOST_KINDS) for v in values], np.int64)
