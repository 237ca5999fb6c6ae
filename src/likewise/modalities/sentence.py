"""What a text means, as one vector of a frozen network: a condition that was read a billion times before.

A caption that was never seen is near to those that mean the same, which a text encoder that learns from a thousand
captions cannot know. It is for English; a text is not spelt by it, so that nothing can be learned to write one.
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
from likewise.modalities.base import Encoding, ModalitySettings, Packed
from likewise.modalities.text_values import Written
from likewise.spaces import Continuous, Space


class SentenceSettings(ModalitySettings):
    modality: Literal["sentence"] = "sentence"


class Sentence(Written):
    """384 numbers of about unit variance, see `sentence_embeddings`; NaN where a text is missing."""

    name = "sentence"
    Settings = SentenceSettings
    encodings = ("continuous",)
    condition_only = True
    base_modality = "text"

    def __init__(self, network: str) -> None:
        """network: hash of the weights that read."""
        self.network = network

    @classmethod
    def fit(cls, values: Sequence[Any], settings: SentenceSettings, seed: int = 0) -> Sentence:
        try:
            return cls(sentence_embeddings.digest())
        except sentence_embeddings.Missing as error:
            raise ValueError(f"modality=sentence: {error}") from None

    def state(self) -> dict[str, Any]:
        return {"network": self.network}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Sentence:
        return cls(**state)

    def space(self, encoding: Encoding) -> Space:
        return Continuous((sentence_embeddings.SIZE,))

    def packed_bytes(self, encoding: Encoding) -> int | None:
        return 4 * sentence_embeddings.SIZE

    def pack(self, values: Sequence[Any], encoding: Encoding) -> Packed:
        """Shape (N, 384), float32. Raises ValueError where the network is missing, or is another one."""
        out = np.full((len(values), sentence_embeddings.SIZE), np.nan, np.float32)
        there = [i for i, value in enumerate(values) if value is not None]
        try:
            if there and sentence_embeddings.digest() != self.network:
                raise ValueError("modality=sentence: another network is installed than the run was trained with")
            out[there] = sentence_embeddings.embed([str(values[i]) for i in there]) * sentence_embeddings.SIZE**0.5
        except sentence_embeddings.Missing as error:
            raise ValueError(f"modality=sentence: {error}") from None
        return Packed(out)

    def encode(self, batch: NDArray[Any], encoding: Encoding, draws: Draws | None = None) -> Tensor:
        return torch.from_numpy(batch)

    def decode(self, x: Tensor, encoding: Encoding, draws: Draws | None = None) -> list[Any]:
        raise NotImplementedError("what a text means cannot be spelt; only_given says so")

    def pieces(self, x: Tensor, encoding: Encoding) -> list[str]:
        return ["what it means "]

    def heatmap_html(
        self, x: Tensor, weights: NDArray[np.float64], encoding: Encoding, titles: Sequence[str] = ()
    ) -> str:
        return char_features.heatmap_html(self.pieces(x, encoding), weights.max(keepdims=True).ravel(), titles)

    def describe(self) -> str:
        return f"what a text means, {sentence_embeddings.SIZE} numbers"
