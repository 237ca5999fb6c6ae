"""A row of a table as tokens, one for each column: the level of a category, or the bin of a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.draws import Draws
from likewise.modalities.encoding import Encoding
from likewise.modalities.packed import Packed
from likewise.modalities.table import Table
from likewise.spaces import MISSING_TOKEN, Tokens

#: bins of a column of numbers, not counting those of frequent values
_BINS = 64


def _bin_edges(knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """The lower edge of each bin of a sorted column: bins of about equal counts, and one bin for each frequent value.

    A value that occurred in several bins would add entropy that no model can reduce.
    """
    values, counts = np.unique(knots, return_counts=True)
    if len(values) <= _BINS:
        return values
    atoms = values[counts >= len(knots) / _BINS]
    even = np.quantile(knots, np.linspace(0, 1, _BINS, endpoint=False), method="nearest")
    edges = np.unique(np.concatenate([even, atoms, np.nextafter(atoms, np.inf)]))
    filled = np.diff(np.append(np.searchsorted(knots, edges), len(knots))) > 0
    return edges[filled]


class Bins(Encoding):
    """Each column has a separate range of tokens, in column order; the last one of a number may mean "missing"."""

    modality_name = "table"
    name = "bins"
    default_family = "autoregressive"
    modality: Table

    def __init__(self, modality: Table) -> None:
        super().__init__(modality)
        self._edges = [_bin_edges(knots) if len(knots) else knots for knots in modality.knots]

    def _sizes(self) -> list[int]:
        """The number of different tokens of each column."""
        return [
            len(c["levels"]) if c["kind"] == "category" else len(edges) + c["missing"]
            for c, edges in zip(self.modality.columns, self._edges, strict=True)
        ]

    @property
    def space(self) -> Tokens:
        sizes = self._sizes()
        stops = np.cumsum(sizes).tolist()
        spans = tuple((stop - size, stop) for stop, size in zip(stops, sizes, strict=True))
        return Tokens(len(sizes), stops[-1], ranges=spans)

    def pack(self, values: Sequence[Any]) -> Packed:
        return Packed(self.modality.cells(values))

    def unseen(self, values: Sequence[Any]) -> dict[int, str]:
        return self.modality.unknown(values)

    def encode(self, batch: NDArray[Any], draws: Draws | None = None) -> Tensor:
        parts: list[NDArray[Any]] = []
        offset = 0
        for j, (column, size) in enumerate(zip(self.modality.columns, self._sizes(), strict=True)):
            unknown, missing = np.isnan(batch[:, j]), np.isinf(batch[:, j])
            cells = np.where(unknown | missing, 0.0, batch[:, j])
            code = cells.astype(np.int64)
            if column["kind"] == "number":
                bins = np.searchsorted(self._edges[j], cells, "right") - 1
                code = np.where(missing, size - 1, bins.clip(0, len(self._edges[j]) - 1))
            parts.append(np.where(unknown, MISSING_TOKEN, code + offset)[:, None])
            offset += size
        return torch.from_numpy(np.concatenate(parts, 1))

    def decode(self, x: Tensor, draws: Draws | None = None) -> list[Any]:
        """A bin becomes one of the training values in it; without draws, the middle one."""
        table = self.modality
        u = np.full((len(x), len(table.columns)), 0.5)
        if draws is not None:
            u = draws.uniform(len(table.columns)).cpu().double().numpy()
        found = x.cpu().double().numpy()
        columns: dict[str, list[Any]] = {}
        start = 0
        for j, (column, size) in enumerate(zip(table.columns, self._sizes(), strict=True)):
            part = found[:, j] - start
            start += size
            if column["kind"] == "category":
                columns[column["name"]] = [column["levels"][i] for i in part.astype(int).clip(0, size - 1)]
                continue
            count = len(self._edges[j])
            starts = np.append(np.searchsorted(table.knots[j], self._edges[j]), len(table.knots[j]))
            chosen = part.astype(int).clip(0, count - 1)
            place = starts[chosen] + u[:, j] * (starts[chosen + 1] - starts[chosen])
            columns[column["name"]] = table.numbers(j, place, part >= count)
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def pieces(self, x: Tensor) -> list[str]:
        return [f"{name}={value}" for name, value in self.decode(x[None])[0].items()]

    def heatmap_html(self, x: Tensor, weights: NDArray[np.float64], titles: Sequence[str] = ()) -> str:
        return self.modality.shaded(self.decode(x[None])[0], weights.tolist(), titles)

    def uncounted(self) -> str | None:
        if all(c["kind"] == "category" for c in self.modality.columns):
            return None
        return "of the bins that numbers lie in, not of where in them they lie"
