"""Dialogue as tokens: for each message its role, its text, and the end of the turn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.data.conversations import ROLES, Message
from likewise.draws import Draws
from likewise.modalities import char_features
from likewise.modalities.dialogue import TURN, Dialogue, DialogueSettings, read_messages
from likewise.modalities.encoding import Encoding
from likewise.modalities.packed import Packed
from likewise.modalities.tokenizer import Tokenizer, some
from likewise.spaces import Tokens

#: default maximum of tokens in a history: older messages contribute little to the next reply
_LONGEST = 256
#: displayed for the token `end`
_END = "∎"


class DialogueTokens(Encoding):
    """The tokens of a `Tokenizer`, then one for each of `roles`, then the end of a turn, then `end`.

    Chat template: a message is its role's token, its text, and the end of the turn; the history ends with `end`, which
    is also the padding and occurs nowhere else.
    """

    modality_name = "dialogue"
    name = "tokens"
    default_family = "autoregressive"
    modality: Dialogue

    def __init__(
        self, modality: Dialogue, kind: str, known: Any, roles: Sequence[str], length: int, mean_length: float
    ) -> None:
        """kind, known: the tokenizer's. length: maximum tokens of a history. mean_length: their mean number."""
        super().__init__(modality)
        self.tokenizer, self.roles = Tokenizer(kind, known), tuple(roles)
        self.length, self.mean_length = length, mean_length
        self.turn = self.tokenizer.size + len(self.roles)
        self.end = self.turn + 1

    @classmethod
    def fit(
        cls, modality: Dialogue, values: Sequence[Any], settings: DialogueSettings, seed: int = 0
    ) -> DialogueTokens:
        talks = [read_messages(v) for v in values]
        said = list(dict.fromkeys(m["content"] for talk in talks for m in talk))
        learned = Tokenizer.fit(some(said, seed), settings)
        plain = cls(modality, learned.kind, learned.known, ROLES, 2**31, 1.0)
        lengths = np.array([len(row) for row in plain._rows(talks)])
        length = settings.length or int(min(lengths.max(), _LONGEST))
        fitted = cls(modality, learned.kind, learned.known, ROLES, length, float(np.minimum(lengths, length).mean()))
        if cut := int((lengths > length).sum()):
            fitted.notes = (
                f"{cut:,} histories are longer than {length} tokens: only their newest are kept "
                "(condition.history.length)",
            )
        return fitted

    def state(self) -> dict[str, Any]:
        return {
            "kind": self.tokenizer.kind, "known": self.tokenizer.known, "roles": list(self.roles),
            "length": self.length, "mean_length": self.mean_length,
        }  # fmt: skip

    @property
    def space(self) -> Tokens:
        return Tokens(self.length, self.end + 1, end=self.end, mean_length=self.mean_length)

    def _rows(self, talks: Sequence[list[Message]]) -> list[list[int]]:
        """The tokens of each, at most `length`: the oldest are removed; a truncated message keeps its role."""
        said = list({m["content"] for talk in talks for m in talk})
        known = dict(zip(said, self.tokenizer.tokenize(said), strict=True))
        rows, room = [], self.length - 1
        for talk in talks:
            parts: list[list[int]] = []
            left = room
            for message in reversed(talk):
                ids = known[message["content"]]
                if left < 3:  # a role, at least one token of text, and the end of the turn
                    break
                ids = ids[max(0, len(ids) - (left - 2)) :]
                parts.append([self.tokenizer.size + self.roles.index(message["role"]), *ids, self.turn])
                left -= len(ids) + 2
            rows.append([*chain.from_iterable(reversed(parts)), self.end])
        return rows

    def pack(self, values: Sequence[Any]) -> Packed:
        rows = self._rows([read_messages(v) for v in values])
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        return Packed(np.fromiter(chain.from_iterable(rows), np.int32, int(offsets[-1])), offsets, pad=self.end)

    def encode(self, batch: NDArray[Any], draws: Draws | None = None) -> Tensor:
        return torch.from_numpy(batch.astype(np.int64))

    def decode(self, x: Tensor, draws: Draws | None = None) -> list[Any]:
        """Decodes complete turns; a model may sample tokens outside of turns, which are left out."""
        talks = []
        for row in x.tolist():
            talk: list[Message] = []
            role, ids = None, []
            for i in row:
                if self.tokenizer.size <= i < self.turn:
                    role, ids = self.roles[i - self.tokenizer.size], []
                elif i < self.turn:
                    ids.append(i)
                elif role is not None:
                    talk.append({"role": role, "content": self.tokenizer.join(ids)})
                    role = None
                if i == self.end:
                    break
            talks.append(talk)
        return talks

    def pieces(self, x: Tensor) -> list[str]:
        """The text of each token; a role is shown as "user: ", the end of a turn as `TURN`."""
        found: list[str] = []
        ids: list[int] = []
        for i in x.tolist():
            if i < self.tokenizer.size:
                ids.append(i)
                continue
            found += self.tokenizer.pieces(ids)
            ids = []
            found.append(
                f"{self.roles[i - self.tokenizer.size]}: " if i < self.turn else TURN if i == self.turn else _END
            )
            if i == self.end:
                break
        return found + self.tokenizer.pieces(ids)

    def heatmap_html(self, x: Tensor, weights: NDArray[np.float64], titles: Sequence[str] = ()) -> str:
        return char_features.heatmap_html(self.pieces(x), weights, titles)

    def describe(self) -> str:
        return f"dialogue by {self.tokenizer.kind}, {self.end + 1} tokens, at most {self.length} each"
