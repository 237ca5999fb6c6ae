"""Texts as lists of words: how varied they are, how long, and how often they repeat one another.

Distinct-n is the number of different n-grams over the number of all n-grams (Li et al., 2016). It falls with the
number of texts, so it is compared at equal n.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from itertools import pairwise

import numpy as np

from likewise.metrics.intervals import Estimate, jackknife_over, mean, proportion


def words(text: str, by_character: bool) -> list[str]:
    """The units of n-grams: what stands between spaces, or each character where a script puts no spaces."""
    return [c for c in text if not c.isspace()] if by_character else text.split()


def spaced(texts: Sequence[str]) -> bool:
    """Whether most of the texts have spaces, so that words can be told apart."""
    return sum(any(c.isspace() for c in text.strip()) for text in texts) > len(texts) / 2


def distinct(texts: Sequence[str], order: int, by_character: bool) -> float:
    """Distinct n-grams of `order` over all of them; 0 where there are none."""
    grams = [
        tuple(units[i : i + order])
        for units in (words(text, by_character) for text in texts)
        for i in range(len(units) - order + 1)
    ]
    return len(set(grams)) / len(grams) if grams else 0.0


#: the trait of a text in which a word is new: what a model spells wrongly is each time another word
NEW_WORD = "a word that no training text has"


def traits(text: str, by_character: bool, known: Container[str]) -> set[str]:
    """What a text has that can be named: its words, its runs of two, and whether any word is not among `known`."""
    units = words(text, by_character)
    between = "" if by_character else " "
    found = {f"“{unit}”" for unit in units} | {f"“{a}{between}{b}”" for a, b in pairwise(units)}
    return found if all(unit in known for unit in units) else found | {NEW_WORD}


def text_statistics(texts: Sequence[str], by_character: bool, seed: int = 0) -> dict[str, Estimate]:
    """Keys distinct_1 to distinct_3, length (in characters) and repeated (the share that equal another text)."""
    result = {
        f"distinct_{order}": jackknife_over(lambda part, k=order: distinct(part, k, by_character), [texts], seed)
        for order in (1, 2, 3)
    }
    result["length"] = mean(np.array([len(text) for text in texts], np.float64), seed)
    seen: dict[str, int] = {}
    for text in texts:
        seen[text] = seen.get(text, 0) + 1
    result["repeated"] = proportion(sum(seen[text] > 1 for text in texts) / len(texts), len(texts))
    return result


def shuffled(texts: Sequence[str], rng: np.random.Generator) -> list[str]:
    """The texts with all their characters dealt anew: lengths and character counts kept, order lost."""
    pool = np.array(list("".join(texts)))
    pool = pool[rng.permutation(len(pool))]
    stops = np.cumsum([len(text) for text in texts])
    return ["".join(pool[start:stop]) for start, stop in zip([0, *stops[:-1]], stops, strict=True)]
