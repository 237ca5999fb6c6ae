"""What was said before a reply, as tokens: for each message its role, its text, and the end of the turn."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from itertools import chain
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from likewise.data.conversations import ROLES, Message, messages
from likewise.draws import Draws
from likewise.modalities import char_features
from likewise.modalities.base import BadValue, Encoding, Modality, Packed
from likewise.modalities.tokenizer import Tokenizer, TokenizerSettings, some
from likewise.spaces import Space, Tokens

#: tokens of the longest history unless a user asks for more: what is older says little of the next reply
_LONGEST = 256
#: what stands for the end of a turn, and of all of it, where tokens are shown
_TURN, _END = "⏎", "∎"


class DialogueSettings(TokenizerSettings):
    modality: Literal["dialogue"] = "dialogue"
    length: int | None = Field(
        default=None, ge=4, le=8192, description="most tokens of a history, the newest; default: the longest's"
    )


class Dialogue(Modality):
    """Messages. The tokens of a `Tokenizer`, then one for each of `roles`, then the end of a turn, then `end`.

    The chat template is the state: a message is its role's token, its text, and the end of the turn; all of them end
    with `end`, which is also the padding and stands nowhere else.
    """

    name = "dialogue"
    Settings = DialogueSettings
    encodings = ("tokens",)
    forms = ("messages",)
    likelihood_unit = "byte"

    def __init__(self, kind: str, known: Any, roles: Sequence[str], length: int, mean_length: float) -> None:
        """kind, known: the tokenizer's."""
        self.tokenizer, self.roles = Tokenizer(kind, known), tuple(roles)
        self.length, self.mean_length = length, mean_length
        self.turn = self.tokenizer.size + len(self.roles)
        self.end = self.turn + 1

    @classmethod
    def fit(cls, values: Sequence[Any], settings: DialogueSettings, seed: int = 0) -> Dialogue:
        talks = [_read(v) for v in values]
        said = list(dict.fromkeys(m["content"] for talk in talks for m in talk))
        learned = Tokenizer.fit(some(said, seed), settings)
        plain = cls(learned.kind, learned.known, ROLES, 2**31, 1.0)
        lengths = np.array([len(row) for row in plain._rows(talks)])
        length = settings.length or int(min(lengths.max(), _LONGEST))
        fitted = cls(learned.kind, learned.known, ROLES, length, float(np.minimum(lengths, length).mean()))
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

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Dialogue:
        return cls(**state)

    def space(self, encoding: Encoding) -> Space:
        return Tokens(self.length, self.end + 1, end=self.end, mean_length=self.mean_length)

    def _rows(self, talks: Sequence[list[Message]]) -> list[list[int]]:
        """The tokens of each, at most `length`. What is too long loses its oldest; a message cut keeps its role."""
        said = list({m["content"] for talk in talks for m in talk})
        known = dict(zip(said, self.tokenizer.tokenize(said), strict=True))
        rows, room = [], self.length - 1
        for talk in talks:
            parts: list[list[int]] = []
            left = room
            for message in reversed(talk):
                ids = known[message["content"]]
                if left < 3:  # a role, something said, and the end of the turn
                    break
                ids = ids[max(0, len(ids) - (left - 2)) :]
                parts.append([self.tokenizer.size + self.roles.index(message["role"]), *ids, self.turn])
                left -= len(ids) + 2
            rows.append([*chain.from_iterable(reversed(parts)), self.end])
        return rows

    def pack(self, values: Sequence[Any], encoding: Encoding) -> Packed:
        rows = self._rows([_read(v) for v in values])
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        return Packed(np.fromiter(chain.from_iterable(rows), np.int32, int(offsets[-1])), offsets, pad=self.end)

    def encode(self, batch: NDArray[Any], encoding: Encoding, draws: Draws | None = None) -> Tensor:
        return torch.from_numpy(batch.astype(np.int64))

    def decode(self, x: Tensor, encoding: Encoding, draws: Draws | None = None) -> list[Any]:
        """What stands outside of any turn is left out: a model may say anything anywhere."""
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

    def read(self, value: Any) -> list[Message]:
        """A list of messages, or one in JSON; any other string is one message of the user."""
        return _read(_unpacked(value) if isinstance(value, str) else value)

    def messages_of(self, value: Any) -> Sequence[Message]:
        return value

    def caption(self, value: Any) -> str:
        return f" {_TURN} ".join(f"{m['role']}: {m['content']}" for m in _read(value))

    def to_html(self, value: Any) -> str:
        said = (f"<b>{html.escape(m['role'])}</b> {html.escape(m['content'])}" for m in _read(value))
        return f"<p>{'<br>'.join(said)}</p>"

    def pieces(self, x: Tensor, encoding: Encoding) -> list[str]:
        """A role is shown as "user: ", the end of its turn as a sign."""
        found: list[str] = []
        ids: list[int] = []
        for i in x.tolist():
            if i < self.tokenizer.size:
                ids.append(i)
                continue
            found += self.tokenizer.pieces(ids)
            ids = []
            found.append(
                f"{self.roles[i - self.tokenizer.size]}: " if i < self.turn else _TURN if i == self.turn else _END
            )
            if i == self.end:
                break
        return found + self.tokenizer.pieces(ids)

    def heatmap_html(
        self, x: Tensor, weights: NDArray[np.float64], encoding: Encoding, titles: Sequence[str] = ()
    ) -> str:
        return char_features.heatmap_html(self.pieces(x, encoding), weights, titles)

    def perturbations(self, value: Any, rng: np.random.Generator) -> list[tuple[str, Any]]:
        """Of the newest message; and without what was said before it."""
        talk = _read(value)
        if not talk:
            return []
        last = talk[-1]
        found: list[tuple[str, Any]] = [
            (what, [*talk[:-1], {**last, "content": other}])
            for what, other in char_features.perturbations(last["content"], rng)
        ]
        return [*found, ("only the newest message", talk[-1:])] if len(talk) > 1 else found

    def features(self, values: Sequence[Any]) -> NDArray[np.float64]:
        """Counts of letters, as for a text, of what was said; and how many messages."""
        talks = [_read(v) for v in values]
        said = char_features.counts(["\n".join(m["content"] for m in talk) for talk in talks])
        return np.c_[said, np.log1p([len(talk) for talk in talks])]

    def num_units(self, value: Any) -> int:
        return max(1, sum(len(m["content"].encode()) for m in _read(value)))

    def task(self, given: Sequence[str]) -> str | None:
        return "text-generation"

    def describe(self) -> str:
        return f"dialogue by {self.tokenizer.kind}, {self.end + 1} tokens, at most {self.length} each"


def _unpacked(text: str) -> Any:
    """A list of messages where the text is one in JSON, else the text."""
    try:
        found = json.loads(text) if text.lstrip().startswith("[") else text
    except ValueError:  # something said that begins with a bracket
        return text
    return found if isinstance(found, list) and all(isinstance(m, dict) for m in found) else text


def _read(value: Any) -> list[Message]:
    try:
        return messages(value)
    except ValueError as error:
        raise BadValue(str(error)) from None
