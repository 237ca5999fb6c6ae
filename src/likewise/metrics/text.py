"""Statistics of collections of texts: diversity, length and repetition.

Distinct-n is the number of different n-grams over the number of all n-grams (Li et al., 2016). It falls as the number
of texts grows, so it is compared at equal n. Self-BLEU is the BLEU of each text with all others as references (Zhu et
al., 2018); repetition is the share of n-grams that repeat within a text (Welleck et al., 2020).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from math import exp, log
from typing import Any

import numpy as np

from likewise.metrics.base import Measure, Metric
from likewise.metrics.intervals import Estimate, jackknife_over, mean, proportion


def words(text: str, by_character: bool) -> list[str]:
    """The units of n-grams: whitespace-separated words, or characters for scripts without spaces."""
    return [c for c in text if not c.isspace()] if by_character else text.split()


def spaced(texts: Sequence[str]) -> bool:
    """Whether most of the texts contain spaces, so that they can be split into words."""
    return sum(any(c.isspace() for c in text.strip()) for text in texts) > len(texts) / 2


def distinct(texts: Sequence[str], order: int, by_character: bool) -> float:
    """The number of different n-grams of `order` over the number of all; 0 if there are none."""
    grams = [
        tuple(units[i : i + order])
        for units in (words(text, by_character) for text in texts)
        for i in range(len(units) - order + 1)
    ]
    return len(set(grams)) / len(grams) if grams else 0.0


def repetition(text: str, by_character: bool, order: int = 4) -> float | None:
    """The share of a text's n-grams of `order` that occur earlier in it; None if it is shorter than that."""
    units = words(text, by_character)
    grams = [tuple(units[i : i + order]) for i in range(len(units) - order + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else None


def self_bleu(texts: Sequence[str], by_character: bool) -> np.ndarray:
    """BLEU-4 of each text with all others as its references, in [0, 1], with shape (n,); n >= 2.

    Equals sacrebleu's sentence_score of texts split at spaces, with effective order and its "exp" smoothing.
    """
    cut = [words(text, by_character) for text in texts]
    lengths = Counter(len(units) for units in cut)
    matches, totals = np.zeros((len(cut), 4), int), np.zeros((len(cut), 4), int)
    for order in (1, 2, 3, 4):
        counts = [Counter(zip(*(units[i:] for i in range(order)), strict=False)) for units in cut]
        # For each n-gram the highest count, the text that has it, and the second highest: the maximum over all others.
        most: dict[tuple[str, ...], tuple[int, int, int]] = {}
        for i, grams in enumerate(counts):
            for gram, count in grams.items():
                first, where, second = most.get(gram, (0, -1, 0))
                most[gram] = (count, i, first) if count > first else (first, where, max(second, count))
        for i, grams in enumerate(counts):
            totals[i, order - 1] = grams.total()
            for gram, count in grams.items():
                first, where, second = most[gram]
                matches[i, order - 1] += min(count, second if where == i else first)
    return np.array([_bleu(m, t, len(u), lengths) for m, t, u in zip(matches, totals, cut, strict=True)])


def _bleu(matches: np.ndarray, totals: np.ndarray, length: int, lengths: Counter[int]) -> float:
    """BLEU of one text of `length` units; lengths: of all texts, including this one."""
    if not matches[0]:
        return 0.0
    others = [other for other, count in lengths.items() if other != length or count > 1]
    closest = min(others, key=lambda other: (abs(other - length), other))
    penalty, logs = 1.0, []
    for match, total in zip(matches, totals, strict=True):
        if not total:
            break
        if not match:
            penalty *= 2
        logs.append(log(match / total if match else 1 / (penalty * total)))
    return exp(min(0.0, 1 - closest / length) + sum(logs) / len(logs))


#: the trait of a text that contains a new word: misspelled words differ each time, so each alone would be too rare
NEW_WORD = "a word that no training text has"


def traits(text: str, by_character: bool, known: Container[str]) -> set[str]:
    """The named traits of a text: its words, its word pairs, and whether it has a word that is not in `known`."""
    units = words(text, by_character)
    between = "" if by_character else " "
    found = {f"“{unit}”" for unit in units} | {f"“{a}{between}{b}”" for a, b in itertools.pairwise(units)}
    return found if all(unit in known for unit in units) else found | {NEW_WORD}


def text_statistics(texts: Sequence[str], by_character: bool, seed: int = 0) -> dict[str, Estimate]:
    """Keys distinct_1 to distinct_3, self_bleu, repetition, length (in characters), repeated (equal to another text).

    repetition is the mean over texts of at least four units, and left out if there are none; self_bleu is left out
    for a single text, and its interval is over texts with the references fixed.
    """
    result = {
        f"distinct_{order}": jackknife_over(lambda part, k=order: distinct(part, k, by_character), [texts], seed)
        for order in (1, 2, 3)
    }
    if len(texts) > 1:
        result["self_bleu"] = mean(self_bleu(texts, by_character), seed)
    shares = [share for text in texts if (share := repetition(text, by_character)) is not None]
    if shares:
        result["repetition"] = mean(np.array(shares), seed)
    result["length"] = mean(np.array([len(text) for text in texts], np.float64), seed)
    seen: dict[str, int] = {}
    for text in texts:
        seen[text] = seen.get(text, 0) + 1
    result["repeated"] = proportion(sum(seen[text] > 1 for text in texts) / len(texts), len(texts))
    return result


def shuffled(texts: Sequence[str], rng: np.random.Generator) -> list[str]:
    """The texts with all their characters permuted: lengths and character counts are kept, the order is lost."""
    pool = np.array(list("".join(texts)))
    pool = pool[rng.permutation(len(pool))]
    stops = np.cumsum([len(text) for text in texts])
    return ["".join(pool[start:stop]) for start, stop in zip([0, *stops[:-1]], stops, strict=True)]


class Texts(Metric):
    """Statistics of a collection of texts: see `text_statistics`."""

    name = "texts"
    needs = "text"
    group = "Texts"
    floor = "held_out"
    measures = {
        "distinct_1": Measure("Distinct-1", "real", "Different words over all words.", True),
        "distinct_2": Measure("Distinct-2", "real", "Different word pairs over all word pairs.", True),
        "distinct_3": Measure("Distinct-3", "real", "Different word triples over all word triples.", True),
        "length": Measure("Mean length", "real", "Characters in a text."),
        "repeated": Measure("Repeated texts", "real", "The share of texts that equal another one.", True),
        "self_bleu": Measure(
            "Self-BLEU", "real", "The BLEU of each text with all others as references; high: low diversity.", True
        ),
        "repetition": Measure(
            "Repetition", "real", "The share of a text's 4-grams of words that occur earlier in it.", True
        ),
    }

    def __call__(self, real: Sequence[str], fake: Sequence[str], seed: int) -> dict[str, Estimate]:
        return text_statistics(fake, not spaced(real), seed)

    def protocol(self, real: Sequence[str]) -> Mapping[str, Any]:
        return {"by_character": not spaced(real)}

    def note(self, measure: str, real: Sequence[str], value: Estimate, floor: Estimate | None) -> str | None:
        if spaced(real) or measure in ("length", "repeated"):
            return None
        return "these texts have no spaces: each character counts as a word"
