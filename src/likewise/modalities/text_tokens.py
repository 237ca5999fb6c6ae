"""Text as tokens of a tokenizer, followed by `end`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.draws import Draws
from likewise.errors import Message, Setting
from likewise.modalities import char_features
from likewise.modalities.encoding import Encoding
from likewise.modalities.packed import Packed, Windows
from likewise.modalities.text import Text, TextSettings
from likewise.modalities.tokenizer import Tokenizer, some
from likewise.spaces import Tokens

#: default maximum of tokens in an item
_LONGEST = 1024
#: displayed for the token `end`
_END = "∎"


class TextTokens(Encoding):
    """The tokens of a `Tokenizer`, and their `end`."""

    modality_name = "text"
    name = "tokens"
    default_family = "autoregressive"
    modality: Text

    def __init__(
        self, modality: Text, kind: str, known: Any, length: int, mean_length: float, windows: bool = False
    ) -> None:
        """kind, known: the tokenizer's. windows: divide texts longer than `length` into windows, do not truncate."""
        super().__init__(modality)
        self.tokenizer, self.length, self.mean_length = Tokenizer(kind, known), length, mean_length
        self.windowed = windows
        self._in_windows: TextTokens | None = None
        self.end, self.vocabulary = self.tokenizer.end, max(self.tokenizer.size, self.tokenizer.end + 1)
        self.lead = self.tokenizer.lead

    @classmethod
    def fit(cls, modality: Text, values: Sequence[Any], settings: TextSettings, seed: int = 0) -> TextTokens:
        values = some(values, seed)
        learned = Tokenizer.fit(values, settings)
        lengths = np.array([len(t) + 1 for t in learned.tokenize(values)])
        length = settings.length or int(min(lengths.max(), _LONGEST, learned.most or _LONGEST))
        state: dict[str, Any] = {"kind": learned.kind, "known": learned.known, "length": length}
        fitted = cls(modality, **state, mean_length=float(np.minimum(lengths, length).mean()))
        if cut := int((lengths > length).sum()):
            fitted.notes = (
                Message(
                    f"{cut:,} texts are longer than {length} tokens and are cut there (",
                    Setting("target.length"),
                    ", ",
                    Setting("unit", "line"),
                    ")",
                ),
            )
            if settings.windows:
                counts = np.maximum(1, -(-(lengths - 1) // (length - 1)))
                whole = cls(modality, **state, mean_length=float(lengths.sum() / counts.sum()), windows=True)
                whole.notes = (
                    f"{cut:,} of {len(lengths):,} texts are longer than {length} tokens: they are learned in windows "
                    "of so many (target.length, target.windows)",
                )
                fitted._in_windows = whole
        return fitted

    def in_windows(self) -> TextTokens:
        return self._in_windows or self

    def state(self) -> dict[str, Any]:
        learned = self.tokenizer
        return {
            "kind": learned.kind, "known": learned.known, "length": self.length, "mean_length": self.mean_length,
            "windows": self.windowed,
        }  # fmt: skip

    @property
    def space(self) -> Tokens:
        return Tokens(self.length, self.vocabulary, end=self.end, mean_length=self.mean_length, windows=self.windowed)

    def tokens_of(self, value: str) -> list[int]:
        return self.tokenizer.tokenize([value])[0]

    def token_bytes(self) -> list[bytes]:
        found = self.tokenizer.bytes_each()
        return [*found, b""][: self.vocabulary]

    def pack(self, values: Sequence[Any]) -> Packed:
        """Texts longer than `length` are truncated and then lack `end`."""
        return self._packed(values, self.length)

    def windows(self, values: Sequence[Any]) -> Windows:
        assert self.windowed
        return Windows.of(self._packed(values, None), self.length)

    def _packed(self, values: Sequence[Any], most: int | None) -> Packed:
        rows = [[*ids, self.end][:most] for ids in self.tokenizer.tokenize(values)]
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        flat = np.fromiter((i for row in rows for i in row), np.int32, int(offsets[-1]))
        return Packed(flat, offsets, pad=self.end)

    def encode(self, batch: NDArray[Any], draws: Draws | None = None) -> Tensor:
        return torch.from_numpy(batch.astype(np.int64))

    def decode(self, x: Tensor, draws: Draws | None = None) -> list[Any]:
        rows = x.tolist()
        return [self.tokenizer.join(row[: row.index(self.end)] if self.end in row else row) for row in rows]

    def pieces(self, x: Tensor) -> list[str]:
        ids = x.tolist()
        if self.end not in ids:
            return self.tokenizer.pieces(ids)
        return [*self.tokenizer.pieces(ids[: ids.index(self.end)]), _END]

    def heatmap_html(self, x: Tensor, weights: NDArray[np.float64], titles: Sequence[str] = ()) -> str:
        return char_features.heatmap_html(self.pieces(x), weights, titles)

    def describe(self) -> str:
        most = f"read {self.length} at a time" if self.windowed else f"at most {self.length} each"
        return f"text by {self.tokenizer.kind}, {self.vocabulary} tokens, {most}"
