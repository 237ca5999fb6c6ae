"""Text as tokens: those of its tokenizer, then `end`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from likewise.draws import Draws
from likewise.modalities import char_features
from likewise.modalities.base import Encoding, Modality, Packed, Windows
from likewise.modalities.text_values import Written
from likewise.modalities.tokenizer import Tokenizer, TokenizerSettings, some
from likewise.spaces import Space, Tokens

#: tokens of the longest item unless a user asks for more
_LONGEST = 1024
#: given texts below which a hint is shown that their meaning can be had from a network that has read more
_FEW_TEXTS = 20_000
#: what stands for the end of a text where its tokens are shown
_END = "∎"


class TextSettings(TokenizerSettings):
    modality: Literal["text"] = "text"
    length: int | None = Field(
        default=None, ge=2, le=8192, description="most tokens that are read together; default: the longest's"
    )
    windows: bool = Field(
        default=True, description="texts longer than that are learned in windows, where the family can; else cut"
    )


class Text(Written):
    """The tokens of a `Tokenizer`, and their `end`."""

    name = "text"
    Settings = TextSettings
    encodings = ("tokens",)

    def __init__(self, kind: str, known: Any, length: int, mean_length: float, windows: bool = False) -> None:
        """kind, known: the tokenizer's. windows: texts longer than `length` are not cut, but read in windows."""
        self.tokenizer, self.length, self.mean_length = Tokenizer(kind, known), length, mean_length
        self.windowed = windows
        self._in_windows: Text | None = None
        self.end, self.vocabulary = self.tokenizer.end, max(self.tokenizer.size, self.tokenizer.end + 1)
        self.lead = self.tokenizer.lead

    @classmethod
    def fit(cls, values: Sequence[Any], settings: TextSettings, seed: int = 0) -> Text:
        values = some(values, seed)
        learned = Tokenizer.fit(values, settings)
        lengths = np.array([len(t) + 1 for t in learned.tokenize(values)])
        length = settings.length or int(min(lengths.max(), _LONGEST, learned.most or _LONGEST))
        fitted = cls(learned.kind, learned.known, length, float(np.minimum(lengths, length).mean()))
        if cut := int((lengths > length).sum()):
            fitted.notes = (
                f"{cut:,} texts are longer than {length} tokens and are cut there (target.length, --unit line)",
            )
            if settings.windows:
                counts = np.maximum(1, -(-(lengths - 1) // (length - 1)))
                whole = cls(learned.kind, learned.known, length, float(lengths.sum() / counts.sum()), True)
                whole.notes = (
                    f"{cut:,} of {len(lengths):,} texts are longer than {length} tokens: they are learned in windows "
                    "of so many (target.length, target.windows)",
                )
                fitted._in_windows = whole
        return fitted

    @classmethod
    def given_settings(cls, settings: TextSettings) -> TextSettings:
        # What is only read need not be spelt: one token for a word says sooner what is meant.
        open_ = settings.tokenizer == "auto" and settings.pretrained is None
        return settings.model_copy(update={"tokenizer": "words"}) if open_ else settings

    def given_notes(self, name: str, values: Sequence[Any], target: Modality) -> tuple[str, ...]:
        few = "text" not in target.forms and len(values) < _FEW_TEXTS
        if not few or not all(value.isascii() for value in islice(values, 100) if value is not None):
            return ()
        return (
            f"{len(values):,} of {name} are few to learn a language from: if they are English, --set "
            f"condition.{name}.modality=sentence takes what they mean from MiniLM instead (extra metrics)",
        )

    def in_windows(self) -> Text:
        return self._in_windows or self

    def state(self) -> dict[str, Any]:
        learned = self.tokenizer
        return {
            "kind": learned.kind, "known": learned.known, "length": self.length, "mean_length": self.mean_length,
            "windows": self.windowed,
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Text:
        return cls(**state)

    def space(self, encoding: Encoding) -> Space:
        return Tokens(self.length, self.vocabulary, end=self.end, mean_length=self.mean_length, windows=self.windowed)

    def tokens_of(self, value: str) -> list[int]:
        return self.tokenizer.tokenize([value])[0]

    def token_bytes(self) -> list[bytes]:
        found = self.tokenizer.bytes_each()
        return [*found, b""][: self.vocabulary]

    def pack(self, values: Sequence[Any], encoding: Encoding) -> Packed:
        """What is longer than `length` is cut (and then has no end)."""
        return self._packed(values, self.length)

    def windows(self, values: Sequence[Any], encoding: Encoding) -> Windows:
        assert self.windowed
        return Windows.of(self._packed(values, None), self.length)

    def _packed(self, values: Sequence[Any], most: int | None) -> Packed:
        rows = [[*ids, self.end][:most] for ids in self.tokenizer.tokenize(values)]
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        flat = np.fromiter((i for row in rows for i in row), np.int32, int(offsets[-1]))
        return Packed(flat, offsets, pad=self.end)

    def encode(self, batch: NDArray[Any], encoding: Encoding, draws: Draws | None = None) -> Tensor:
        return torch.from_numpy(batch.astype(np.int64))

    def decode(self, x: Tensor, encoding: Encoding, draws: Draws | None = None) -> list[Any]:
        rows = x.tolist()
        return [self.tokenizer.join(row[: row.index(self.end)] if self.end in row else row) for row in rows]

    def pieces(self, x: Tensor, encoding: Encoding) -> list[str]:
        ids = x.tolist()
        if self.end not in ids:
            return self.tokenizer.pieces(ids)
        return [*self.tokenizer.pieces(ids[: ids.index(self.end)]), _END]

    def heatmap_html(
        self, x: Tensor, weights: NDArray[np.float64], encoding: Encoding, titles: Sequence[str] = ()
    ) -> str:
        return char_features.heatmap_html(self.pieces(x, encoding), weights, titles)

    def task(self, given: Sequence[str]) -> str | None:
        known = {"text": "text2text-generation", "dialogue": "text-generation", "image": "image-to-text"}
        return known.get(given[0]) if given else "text-generation"

    def describe(self) -> str:
        most = f"read {self.length} at a time" if self.windowed else f"at most {self.length} each"
        return f"text by {self.tokenizer.kind}, {self.vocabulary} tokens, {most}"
