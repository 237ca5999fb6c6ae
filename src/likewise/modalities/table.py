"""A row of a table: numbers and categories, as a vector or as one token a column.

A number becomes the normal score of its place in the training data's distribution, spread evenly over ties, so that
every column of a vector is standard normal and decoding gives back the column's own values.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.draws import Draws
from likewise.modalities.base import BadValue, Encoding, Modality, ModalitySettings, Packed
from likewise.spaces import MISSING_TOKEN, Continuous, Space, Tokens

_BINS = 64
_MOST_CATEGORIES = 256


class TableSettings(ModalitySettings):
    modality: Literal["table"] = "table"


def number(value: Any) -> float | None:
    """The number a cell holds, or None."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if np.isfinite(found) else None


def _bin_edges(knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where each bin of a sorted column begins: about equal shares, and a bin of its own for every frequent value.

    A value spread over several bins would cost bits that nobody could save.
    """
    values, counts = np.unique(knots, return_counts=True)
    if len(values) <= _BINS:
        return values
    atoms = values[counts >= len(knots) / _BINS]
    even = np.quantile(knots, np.linspace(0, 1, _BINS, endpoint=False), method="nearest")
    edges = np.unique(np.concatenate([even, atoms, np.nextafter(atoms, np.inf)]))
    filled = np.diff(np.append(np.searchsorted(knots, edges), len(knots))) > 0
    return edges[filled]


class Table(Modality):
    """Columns are {"name", "kind": "number" | "category", ...}: a number has sorted `values` (quantiles of the
    training data) and `whole`, a category has `levels`."""

    name = "table"
    Settings = TableSettings
    encodings = ("continuous", "tokens")
    unit = "column"

    def __init__(self, columns: list[dict[str, Any]]) -> None:
        self.columns = columns
        self._knots = [np.array(c.get("values", ()), np.float64) for c in columns]
        self._edges = [_bin_edges(knots) if len(knots) else knots for knots in self._knots]
        self._sizes = [
            len(self._edges[i]) if c["kind"] == "number" else len(c["levels"]) for i, c in enumerate(columns)
        ]

    @classmethod
    def fit(cls, values: Sequence[Any], settings: TableSettings, seed: int = 0) -> Table:
        columns = []
        for name in dict.fromkeys(k for row in values[:1000] for k in row):
            cells = [row.get(name) for row in values]
            present = [c for c in cells if c is not None and c != ""]
            numbers = [number(c) for c in present]
            if present and None not in numbers and len(set(numbers)) > 10:
                found = np.sort(np.array(numbers, np.float64))
                knots = np.quantile(found, np.linspace(0, 1, 1025), method="nearest")
                whole = bool((found == found.round()).all())
                columns.append({"name": name, "kind": "number", "values": knots.tolist(), "whole": whole})
                continue
            counts = Counter("" if c is None else str(c) for c in cells)
            levels = sorted(k for k, _ in counts.most_common(_MOST_CATEGORIES))
            columns.append({"name": name, "kind": "category", "levels": levels})
        if not columns:
            raise ValueError("the table has no columns")
        return cls(columns)

    def state(self) -> dict[str, Any]:
        return {"columns": self.columns}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Table:
        return cls(state["columns"])

    def _widths(self) -> list[int]:
        return [1 if c["kind"] == "number" else len(c["levels"]) for c in self.columns]

    def space(self, encoding: Encoding) -> Space:
        sizes = self._widths() if encoding == "continuous" else self._sizes
        stops = np.cumsum(sizes).tolist()
        spans = [(stop - size, stop) for stop, size in zip(stops, sizes, strict=True)]
        if encoding == "tokens":
            return Tokens(len(sizes), stops[-1], ranges=tuple(spans))
        chosen = [s for s, c in zip(spans, self.columns, strict=True) if c["kind"] == "category"]
        return Continuous((stops[-1],), choices=tuple(chosen))

    def pack(self, values: Sequence[Any], encoding: Encoding) -> Packed:
        """Numbers as they are, categories as codes; NaN for what is missing. Shape (N, columns), float64."""
        out = np.full((len(values), len(self.columns)), np.nan)
        for j, column in enumerate(self.columns):
            name = column["name"]
            if column["kind"] == "number":
                found = (number(row.get(name)) for row in values)
                out[:, j] = [np.nan if v is None else v for v in found]
            else:
                codes = {level: i for i, level in enumerate(column["levels"])}
                cells = ("" if row.get(name) is None else str(row[name]) for row in values)
                out[:, j] = [codes.get(cell, np.nan) for cell in cells]
        return Packed(out)

    def unseen(self, values: Sequence[Any]) -> str | None:
        new: dict[str, set[str]] = {}
        for column in self.columns:
            if column["kind"] == "category":
                name, levels = column["name"], set(column["levels"])
                new[name] = {"" if row.get(name) is None else str(row[name]) for row in values} - levels
        new = {name: cells for name, cells in new.items() if cells}
        if not new:
            return None
        some = "; ".join(f"{name} {', '.join(map(repr, sorted(cells)[:3]))}" for name, cells in [*new.items()][:3])
        return f"categories that are not in the training data, or too rare there, count as missing: {some}"

    def _place(self, column: int, cells: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where numbers stand in the training distribution, in (0, 1), evenly over ties by u in (0, 1)."""
        knots = self._knots[column]
        low, high = np.searchsorted(knots, cells, "left"), np.searchsorted(knots, cells, "right")
        return ((low + u * np.maximum(high - low, 1)) / (len(knots) + 1)).clip(1e-4, 1 - 1e-4)

    def encode(self, batch: NDArray[Any], encoding: Encoding, draws: Draws | None = None) -> Tensor:
        u = np.full(batch.shape, 0.5) if draws is None else draws.uniform(batch.shape[1]).cpu().double().numpy()
        parts = []
        offset = 0
        for j, column in enumerate(self.columns):
            cells = batch[:, j]
            gone = np.isnan(cells)
            value: NDArray[Any]
            if column["kind"] == "number" and encoding == "continuous":
                place = np.where(gone, u[:, j], self._place(j, np.nan_to_num(cells), u[:, j]))
                value = torch.special.ndtri(torch.from_numpy(place[:, None])).numpy()
                value[gone] = np.nan
            elif column["kind"] == "number":
                bins = np.searchsorted(self._edges[j], np.nan_to_num(cells), "right") - 1
                value = bins.clip(0, self._sizes[j] - 1)[:, None]
            elif encoding == "continuous":
                value = np.eye(self._sizes[j])[np.nan_to_num(cells).astype(np.int64)]
                value[gone] = np.nan
            else:
                value = np.nan_to_num(cells).astype(np.int64)[:, None]
            if encoding == "tokens":
                value = np.where(gone[:, None], MISSING_TOKEN, value + offset)
                offset += self._sizes[j]
            parts.append(value)
        both = torch.from_numpy(np.concatenate(parts, 1))
        return both.float() if encoding == "continuous" else both

    def decode(self, x: Tensor, encoding: Encoding, draws: Draws | None = None) -> list[Any]:
        count = len(x)
        u = np.full((count, len(self.columns)), 0.5)
        if draws is not None:
            u = draws.uniform(len(self.columns)).cpu().double().numpy()
        found = x.cpu().double().numpy()
        columns: dict[str, list[Any]] = {}
        start = 0
        sizes = self._widths() if encoding == "continuous" else self._sizes
        for j, (column, size) in enumerate(zip(self.columns, sizes, strict=True)):
            part = found[:, start : start + size] if encoding == "continuous" else found[:, j : j + 1] - start
            start += size
            if column["kind"] == "category":
                code = part.argmax(1) if encoding == "continuous" else part[:, 0].astype(int).clip(0, size - 1)
                columns[column["name"]] = [column["levels"][i] or None for i in code]
                continue
            knots = self._knots[j]
            if encoding == "continuous":
                place = torch.special.ndtr(torch.from_numpy(part[:, 0])).numpy() * (len(knots) + 1)
            else:  # one of the training values in the bin
                starts = np.append(np.searchsorted(knots, self._edges[j]), len(knots))
                chosen = part[:, 0].astype(int).clip(0, size - 1)
                place = starts[chosen] + u[:, j] * (starts[chosen + 1] - starts[chosen])
            cells = knots[place.astype(int).clip(0, len(knots) - 1)]
            columns[column["name"]] = [int(v) for v in cells] if column["whole"] else cells.tolist()
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def read(self, value: Any) -> dict[str, Any]:
        return dict(value)

    def parse(self, text: str) -> dict[str, Any]:
        if "=" not in text and len(self.columns) == 1:
            return {self.columns[0]["name"]: text}
        pairs = [p.partition("=") for p in text.split(",")]
        known = {c["name"] for c in self.columns}
        for name, equals, _ in pairs:
            if not equals or name.strip() not in known:
                raise BadValue(f"expected column=value with a column of {', '.join(sorted(known))}; got {name!r}")
        return {name.strip(): value.strip() for name, _, value in pairs}

    def show(self, value: Any) -> str:
        cells = "".join(f"<dt>{html.escape(str(k))}</dt><dd>{html.escape(str(v))}</dd>" for k, v in value.items())
        return f"<dl>{cells}</dl>"

    def features(self, values: Sequence[Any]) -> NDArray[np.float64]:
        filled = self.encode(self.pack(values, "continuous").data, "continuous").double().numpy()
        return np.nan_to_num(filled)

    def amount(self, value: Any) -> int:
        return len(self.columns)

    def describe(self) -> str:
        numbers = sum(c["kind"] == "number" for c in self.columns)
        return f"{numbers} numbers and {len(self.columns) - numbers} categories"
