"""Named traits whose frequency differs most between real and generated items.

A trait is a property that an item has or lacks: a word, a pair of consecutive words, a column's value or range, or two
of these together. Each difference in frequency is tested (two-proportion z test, pooled); only those significant after
Bonferroni correction are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from likewise.metrics import table, text
from likewise.modalities.base import Form, Modality

Array = NDArray[np.float64]

#: traits that occur in fewer items than this (real and generated together) are not tested
LEAST_ITEMS = 5
#: the number of most frequent single traits that are also combined into pairs
MOST_TRAITS = 400
#: the maximum number of results that contain the same trait
MOST_PER_TRAIT = 2
ALPHA = 0.05

#: one or two traits, and the number of real and of generated items that have them
Found = tuple[tuple[str, ...], int, int]


@dataclass(frozen=True)
class TraitDifference:
    """A trait with the share of real and of generated items that have it."""

    trait: str
    real: float  #: share of the real items, in [0, 1]
    fake: float
    z: float  #: of the difference fake - real: positive if the trait is too frequent in samples


def distinguishing_traits(
    modality: Modality, real: Sequence[Any], fake: Sequence[Any], train: Sequence[Any] = (), most: int = 12
) -> tuple[list[TraitDifference], int]:
    """The traits that differ most, and how many were tested; empty if the modality has no named traits.

    real, fake: values of the modality, n >= 1 of each. train: other real items, which define the known words.
    """
    for form, (name, in_pairs) in _NAMED.items():
        if form in modality.forms:
            sides = name(*(modality.as_form(values, form) for values in (real, fake, train)))
            return _compared(sides, len(real), len(fake), most, in_pairs)
    return [], 0


def _of_texts(real: Sequence[str], fake: Sequence[str], train: Sequence[str]) -> list[list[set[str]]]:
    by_character = not text.spaced(real)
    known = {unit for value in train for unit in text.words(value, by_character)}
    return [[text.traits(value, by_character, known) for value in side] for side in (real, fake)]


def _of_rows(
    real: Sequence[Mapping[str, Any]], fake: Sequence[Mapping[str, Any]], train: Sequence[Mapping[str, Any]]
) -> list[list[set[str]]]:
    cuts = table.cuts(real)
    return [[table.traits(row, cuts) for row in side] for side in (real, fake)]


#: by form of values: the function that extracts traits, and whether pairs of traits are tested too (in texts pairs
#: would be too many, and pairs of consecutive words are already traits)
_NAMED: dict[Form, tuple[Callable[..., list[list[set[str]]]], bool]] = {
    "text": (_of_texts, False),
    "row": (_of_rows, True),
}


def _compared(
    sides: Sequence[Sequence[set[str]]], real: int, fake: int, most: int, in_pairs: bool
) -> tuple[list[TraitDifference], int]:
    """The traits that differ most, and how many were tested. real, fake: the number of items of each side."""
    counts = [Counter(trait for traits in side for trait in traits) for side in sides]
    both = counts[0] + counts[1]
    kept = sorted((t for t in both if both[t] >= LEAST_ITEMS), key=lambda t: (-both[t], t))
    found = [((t,), counts[0][t], counts[1][t]) for t in kept]
    looked = len(found)
    if in_pairs:
        pairs, tried = _pairs(sides, kept[:MOST_TRAITS])
        found, looked = found + pairs, looked + tried
    return _differing(found, looked, real, fake, most), looked


def _pairs(sides: Sequence[Sequence[set[str]]], kept: list[str]) -> tuple[list[Found], int]:
    """The pairs of traits that differ more than either trait alone, and how many pairs were tested."""
    index = {trait: i for i, trait in enumerate(kept)}
    grids = []
    for side in sides:
        grid = np.zeros((len(side), len(kept)))
        for row, traits in zip(grid, side, strict=True):
            row[[index[t] for t in traits if t in index]] = 1
        grids.append(grid)
    n, m = map(len, grids)
    real, fake = (grid.T @ grid for grid in grids)
    z = np.abs(_z(real, fake, n, m))
    single = np.diag(z)
    often = np.triu(real + fake >= LEAST_ITEMS, 1)
    telling = np.argwhere(often & (z > np.maximum(single[:, None], single)))
    pairs: list[Found] = [((kept[i], kept[j]), int(real[i, j]), int(fake[i, j])) for i, j in telling.tolist()]
    return pairs, int(often.sum())


def _differing(found: Sequence[Found], looked: int, n: int, m: int, most: int) -> list[TraitDifference]:
    """The largest significant differences, without repeating the same trait more than `MOST_PER_TRAIT` times."""
    if not found:
        return []
    z = _z(np.array([f[1] for f in found], float), np.array([f[2] for f in found], float), n, m)
    least = norm.isf(ALPHA / 2 / looked)
    used: Counter[str] = Counter()
    result = []
    for i in np.argsort(-np.abs(z), kind="stable"):
        traits, real, fake = found[i]
        if abs(z[i]) < least or len(result) == most:
            break
        if max(used[t] for t in traits) < MOST_PER_TRAIT:
            used.update(traits)
            result.append(TraitDifference(" and ".join(traits), real / n, fake / m, float(z[i])))
    return result


def _z(real: Array, fake: Array, n: int, m: int) -> Array:
    """The difference fake / m - real / n in standard errors; real, fake: how many of n and m items have the trait."""
    pooled = (real + fake) / (n + m)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return np.divide(fake / m - real / n, spread, out=np.zeros_like(spread), where=spread > 0)
