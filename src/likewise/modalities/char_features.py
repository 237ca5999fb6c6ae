"""Character-level functions of texts without a network: n-gram counts, properties, typing errors, heat maps."""

from __future__ import annotations

import html
import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from operator import add

import numpy as np
from numpy.typing import NDArray

#: maximum of words in `properties`
_WORDS = 24


def counts(values: Sequence[str]) -> NDArray[np.float64]:
    """Shape (N, 257): square roots of the shares of hashed character 1- to 3-grams in 256 bins, and log(1 + length)."""
    out = np.zeros((len(values), 257))
    places = _Places()
    for row, text in zip(out, values, strict=True):
        twos = [*map(add, text, text[1:])]
        found = np.fromiter(map(places.__getitem__, chain(text, twos, map(add, twos, text[2:]))), np.int64)
        row[:256] = np.sqrt(np.bincount(found, minlength=256) / max(len(found), 1))
        row[256] = np.log1p(len(text))
    return out


def properties(values: Sequence[str]) -> dict[str, Callable[[str], bool]]:
    """Longer than the median, contains a question mark, contains a word that 10% to 50% of the texts contain."""
    middle = float(np.median([len(text) for text in values]))
    found: dict[str, Callable[[str], bool]] = {
        f"longer than {middle:g} characters": lambda text: len(text) > middle,
        "with a question mark": lambda text: "?" in text or "？" in text,
    }
    counts = Counter(word for text in values for word in _words(text))
    often = [w for w, n in counts.most_common() if 0.1 * len(values) <= n <= 0.5 * len(values) and len(w) > 2]
    return found | {f"with the word {word}": partial(_has, word) for word in often[:_WORDS]}


def perturbations(value: str, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Texts with typing errors and other changes: (description of the change, changed text)."""
    found = [("in capitals", value.upper()), ("two letters swapped", _swap(value, rng))]
    if value:
        at = int(rng.integers(len(value)))
        found.append(("a letter left out", value[:at] + value[at + 1 :]))
    words = value.split(" ")
    shuffled = " ".join(words[i] for i in rng.permutation(len(words)))
    letters = [chr(97 + int(rng.integers(26))) if c.isalnum() else c for c in value]
    found += [("words in another order", shuffled), ("words that do not exist", "".join(letters))]
    return [(what, other) for what, other in found if other != value]


def heatmap_html(pieces: Sequence[str], weights: NDArray[np.float64], titles: Sequence[str] = ()) -> str:
    """Pieces of text as coloured HTML; implements `Encoding.heatmap_html` for texts. weights: shape (L,), in [0, 1]."""
    out = []
    for i, piece in enumerate(pieces):
        title = f' title="{html.escape(titles[i])}"' if titles else ""
        out.append(f'<span class="piece" style="--heat:{weights[i]:.2f}"{title}>{html.escape(piece)}</span>')
    return f"<p>{''.join(out)}</p>"


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _has(word: str, text: str) -> bool:
    return word in _words(text)


def _swap(text: str, rng: np.random.Generator) -> str:
    """The text with two different adjacent letters swapped at a random position."""
    places = [i for i in range(len(text) - 1) if text[i : i + 2].isalnum() and text[i] != text[i + 1]]
    if not places:
        return text
    i = places[int(rng.integers(len(places)))]
    return text[:i] + text[i + 1] + text[i] + text[i + 2 :]


class _Places(dict[str, int]):
    """The bin of each n-gram, cached because most n-grams are frequent."""

    def __missing__(self, characters: str) -> int:
        self[characters] = place = zlib.crc32(characters.encode()) % 256
        return place
