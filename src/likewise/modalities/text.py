"""Text as tokens: those of its tokenizer, then `end`."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from likewise.draws import Draws
from likewise.modalities import letters
from likewise.modalities.base import BadValue, Encoding, Modality, Packed
from likewise.modalities.tokenizer import Tokenizer, TokenizerSettings, some
from likewise.spaces import Space, Tokens

#: tokens of the longest item unless a user asks for more
_LONGEST = 1024
#: what stands for the end of a text where its tokens are shown
_END = "∎"


class TextSettings(TokenizerSettings):
    modality: Literal["text"] = "text"
    length: int | None = Field(
        default=None, ge=2, le=8192, description="most tokens of an item; default: the longest's"
    )


class Text(Modality):
    """The tokens of a `Tokenizer`; `end` is the one behind them."""

    name = "text"
    Settings = TextSettings
    encodings = ("tokens",)
    unit = "byte"

    def __init__(self, kind: str, known: Any, length: int, mean_length: float) -> None:
        """kind, known: the tokenizer's."""
        self.tokenizer, self.length, self.mean_length = Tokenizer(kind, known), length, mean_length
        self.end = self.tokenizer.size

    @classmethod
    def fit(cls, values: Sequence[Any], settings: TextSettings, seed: int = 0) -> Text:
        values = some(values, seed)
        learned = Tokenizer.fit(values, settings.tokenizer, settings.vocabulary)
        lengths = np.array([len(t) + 1 for t in learned.tokenize(values)])
        length = settings.length or int(min(lengths.max(), _LONGEST))
        fitted = cls(learned.kind, learned.known, length, float(np.minimum(lengths, length).mean()))
        if cut := int((lengths > length).sum()):
            fitted.notes = (
                f"{cut:,} texts are longer than {length} tokens and are cut there (target.length, --unit line)",
            )
        return fitted

    def state(self) -> dict[str, Any]:
        learned = self.tokenizer
        return {"kind": learned.kind, "known": learned.known, "length": self.length, "mean_length": self.mean_length}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Text:
        return cls(**state)

    def space(self, encoding: Encoding) -> Space:
        return Tokens(self.length, self.end + 1, end=self.end, mean_length=self.mean_length)

    def tokens_of(self, value: str) -> list[int]:
        return self.tokenizer.tokenize([value])[0]

    def token_bytes(self) -> list[bytes]:
        return self.tokenizer.bytes_each()

    def pack(self, values: Sequence[Any], encoding: Encoding) -> Packed:
        """What is longer than `length` is cut (and then has no end)."""
        rows = [[*ids, self.end][: self.length] for ids in self.tokenizer.tokenize(values)]
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        flat = np.fromiter((i for row in rows for i in row), np.int32, int(offsets[-1]))
        return Packed(flat, offsets, pad=self.end)

    def encode(self, batch: NDArray[Any], encoding: Encoding, draws: Draws | None = None) -> Tensor:
        return torch.from_numpy(batch.astype(np.int64))

    def decode(self, x: Tensor, encoding: Encoding, draws: Draws | None = None) -> list[Any]:
        rows = x.tolist()
        return [self.tokenizer.join(row[: row.index(self.end)] if self.end in row else row) for row in rows]

    def read(self, value: Any) -> str:
        return str(value)

    def show(self, value: Any) -> str:
        return f"<p>{html.escape(value)}</p>"

    def read_file(self, path: Path) -> str:
        try:
            text = path.read_text(encoding="utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise BadValue(f"not UTF-8 at byte {error.start}; save it as UTF-8") from None
        if not text:
            raise BadValue("the file is empty")
        return text

    def pieces(self, x: Tensor, encoding: Encoding) -> list[str]:
        ids = x.tolist()
        if self.end not in ids:
            return self.tokenizer.pieces(ids)
        return [*self.tokenizer.pieces(ids[: ids.index(self.end)]), _END]

    def shade(self, x: Tensor, weights: NDArray[np.float64], encoding: Encoding, titles: Sequence[str] = ()) -> str:
        return letters.shade(self.pieces(x, encoding), weights, titles)

    def slips(self, value: Any, rng: np.random.Generator) -> list[tuple[str, Any]]:
        return [*letters.slips(value, rng)]

    def properties(self, values: Sequence[Any]) -> dict[str, Callable[[Any], bool]]:
        return letters.properties(values)

    def features(self, values: Sequence[Any]) -> NDArray[np.float64]:
        return letters.counts(values)

    def amount(self, value: Any) -> int:
        return max(1, len(value.encode()))

    def task(self, given: Sequence[str]) -> str | None:
        known = {"text": "text2text-generation", "dialogue": "text-generation", "image": "image-to-text"}
        return known.get(given[0]) if given else "text-generation"

    def describe(self) -> str:
        return f"text by {self.tokenizer.kind}, {self.end + 1} tokens, at most {self.length} each"
