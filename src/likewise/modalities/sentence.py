"""Sentences: English texts as embeddings from a frozen network, for conditions only.

An unseen caption lies near training captions of the same meaning; a text encoder trained on a thousand captions cannot
provide that. An embedding cannot be decoded, so this modality cannot be a target.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.draws import Draws
from likewise.modalities import char_features, sentence_embeddings
from likewise.modalities.base import Modality, ModalitySettings
from likewise.modalities.encoding import Encoding
from likewise.modalities.packed import Packed
from likewise.modalities.text_values import Written
from likewise.spaces import Continuous


class SentenceSettings(ModalitySettings):
    modality: Literal["sentence"] = "sentence"


class Sentence(Written):
    """A text that is represented by its meaning."""

    name = "sentence"
    Settings = SentenceSettings
    condition_only = True
    base_modality = "text"

    def describe(self) -> str:
        return f"what a text means, {sentence_embeddings.SIZE} numbers"


class SentenceEmbedding(Encoding):
    """384 numbers of about unit variance (see `sentence_embeddings`); NaN where a text is missing."""

    modality_name = "sentence"
    name = "embedding"

    def __init__(self, modality: Modality, network: str) -> None:
        """network: hash of the network's weights."""
        super().__init__(modality)
        self.network = network

    @classmethod
    def fit(cls, modality: Modality, values: Sequence[Any], settings: Any, seed: int = 0) -> SentenceEmbedding:
        try:
            return cls(modality, sentence_embeddings.digest())
        except sentence_embeddings.Missing as error:
            raise ValueError(f"modality=sentence: {error}") from None

    def state(self) -> dict[str, Any]:
        return {"network": self.network}

    @property
    def space(self) -> Continuous:
        return Continuous((sentence_embeddings.SIZE,))

    @property
    def packed_bytes(self) -> int:
        return 4 * sentence_embeddings.SIZE

    def pack(self, values: Sequence[Any]) -> Packed:
        """Shape (N, 384), float32. Raises ValueError if the network is not installed, or its weights differ."""
        out = np.full((len(values), sentence_embeddings.SIZE), np.nan, np.float32)
        there = [i for i, value in enumerate(values) if value is not None]
        try:
            if there and sentence_embeddings.digest() != self.network:
                raise ValueError("modality=sentence: another network is installed than the run was trained with")
            out[there] = sentence_embeddings.embed([str(values[i]) for i in there]) * sentence_embeddings.SIZE**0.5
        except sentence_embeddings.Missing as error:
            raise ValueError(f"modality=sentence: {error}") from None
        return Packed(out)

    def encode(self, batch: NDArray[Any], draws: Draws | None = None) -> Tensor:
        return torch.from_numpy(batch)

    def decode(self, x: Tensor, draws: Draws | None = None) -> list[Any]:
        raise NotImplementedError("a text cannot be written from its embedding: a sentence is only given")

    def pieces(self, x: Tensor) -> list[str]:
        return ["what it means "]

    def heatmap_html(self, x: Tensor, weights: NDArray[np.float64], titles: Sequence[str] = ()) -> str:
        return char_features.heatmap_html(self.pieces(x), weights.max(keepdims=True).ravel(), titles)
