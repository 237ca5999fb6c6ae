"""A row of a table: numbers and categories."""

from __future__ import annotations

import html
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from likewise.modalities.base import BadValue, Modality, ModalitySettings

_MOST_CATEGORIES = 256
_OTHER = "(other)"
#: maximum share of cells in a column of numbers that are not numbers
_MOST_WRONG = 0.05


class TableSettings(ModalitySettings):
    modality: Literal["table"] = "table"


def number(value: Any) -> float | None:
    """The finite number in a cell, or None."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if np.isfinite(found) else None


def _above(name: str, limit: float, row: Any) -> bool:
    found = number(row.get(name))
    return found is not None and found > limit


def _is(name: str, level: str, row: Any) -> bool:
    return _key(row.get(name)) == level


def _key(cell: Any) -> str:
    """The key of a level; an empty cell counts as missing, because CSV has no other notation for it."""
    return "" if cell is None or (isinstance(cell, float) and math.isnan(cell)) else str(cell)


def _column(name: str, cells: list[Any], notes: list[str]) -> dict[str, Any]:
    """The fitted description of one column; appends notes for the user to `notes`."""
    present = [c for c in cells if _key(c)]
    read = [number(c) for c in present]
    found = np.sort(np.array([v for v in read if v is not None], np.float64))
    wrong = len(read) - len(found)
    if len(np.unique(found)) > 10 and wrong <= _MOST_WRONG * len(read):
        if wrong:
            first = next(c for c, v in zip(present, read, strict=True) if v is None)
            notes.append(f"column {name}: {wrong:,} cells are not numbers and count as missing, the first is {first!r}")
        knots = np.quantile(found, np.linspace(0, 1, 1025), method="nearest")
        whole = bool((found == found.round()).all())
        missing = len(found) < len(cells)
        return {"name": name, "kind": "number", "values": knots.tolist(), "whole": whole, "missing": missing}
    counts = Counter(map(_key, cells))
    plain = {_key(c): c if isinstance(c, (str, int, float)) else _key(c) or None for c in reversed(cells)}
    plain[""] = None
    if other := len(counts) > _MOST_CATEGORIES:
        kept = [key for key, _ in counts.most_common(_MOST_CATEGORIES - 1)]
        notes.append(
            f"column {name} has {len(counts):,} different values: the {len(kept)} most frequent are learned, the rest "
            f"as {_OTHER!r}"
        )
    else:
        kept = list(counts)
    if len(counts) == 1:
        notes.append(f"column {name} is always {plain[kept[0]]!r}")
    levels = [plain[key] for key in sorted(kept)] + [_OTHER] * other
    return {"name": name, "kind": "category", "levels": levels, "other": other}


class Table(Modality):
    """Columns are {"name", "kind": "number" | "category", ...}.

    A number has sorted `values` (quantiles of the training data), `whole` (all values are integers), and `missing`
    (some training rows lack it; whether it is present is then learned too). A category has `levels`, JSON values where
    None means missing; with `other`, the last level represents all rare values. A column that is absent from a row is
    unknown, not missing.
    """

    name = "table"
    Settings = TableSettings
    forms = ("row",)
    page_style = "rows"
    likelihood_unit = "column"

    def __init__(self, columns: list[dict[str, Any]]) -> None:
        self.columns = columns
        #: for each column, the sorted quantiles of the training data; empty for a category
        self.knots = [np.array(c.get("values", ()), np.float64) for c in columns]
        self._codes = [{_key(level): i for i, level in enumerate(c.get("levels", ()))} for c in columns]

    @classmethod
    def examples(cls, count: int = 16) -> list[Any]:
        return [{"age": None if i % 8 == 3 else i, "kind": "xyz"[i % 3] if i % 5 else None} for i in range(count)]

    @classmethod
    def fit(cls, values: Sequence[Any], settings: TableSettings, seed: int = 0) -> Table:
        names = list(dict.fromkeys(k for row in values for k in row))
        if not names:
            raise ValueError("the table has no columns")
        notes: list[str] = []
        columns = [_column(name, [row.get(name) for row in values], notes) for name in names]
        fitted = cls(columns)
        fitted.notes = tuple(notes)
        return fitted

    def state(self) -> dict[str, Any]:
        return {"columns": self.columns}

    def cells(self, values: Sequence[Any]) -> NDArray[np.float64]:
        """Rows as an array, shape (N, columns), float64.

        Numbers are unchanged, categories are codes; inf marks a missing number, NaN an unknown cell.
        """
        out = np.full((len(values), len(self.columns)), np.nan)
        for j, column in enumerate(self.columns):
            name, codes = column["name"], self._codes[j]
            if column["kind"] == "number":
                gone = np.inf if column["missing"] else np.nan
                found = ((number(row[name]), gone) if name in row else (None, np.nan) for row in values)
                out[:, j] = [otherwise if v is None else v for v, otherwise in found]
            else:
                rare = len(codes) - 1 if column["other"] else np.nan
                out[:, j] = [codes.get(_key(row[name]), rare) if name in row else np.nan for row in values]
        return out

    def unknown(self, values: Sequence[Any]) -> dict[int, str]:
        """The first unknown cell of each row that has one: {index of the row: name and value of the cell}."""
        packed = self.cells(values)
        found: dict[int, str] = {}
        for i, j in np.argwhere(np.isnan(packed)).tolist():
            name = self.columns[j]["name"]
            found.setdefault(i, f"{name} {values[i].get(name)!r}")
        return found

    def places(self, column: int, cells: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.float64]:
        """The rank of numbers in the training distribution, in (0, 1); u in (0, 1) spreads ties uniformly."""
        knots = self.knots[column]
        low, high = np.searchsorted(knots, cells, "left"), np.searchsorted(knots, cells, "right")
        return ((low + u * np.maximum(high - low, 1)) / (len(knots) + 1)).clip(1e-4, 1 - 1e-4)

    def scores(self, cells: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows as vectors, (N, channels): the normal score of each number, one channel for each level of a category.

        A number that can be missing has two more channels: present and missing, each 0 or 1. cells, u: shape
        (N, columns); u in (0, 1) spreads ties uniformly. NaN where a cell is unknown.
        """
        parts: list[NDArray[Any]] = []
        for j, column in enumerate(self.columns):
            unknown, missing = np.isnan(cells[:, j]), np.isinf(cells[:, j])
            known = np.where(unknown | missing, 0.0, cells[:, j])
            if column["kind"] == "category":
                value = np.eye(len(column["levels"]))[known.astype(np.int64)]
            else:  # a missing number is replaced by noise, so that the score stays standard normal
                place = np.where(missing, u[:, j].clip(1e-4, 1 - 1e-4), self.places(j, known, u[:, j]))
                value = torch.special.ndtri(torch.from_numpy(place[:, None])).numpy()
                if column["missing"]:
                    value = np.concatenate([value, ~missing[:, None], missing[:, None]], 1)
            value[unknown] = np.nan
            parts.append(value)
        return np.concatenate(parts, 1)

    def numbers(self, column: int, knots: NDArray[np.float64], missing: NDArray[np.bool_]) -> list[Any]:
        """Values of a column of numbers, given the indices of their knots, shape (N,); None where missing."""
        known = self.knots[column]
        cells = known[knots.astype(int).clip(0, len(known) - 1)]
        found = [int(v) for v in cells] if self.columns[column]["whole"] else cells.tolist()
        return [None if gone else v for v, gone in zip(found, missing, strict=True)]

    @classmethod
    def summary(cls, value: Any) -> tuple[str, str]:
        return "row", ""

    def read(self, value: Any) -> dict[str, Any]:
        return dict(value)

    def row_of(self, value: Any) -> dict[str, Any]:
        return value

    def parse(self, text: str) -> dict[str, Any]:
        if "=" not in text and len(self.columns) == 1:
            return {self.columns[0]["name"]: text}
        pairs = [p.partition("=") for p in text.split(",")]
        known = {c["name"] for c in self.columns}
        for name, equals, _ in pairs:
            if not equals or name.strip() not in known:
                raise BadValue(f"expected column=value with a column of {', '.join(sorted(known))}; got {name!r}")
        return {name.strip(): value.strip() for name, _, value in pairs}

    def to_html(self, value: Any) -> str:
        cells = "".join(f"<dt>{html.escape(str(k))}</dt><dd>{html.escape(str(v))}</dd>" for k, v in value.items())
        return f"<dl>{cells}</dl>"

    def read_file(self, path: Path) -> dict[str, Any]:
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BadValue(f'not JSON ({error}); a row is an object such as {{"column": value}}') from None
        known = [c["name"] for c in self.columns]
        if not isinstance(row, dict) or not row or set(row) - set(known):
            raise BadValue(f"expected one object whose names are columns: {', '.join(known)}")
        return row

    def shaded(self, row: Any, heat: Sequence[float], titles: Sequence[str] = ()) -> str:
        """The row as HTML, each cell coloured by its heat in [0, 1], with tooltips from `titles`."""
        out = []
        for i, (name, value) in enumerate(row.items()):
            title = f' title="{html.escape(titles[i])}"' if titles else ""
            attributes = f'class="piece" style="--heat:{heat[i]:.2f}"{title}'
            out.append(f"<dt>{html.escape(str(name))}</dt><dd {attributes}>{html.escape(str(value))}</dd>")
        return f"<dl>{''.join(out)}</dl>"

    def perturbations(self, value: Any, rng: np.random.Generator) -> list[tuple[str, Any]]:
        found = []
        for column, knots in zip(self.columns, self.knots, strict=True):
            name = column["name"]
            if name not in value:
                continue
            if column["kind"] == "number":
                far = float(knots[-1] + 10 * (knots[-1] - knots[0]))
                found.append((f"{name} far too large", {**value, name: round(far) if column["whole"] else far}))
            elif others := [level for level in column["levels"] if _key(level) != _key(value[name])]:
                found.append((f"another {name}", {**value, name: others[int(rng.integers(len(others)))]}))
            found.append((f"{name} not known", {k: v for k, v in value.items() if k != name}))
        return [found[i] for i in sorted(rng.permutation(len(found))[:6])]

    def properties(self, values: Sequence[Any]) -> dict[str, Callable[[Any], bool]]:
        """Numbers above their median, and categories at their two most frequent levels."""
        found: dict[str, Callable[[Any], bool]] = {}
        for column in self.columns:
            name = column["name"]
            if column["kind"] == "number":
                known = [n for row in values if (n := number(row.get(name))) is not None]
                middle = float(np.median(known or [0.0]))
                found[f"{name} above {middle:g}"] = partial(_above, name, middle)
            else:
                for level, _ in Counter(_key(row.get(name)) for row in values).most_common(2):
                    found[f"{name} is {level}"] = partial(_is, name, level)
        return found

    def features(self, values: Sequence[Any]) -> NDArray[np.float64]:
        cells = self.cells(values)
        # float32, as the network's input
        return np.nan_to_num(self.scores(cells, np.full(cells.shape, 0.5)).astype(np.float32).astype(np.float64))

    def labels(self, values: Sequence[Any]) -> dict[str, list[str | None]]:
        """The columns of categories with at least two levels."""
        names = [c["name"] for c in self.columns if c["kind"] == "category" and len(c["levels"]) > 1]
        return {name: [_key(row.get(name)) or None for row in values] for name in names}

    def without(self, values: Sequence[Any], name: str) -> list[Any]:
        return [{k: v for k, v in row.items() if k != name} for row in values]

    def num_units(self, value: Any) -> int:
        return len(self.columns)

    def describe(self) -> str:
        numbers = sum(c["kind"] == "number" for c in self.columns)
        return f"{numbers} numbers and {len(self.columns) - numbers} categories"
