"""A row of a table as a vector.

A number becomes its normal score: the standard normal quantile of its rank in the training data, with ties spread
uniformly. Every number is thus standard normal, and decoding returns values of the column.
"""

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
from likewise.spaces import Continuous


class Quantiles(Encoding):
    """One normal score for each number and one channel for each level of a category (see `Table.scores`)."""

    modality_name = "table"
    name = "quantiles"
    modality: Table

    def _sizes(self) -> list[int]:
        """The number of channels of each column."""
        return [
            len(c["levels"]) if c["kind"] == "category" else 3 if c["missing"] else 1 for c in self.modality.columns
        ]

    @property
    def space(self) -> Continuous:
        sizes = self._sizes()
        stops = np.cumsum(sizes).tolist()
        chosen = [
            (stop - size if c["kind"] == "category" else stop - size + 1, stop)
            for stop, size, c in zip(stops, sizes, self.modality.columns, strict=True)
            if c["kind"] == "category" or c["missing"]
        ]
        return Continuous((stops[-1],), choices=tuple(chosen))

    def pack(self, values: Sequence[Any]) -> Packed:
        return Packed(self.modality.cells(values))

    def unseen(self, values: Sequence[Any]) -> dict[int, str]:
        return self.modality.unknown(values)

    def encode(self, batch: NDArray[Any], draws: Draws | None = None) -> Tensor:
        u = np.full(batch.shape, 0.5) if draws is None else draws.uniform(batch.shape[1]).cpu().double().numpy()
        return torch.from_numpy(self.modality.scores(batch, u)).float()

    def decode(self, x: Tensor, draws: Draws | None = None) -> list[Any]:
        table = self.modality
        found = x.cpu().double().numpy()
        columns: dict[str, list[Any]] = {}
        start = 0
        for j, (column, size) in enumerate(zip(table.columns, self._sizes(), strict=True)):
            part = found[:, start : start + size]
            start += size
            if column["kind"] == "category":
                columns[column["name"]] = [column["levels"][i] for i in part.argmax(1)]
                continue
            missing = part[:, 2] > part[:, 1] if column["missing"] else np.zeros(len(x), bool)
            place = torch.special.ndtr(torch.from_numpy(part[:, 0])).numpy() * (len(table.knots[j]) + 1)
            columns[column["name"]] = table.numbers(j, place, missing)
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def pieces(self, x: Tensor) -> list[str]:
        return [f"{name}={value}" for name, value in self.decode(x[None])[0].items()]

    def heatmap_html(self, x: Tensor, weights: NDArray[np.float64], titles: Sequence[str] = ()) -> str:
        stops = np.cumsum(self._sizes())[:-1]
        heat = [float(part.max()) for part in np.split(weights, stops)]
        return self.modality.shaded(self.decode(x[None])[0], heat, titles)
