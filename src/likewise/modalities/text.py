"""Text as tokens: characters, bytes, or byte pairs learned from the data (Sennrich et al., 2016; by `tokenizers`)."""

from __future__ import annotations

import html
import zlib
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from operator import add
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from likewise.draws import Draws
from likewise.modalities.base import BadValue, Encoding, Modality, ModalitySettings, Packed
from likewise.spaces import Space, Tokens

#: tokens of the longest item unless a user asks for more
_LONGEST = 1024
#: what stands for the end of a text where its tokens are shown
_END = "∎"
#: of larger data, a vocabulary is learned from so many texts, and at most so many characters of them
_LEARNED, _MOST_CHARACTERS = 50_000, 32 * 2**20


class TextSettings(ModalitySettings):
    modality: Literal["text"] = "text"
    tokenizer: Literal["auto", "characters", "bytes", "bpe"] = "auto"
    vocabulary: int | None = Field(
        default=None, ge=257, le=65536, description="of bpe; default by the size of the data"
    )
    length: int | None = Field(
        default=None, ge=2, le=8192, description="most tokens of an item; default: the longest's"
    )


class Text(Modality):
    """Tokens 0..255 are bytes, so that every text can be written; then characters or merges; then `end`."""

    name = "text"
    Settings = TextSettings
    encodings = ("tokens",)
    unit = "byte"

    def __init__(self, kind: str, known: Any, length: int, mean_length: float) -> None:
        """known: for characters their list, for bpe the tokenizer's JSON, for bytes None."""
        self.kind, self.known, self.length, self.mean_length = kind, known, length, mean_length
        self._characters = {c: 256 + i for i, c in enumerate(known)} if kind == "characters" else {}
        self._bpe: Any = None
        if kind == "bpe":
            from tokenizers import Tokenizer

            self._bpe = Tokenizer.from_str(known)
        size = {"characters": 256 + len(self._characters), "bytes": 256}
        self.end = self._bpe.get_vocab_size() if kind == "bpe" else size[kind]

    @classmethod
    def fit(cls, values: Sequence[Any], settings: TextSettings, seed: int = 0) -> Text:
        values = _some(values, seed)
        count = Counter()
        for text in values:
            count.update(text)
        total = sum(count.values())
        if not total:
            raise ValueError("the text is empty")
        kind = settings.tokenizer
        if kind == "auto":  # big alphabets are read by character; byte pairs need some text to be learned from
            kind = "characters" if len(count) > 500 or total < 300_000 else "bpe"
        known: Any = None
        if kind == "characters":
            known = sorted(c for c, n in count.items() if n > 1 or total < 10_000)
        elif kind == "bpe":
            known = _learn(values, settings.vocabulary or (1024 if total < 2_000_000 else 2048))
        plain = cls(kind, known, 1, 1.0)
        lengths = np.array([len(t) + 1 for t in plain.tokenize(values)])
        length = settings.length or int(min(lengths.max(), _LONGEST))
        fitted = cls(kind, known, length, float(np.minimum(lengths, length).mean()))
        if cut := int((lengths > length).sum()):
            fitted.notes = (
                f"{cut:,} texts are longer than {length} tokens and are cut there (target.length, --unit line)",
            )
        return fitted

    def state(self) -> dict[str, Any]:
        return {"kind": self.kind, "known": self.known, "length": self.length, "mean_length": self.mean_length}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Text:
        return cls(**state)

    def space(self, encoding: Encoding) -> Space:
        return Tokens(self.length, self.end + 1, end=self.end, mean_length=self.mean_length)

    def tokenize(self, values: Sequence[str]) -> list[list[int]]:
        if self.kind == "bpe":
            return [e.ids for e in self._bpe.encode_batch(list(values))]
        if self.kind == "bytes":
            return [list(t.encode()) for t in values]
        known = self._characters
        return [[i for c in t for i in ((known[c],) if c in known else c.encode())] for t in values]

    def tokens_of(self, value: str) -> list[int]:
        return self.tokenize([value])[0]

    def token_bytes(self) -> list[bytes]:
        if self.kind == "bpe":
            written = _byte_of()
            return [bytes(written[c] for c in self._bpe.id_to_token(i)) for i in range(self.end)]
        return [bytes([i]) for i in range(256)] + [c.encode() for c in self._characters]

    def pack(self, values: Sequence[Any], encoding: Encoding) -> Packed:
        """What is longer than `length` is cut (and then has no end)."""
        rows = [[*ids, self.end][: self.length] for ids in self.tokenize(values)]
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        flat = np.fromiter((i for row in rows for i in row), np.int32, int(offsets[-1]))
        return Packed(flat, offsets, pad=self.end)

    def encode(self, batch: NDArray[Any], encoding: Encoding, draws: Draws | None = None) -> Tensor:
        return torch.from_numpy(batch.astype(np.int64))

    def decode(self, x: Tensor, encoding: Encoding, draws: Draws | None = None) -> list[Any]:
        texts = []
        for row in x.tolist():
            ids = row[: row.index(self.end)] if self.end in row else row
            if self.kind == "bpe":
                texts.append(self._bpe.decode(ids))
                continue
            parts = [bytes([i]) if i < 256 else self.known[i - 256].encode() for i in ids if i >= 0]
            texts.append(b"".join(parts).decode(errors="replace"))
        return texts

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
        """A character of several byte tokens is not cut: it stands with the last of them, behind empty pieces."""
        ids = x.tolist()
        ids = ids[: ids.index(self.end) + 1] if self.end in ids else ids
        found, waiting = [], []
        for i in ids:
            if i == self.end:
                found.append(_END)
                continue
            waiting.append(i)
            [text] = self.decode(torch.tensor([waiting]), encoding)
            whole = not text.endswith("\ufffd") or len(waiting) > 3
            found.append(text if whole else "")
            waiting = [] if whole else waiting
        return found

    def shade(self, x: Tensor, weights: NDArray[np.float64], encoding: Encoding, titles: Sequence[str] = ()) -> str:
        out = []
        for i, piece in enumerate(self.pieces(x, encoding)):
            title = f' title="{html.escape(titles[i])}"' if titles else ""
            out.append(f'<span class="piece" style="--heat:{weights[i]:.2f}"{title}>{html.escape(piece)}</span>')
        return f"<p>{''.join(out)}</p>"

    def slips(self, value: Any, rng: np.random.Generator) -> list[tuple[str, Any]]:
        found = [("in capitals", value.upper()), ("two letters swapped", _swap(value, rng))]
        if value:
            at = int(rng.integers(len(value)))
            found.append(("a letter left out", value[:at] + value[at + 1 :]))
        words = value.split(" ")
        shuffled = " ".join(words[i] for i in rng.permutation(len(words)))
        letters = [chr(97 + int(rng.integers(26))) if c.isalnum() else c for c in value]
        found += [("words in another order", shuffled), ("words that do not exist", "".join(letters))]
        return [(what, other) for what, other in found if other != value]

    def features(self, values: Sequence[Any]) -> NDArray[np.float64]:
        """Counts of one to three characters in a row, hashed into 256 places, and the length."""
        out = np.zeros((len(values), 257))
        places = _Places()
        for row, text in zip(out, values, strict=True):
            twos = [*map(add, text, text[1:])]
            found = np.fromiter(map(places.__getitem__, chain(text, twos, map(add, twos, text[2:]))), np.int64)
            row[:256] = np.sqrt(np.bincount(found, minlength=256) / max(len(found), 1))
            row[256] = np.log1p(len(text))
        return out

    def amount(self, value: Any) -> int:
        return max(1, len(value.encode()))

    def task(self, given: Sequence[str]) -> str | None:
        return {"text": "text2text-generation", "image": "image-to-text"}.get(given[0]) if given else "text-generation"

    def describe(self) -> str:
        return f"text by {self.kind}, {self.end + 1} tokens, at most {self.length} each"


def _swap(text: str, rng: np.random.Generator) -> str:
    """The text with two unlike neighbouring letters swapped, somewhere."""
    places = [i for i in range(len(text) - 1) if text[i : i + 2].isalnum() and text[i] != text[i + 1]]
    if not places:
        return text
    i = places[int(rng.integers(len(places)))]
    return text[:i] + text[i + 1] + text[i] + text[i + 2 :]


class _Places(dict[str, int]):
    """Where a few characters are counted: remembered, as most of them come again and again."""

    def __missing__(self, characters: str) -> int:
        self[characters] = place = zlib.crc32(characters.encode()) % 256
        return place


def _byte_of() -> dict[str, int]:
    """The byte that each letter of the byte-level alphabet stands for: printable Latin-1 itself, others by turns."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in own]
    return {chr(b): b for b in own} | {chr(256 + i): b for i, b in enumerate(others)}


def _some(values: Sequence[Any], seed: int) -> Sequence[Any]:
    """The values, or where they are many, some from all over."""
    if len(values) <= 2 * _LEARNED and isinstance(values, list):
        return values
    out, size = [], 0
    where = np.linspace(0, len(values) - 1, min(len(values), _LEARNED)).astype(np.int64)
    for i in np.random.default_rng(seed).permutation(where):
        out.append(values[int(i)])
        size += len(out[-1])
        if size > _MOST_CHARACTERS:
            break
    return out


def _learn(values: Sequence[str], size: int) -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    learned.decoder = decoders.ByteLevel()  # pyright: ignore
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)  # pyright: ignore
    learned.train_from_iterator(values, trainer)
    return learned.to_str()
