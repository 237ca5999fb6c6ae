"""The base of modalities whose values are strings: reading, display, features and perturbations."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.modalities import char_features
from likewise.modalities.base import BadValue, Modality


class Written(Modality):
    """Base class of modalities whose values are strings."""

    forms = ("text",)
    likelihood_unit = "byte"

    @classmethod
    def examples(cls, count: int = 16) -> list[Any]:
        return ["a" * (1 + i % 5) + "b" for i in range(count)]

    @classmethod
    def summary(cls, value: Any) -> tuple[str, str]:
        """Described by length; the key ignores case, spaces and punctuation."""
        text = "" if value is None else str(value)
        letters = re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())
        if not text:
            return "empty", ""
        for most in (100, 1000):
            if len(text) <= most:
                return f"up to {most:,} characters", letters
        return "longer than 1,000 characters", letters

    def text_of(self, value: Any) -> str:
        return value

    def read(self, value: Any) -> str:
        return str(value)

    def to_html(self, value: Any) -> str:
        return f"<p>{html.escape(value)}</p>"

    def read_file(self, path: Path) -> str:
        try:
            text = path.read_text(encoding="utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise BadValue(f"not UTF-8 at byte {error.start}; save it as UTF-8") from None
        if not text:
            raise BadValue("the file is empty")
        return text

    def perturbations(self, value: Any, rng: np.random.Generator) -> list[tuple[str, Any]]:
        return [*char_features.perturbations(value, rng)]

    def properties(self, values: Sequence[Any]) -> dict[str, Callable[[Any], bool]]:
        return char_features.properties(values)

    def features(self, values: Sequence[Any]) -> NDArray[np.float64]:
        return char_features.counts(values)

    def num_units(self, value: Any) -> int:
        return max(1, len(value.encode()))
