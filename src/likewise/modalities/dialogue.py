"""Dialogue: the messages before a reply, each with a role."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from likewise.data.conversations import Message, messages
from likewise.modalities import char_features
from likewise.modalities.base import BadValue, Modality
from likewise.modalities.tokenizer import TokenizerSettings

#: displayed at the end of a turn
TURN = "⏎"


class DialogueSettings(TokenizerSettings):
    modality: Literal["dialogue"] = "dialogue"
    length: int | None = Field(
        default=None, ge=4, le=8192, description="most tokens of a history, the newest; default: the longest's"
    )


class Dialogue(Modality):
    """Lists of messages. The modality has no fitted state."""

    name = "dialogue"
    Settings = DialogueSettings
    forms = ("messages",)
    likelihood_unit = "byte"

    @classmethod
    def examples(cls, count: int = 16) -> list[Any]:
        roles = ("user", "assistant", "user")
        return [[{"role": r, "content": "ab" * (1 + i % 3)} for r in roles[: 1 + i % 3]] for i in range(count)]

    def read(self, value: Any) -> list[Message]:
        """Accepts a list of messages, or its JSON; any other string becomes one message of the user."""
        return read_messages(_unpacked(value) if isinstance(value, str) else value)

    def messages_of(self, value: Any) -> Sequence[Message]:
        return value

    def caption(self, value: Any) -> str:
        return f" {TURN} ".join(f"{m['role']}: {m['content']}" for m in read_messages(value))

    def to_html(self, value: Any) -> str:
        said = (f"<b>{html.escape(m['role'])}</b> {html.escape(m['content'])}" for m in read_messages(value))
        return f"<p>{'<br>'.join(said)}</p>"

    def perturbations(self, value: Any, rng: np.random.Generator) -> list[tuple[str, Any]]:
        """Perturbations of the last message, and the last message without its history."""
        talk = read_messages(value)
        if not talk:
            return []
        last = talk[-1]
        found: list[tuple[str, Any]] = [
            (what, [*talk[:-1], {**last, "content": other}])
            for what, other in char_features.perturbations(last["content"], rng)
        ]
        return [*found, ("only the newest message", talk[-1:])] if len(talk) > 1 else found

    def features(self, values: Sequence[Any]) -> NDArray[np.float64]:
        """Character counts of all messages together, as for a text, and log(1 + number of messages)."""
        talks = [read_messages(v) for v in values]
        said = char_features.counts(["\n".join(m["content"] for m in talk) for talk in talks])
        return np.c_[said, np.log1p([len(talk) for talk in talks])]

    def num_units(self, value: Any) -> int:
        return max(1, sum(len(m["content"].encode()) for m in read_messages(value)))

    def task(self, given: Sequence[str]) -> str | None:
        return "text-generation"


def _unpacked(text: str) -> Any:
    """The list if the text is a JSON list of objects, else the text."""
    try:
        found = json.loads(text) if text.lstrip().startswith("[") else text
    except ValueError:  # a message that begins with a bracket
        return text
    return found if isinstance(found, list) and all(isinstance(m, dict) for m in found) else text


def read_messages(value: Any) -> list[Message]:
    try:
        return messages(value)
    except ValueError as error:
        raise BadValue(str(error)) from None
