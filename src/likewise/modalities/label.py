"""A label: one of a fixed set of names."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.draws import Draws
from likewise.modalities.base import BadValue, Modality, ModalitySettings
from likewise.modalities.encoding import Encoding
from likewise.modalities.packed import Packed
from likewise.spaces import MISSING_TOKEN, Tokens


class LabelSettings(ModalitySettings):
    modality: Literal["label"] = "label"


def _natural(text: str) -> list[Any]:
    """A sorting key that puts "2" before "10"."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]


class Label(Modality):
    """One of `classes`."""

    name = "label"
    Settings = LabelSettings
    likelihood_unit = "label"

    def __init__(self, classes: list[str]) -> None:
        self.classes = classes
        self.index = {name: i for i, name in enumerate(classes)}

    @classmethod
    def examples(cls, count: int = 16) -> list[Any]:
        return [str(i % 3) for i in range(count)]

    @classmethod
    def fit(cls, values: Sequence[Any], settings: LabelSettings, seed: int = 0) -> Label:
        classes = sorted({str(v) for v in values if v is not None}, key=_natural)
        if not classes:
            raise ValueError("no labels: every value is missing")
        return cls(classes)

    def state(self) -> dict[str, Any]:
        return {"classes": self.classes}

    def read(self, value: Any) -> str:
        text = str(value)
        if text not in self.index:
            nearest = get_close_matches(text, self.classes, 1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(self.classes[:12])}"
            raise BadValue(f"no label {text!r}; {hint}")
        return text

    def to_html(self, value: Any) -> str:
        return f"<span>{html.escape(str(value))}</span>"

    def features(self, values: Sequence[Any]) -> NDArray[np.float64]:
        return np.eye(len(self.classes))[[self.index[str(v)] for v in values]]

    def labels(self, values: Sequence[Any]) -> dict[str, list[str | None]]:
        return {"": [None if v is None else str(v) for v in values]}

    def num_units(self, value: Any) -> int:
        return 1

    def describe(self) -> str:
        return f"{len(self.classes)} labels"


class LabelIndex(Encoding):
    """One token: the index of the class."""

    modality_name = "label"
    name = "index"
    default_family = "autoregressive"
    modality: Label

    @property
    def space(self) -> Tokens:
        return Tokens(1, len(self.modality.classes))

    @property
    def packed_bytes(self) -> int:
        return 4

    def pack(self, values: Sequence[Any]) -> Packed:
        """Shape (N, 1), int32. A label that is absent from training is encoded as missing."""
        index = self.modality.index
        codes = [MISSING_TOKEN if v is None else index.get(str(v), MISSING_TOKEN) for v in values]
        return Packed(np.array(codes, np.int32).reshape(-1, 1))

    def unseen(self, values: Sequence[Any]) -> dict[int, str]:
        return {i: f"label {v!r}" for i, v in enumerate(values) if v is None or str(v) not in self.modality.index}

    def encode(self, batch: NDArray[Any], draws: Draws | None = None) -> Tensor:
        return torch.from_numpy(batch.astype(np.int64))

    def decode(self, x: Tensor, draws: Draws | None = None) -> list[Any]:
        return [None if i < 0 else self.modality.classes[i] for i in x[:, 0].tolist()]

    def heatmap_html(self, x: Tensor, weights: NDArray[np.float64], titles: Sequence[str] = ()) -> str:
        [label] = self.decode(x[None])
        return f'<span class="piece" style="--heat:{weights.max():.2f}">{html.escape(str(label))}</span>'
