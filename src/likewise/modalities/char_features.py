"""What the letters of a text say without any network: counts of them, slips that a hand may make, and colours."""

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

#: words that are looked for
_WORDS = 24


def counts(values: Sequence[str]) -> NDArray[np.float64]:
    """Counts of one to three characters in a row, hashed into 256 places, and the length."""
    out = np.zeros((len(values), 257))
    places = _Places()
    for row, text in zip(out, values, strict=True):
        twos = [*map(add, text, text[1:])]
        found = np.fromiter(map(places.__getitem__, chain(text, twos, map(add, twos, text[2:]))), np.int64)
        row[:256] = np.sqrt(np.bincount(found, minlength=256) / max(len(found), 1))
        row[256] = np.log1p(len(text))
    return out


def properties(values: Sequence[str]) -> dict[str, Callable[[str], bool]]:
    """Longer than most, a question, and with one of the words that a tenth to a half of the texts have."""
    middle = float(np.median([len(text) for text in values]))
    found: dict[str, Callable[[str], bool]] = {
        f"longer than {middle:g} characters": lambda text: len(text) > middle,
        "with a question mark": lambda text: "?" in text or "？" in text,
    }
    counts = Counter(word for text in values for word in _words(text))
    often = [w for w, n in counts.most_common() if 0.1 * len(values) <= n <= 0.5 * len(values) and len(w) > 2]
    return found | {f"with the word {word}": partial(_has, word) for word in often[:_WORDS]}


def perturbations(value: str, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Other texts that somebody may have typed instead: (what was done, the other text)."""
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
    """Pieces of text as HTML, coloured: what `Modality.shade` is for what is text."""
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
