"""What gives samples away is named when it is there, and nothing is named when there is nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from likewise.metrics.distinguishing_traits import MOST_PER_TRAIT, distinguishing_traits
from likewise.metrics.text import NEW_WORD
from likewise.modalities.label import Label
from likewise.modalities.table import Table
from likewise.modalities.text import Text

ROWS, TEXTS = Table([]), Text()


def rows(count: int, seed: int, married: float = 0.0) -> list[dict[str, Any]]:
    """People of 10 to 60, married only from 20 on, but for a share `married` of the younger."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        age = int(rng.integers(10, 60))
        wed = rng.random() < (0.5 if age >= 20 else married)
        found.append({"age": age, "status": "married" if wed else "single", "pay": None if rng.random() < 0.2 else 1.5})
    return found


def test_a_broken_relation_is_named_by_both_its_columns() -> None:
    told, looked = distinguishing_traits(ROWS, rows(800, 0), rows(800, 1, married=0.9))
    assert looked > 20
    first = told[0]
    assert "age between 10 and " in first.trait
    assert "status = married" in first.trait
    assert first.real < 0.1 < first.fake
    assert first.z > 5


def test_a_column_that_is_off_and_one_that_is_missing() -> None:
    fake = [{**row, "pay": None if i % 2 else row["pay"], "status": "<odd>"} for i, row in enumerate(rows(400, 1))]
    said = {tell.trait: tell for tell in distinguishing_traits(ROWS, rows(400, 0), fake, most=30)[0]}
    assert said["status = <odd>"].real == 0
    assert said["status = <odd>"].fake == 1
    assert any("pay missing" in trait for trait in said)
    parts = [part for trait in said for part in trait.split(" and ") if part.startswith("status")]
    assert all(parts.count(part) <= MOST_PER_TRAIT for part in parts)


def test_words_and_pairs_of_words() -> None:
    rng = np.random.default_rng(0)
    words = np.array(["in", "the", "beginning", "was", "word", "and", "light", "of", "men"])
    real = [" ".join(rng.choice(words, 8)) for _ in range(300)]
    fake = [f"{text} verily verily" for text in real]
    told = {tell.trait: tell for tell in distinguishing_traits(TEXTS, real, fake)[0]}
    assert told["“verily”"].fake == 1
    assert "“verily verily”" in told
    typos = [f"{text} {chr(97 + i % 26)}{i}th" for i, text in enumerate(real)]
    assert [tell.trait for tell in distinguishing_traits(TEXTS, real, typos, train=real)[0]] == [NEW_WORD]
    characters, _ = distinguishing_traits(
        TEXTS, [c * 3 + "日本" for c in "甲乙丙丁" * 20], [c * 3 + "本日" for c in "甲乙丙丁" * 20]
    )
    assert {"“日本”", "“本日”"} <= {tell.trait for tell in characters}


def test_two_samples_of_one_distribution_are_seldom_told_apart() -> None:
    wrong = sum(
        bool(distinguishing_traits(ROWS, rows(150, 2 * trial), rows(150, 2 * trial + 1))[0]) for trial in range(40)
    )
    assert wrong <= 6  # Bonferroni promises at most 1 in 20 of them, 2 here


def test_what_has_no_names_has_no_tells() -> None:
    assert distinguishing_traits(Label(["a", "b"]), ["a"], ["b"]) == ([], 0)
