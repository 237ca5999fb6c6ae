"""Text: strings of characters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Literal

from pydantic import Field

from likewise.errors import Message, Setting
from likewise.modalities.base import Modality
from likewise.modalities.text_values import Written
from likewise.modalities.tokenizer import TokenizerSettings

#: number of texts in a condition below which `given_notes` suggests sentence embeddings
_FEW_TEXTS = 20_000


class TextSettings(TokenizerSettings):
    modality: Literal["text"] = "text"
    length: int | None = Field(
        default=None, ge=2, le=8192, description="most tokens that are read together; default: the longest's"
    )
    windows: bool = Field(
        default=True, description="texts longer than that are learned in windows, where the family can; else cut"
    )


class Text(Written):
    """Any text. The modality has no fitted state."""

    name = "text"
    Settings = TextSettings

    @classmethod
    def given_settings(cls, settings: TextSettings) -> TextSettings:
        # A condition is never generated: tokens of whole words are easier to learn from than characters.
        open_ = settings.tokenizer == "auto" and settings.pretrained is None
        return settings.model_copy(update={"tokenizer": "words"}) if open_ else settings

    def given_notes(self, name: str, values: Sequence[Any], target: Modality) -> tuple[str, ...]:
        few = "text" not in target.forms and len(values) < _FEW_TEXTS
        if not few or not all(value.isascii() for value in islice(values, 100) if value is not None):
            return ()
        return (
            Message(
                f"{len(values):,} of {name} are few to learn a language from: if they are English, ",
                Setting(f"condition.{name}.modality", "sentence"),
                " takes what they mean from MiniLM instead (extra metrics)",
            ),
        )

    def task(self, given: Sequence[str]) -> str | None:
        known = {"text": "text2text-generation", "dialogue": "text-generation", "image": "image-to-text"}
        return known.get(given[0]) if given else "text-generation"
