"""Tokenizers: characters, bytes, byte pairs learned from the data (Sennrich et al., 2016), or pretrained.

A pretrained ("borrowed") tokenizer is read from a model's tokenizer.json (see `pretrained_tokenizer`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from pydantic import Field

from likewise.modalities import pretrained_tokenizer
from likewise.modalities.base import ModalitySettings
from likewise.modalities.pretrained_tokenizer import byte_letters as byte_letters

#: on large data, the maximum texts and the maximum characters from which a vocabulary is learned
_LEARNED, _MOST_CHARACTERS = 50_000, 32 * 2**20

Kind = Literal["auto", "words", "characters", "bytes", "bpe"]


class TokenizerSettings(ModalitySettings):
    """User settings of a tokenizer."""

    tokenizer: Kind = Field(
        default="auto",
        description="auto: by the size of the data; words: bpe even of little text, if it has words (auto of a given)",
    )
    vocabulary: int | None = Field(
        default=None, ge=257, le=65536, description="of bpe; default by the size of the data"
    )
    pretrained: str | None = Field(
        default=None, description="folder of a pretrained model, whose tokens are taken instead of any learned"
    )


class Tokenizer:
    """`size` tokens: 0..255 are bytes, so that every text can be encoded; then characters or merges.

    end: the token that ends a text: number `size`, or for a pretrained tokenizer one of its own tokens.
    most: maximum tokens of a text; None if unlimited.
    """

    def __init__(self, kind: str, known: Any) -> None:
        """known: characters: their list; bpe: the tokenizer's JSON; bytes: None; borrowed: `Borrowed.known`."""
        self.kind, self.known = kind, known
        self._characters = {c: 256 + i for i, c in enumerate(known)} if kind == "characters" else {}
        self._bpe: Any = None
        if kind == "bpe":
            from tokenizers import Tokenizer as Learned

            self._bpe = Learned.from_str(known)
        if kind == "borrowed":
            self._bpe = pretrained_tokenizer.tokenizer(known["json"])
        size = {"characters": 256 + len(self._characters), "bytes": 256}
        self.size: int = size[kind] if self._bpe is None else pretrained_tokenizer.size(self._bpe)
        self.end: int = known["end"] if kind == "borrowed" else self.size
        self.most: int | None = known["most"] if kind == "borrowed" else None

    @classmethod
    def fit(cls, values: Sequence[str], settings: TokenizerSettings) -> Tokenizer:
        """Fit to texts. Raises ValueError if all of them are empty, or if the settings conflict."""
        kind, vocabulary = settings.tokenizer, settings.vocabulary
        if settings.pretrained is not None:
            if kind != "auto" or vocabulary is not None:
                raise ValueError("a pretrained model has tokens of its own: leave out tokenizer and vocabulary")
            return cls("borrowed", pretrained_tokenizer.read(settings.pretrained).known)
        count = Counter()
        for text in values:
            count.update(text)
        total = sum(count.values())
        if not total:
            raise ValueError("the text is empty")
        some_merges = 2048 if kind == "words" or total >= 2_000_000 else 1024
        if kind in ("auto", "words"):
            # Large alphabets are tokenised by character, as are strings without words (molecules, proteins, DNA): in
            # SMILES, for example, ring labels must match, which merges would hide. BPE needs enough text to learn from.
            wordless = count[" "] < 1e-3 * total
            little = total < (300_000 if kind == "auto" else 5_000)
            kind = "characters" if len(count) > 500 or wordless or little else "bpe"
        known: Any = None
        if kind == "characters":
            known = sorted(c for c, n in count.items() if n > 1 or total < 10_000)
        elif kind == "bpe":
            known = _learn(values, vocabulary or some_merges)
        return cls(kind, known)

    def tokenize(self, values: Sequence[str]) -> list[list[int]]:
        if self._bpe is not None:
            return [e.ids for e in self._bpe.encode_batch(list(values), add_special_tokens=False)]
        if self.kind == "bytes":
            return [list(t.encode()) for t in values]
        known = self._characters
        return [[i for c in t for i in ((known[c],) if c in known else c.encode())] for t in values]

    def bytes_each(self) -> list[bytes]:
        """The UTF-8 bytes of each token, by token number. Raises ValueError for a pretrained one that has none."""
        if self.kind == "borrowed":
            return pretrained_tokenizer.bytes_each(self._bpe)
        if self.kind == "bpe":
            written = {letter: byte for byte, letter in enumerate(byte_letters())}
            return [bytes(written[c] for c in self._bpe.id_to_token(i)) for i in range(self.size)]
        return [bytes([i]) for i in range(256)] + [c.encode() for c in self._characters]

    def join(self, ids: Sequence[int]) -> str:
        """The text of tokens; incomplete UTF-8 sequences become U+FFFD."""
        if self._letters is not None:
            return self._spelt(ids).removeprefix(self.lead.decode())
        if self._bpe is not None:
            return self._bpe.decode(ids)
        parts = [bytes([i]) if i < 256 else self.known[i - 256].encode() for i in ids if i >= 0]
        return b"".join(parts).decode(errors="replace")

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text of each token; a character of several byte tokens belongs to the last; the others are empty."""
        found, waiting = [], []
        for i in ids:
            waiting.append(i)
            text = self._spelt(waiting)
            whole = not text.endswith("\ufffd") or len(waiting) > 3
            found.append(text if whole else "")
            waiting = [] if whole else waiting
        return found

    @cached_property
    def lead(self) -> bytes:
        """Prefix of the first token that is not part of the text: a space if tokens include the space before a word."""
        return pretrained_tokenizer.lead(self._bpe) if self.kind == "borrowed" else b""

    @cached_property
    def _letters(self) -> list[bytes] | None:
        """The bytes of pretrained tokens; None if they are not known, and for other kinds of tokenizer."""
        if self.kind != "borrowed":
            return None
        try:
            return self.bytes_each()
        except ValueError:
            return None

    def _spelt(self, ids: Sequence[int]) -> str:
        """The text of tokens from inside a longer text, including leading spaces."""
        if self._letters is None:
            return self.join(ids)
        return b"".join(self._letters[i] for i in ids).decode(errors="replace")


def some(values: Sequence[Any], seed: int) -> Sequence[Any]:
    """The values, or a random subset of them if they are many."""
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
    from tokenizers import Tokenizer as Learned
    from tokenizers import decoders, models, pre_tokenizers, trainers

    learned = Learned(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    learned.decoder = decoders.ByteLevel()  # pyright: ignore
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)  # pyright: ignore
    learned.train_from_iterator(values, trainer)
    return learned.to_str()
