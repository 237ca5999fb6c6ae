"""MAUVE, membership attacks and usefulness: at both ends of their scales, and where the truth is known."""

from __future__ import annotations

from math import gamma

import numpy as np
import pytest

from likewise.metrics import table
from likewise.metrics.mauve import frontier_area, mauve
from likewise.metrics.membership import attack_score, distance_attack
from likewise.metrics.text import repetition, text_statistics
from likewise.metrics.usefulness import ColumnPrediction


def test_mauve_is_the_area_it_says() -> None:
    equal, apart = np.array([0.3, 0.7, 0.0]), np.array([0.0, 0.0, 1.0])
    assert frontier_area(equal, equal) == pytest.approx(1)
    # Nothing shared: the area is c B(c + 1, c), as the frontier is ((1 - w)^c, w^c).
    assert frontier_area(equal, apart) == pytest.approx(5 * gamma(6) * gamma(5) / gamma(11), rel=0.01)
    halfway = frontier_area(np.array([0.5, 0.5]), np.array([0.8, 0.2]))
    assert halfway == pytest.approx(frontier_area(np.array([0.8, 0.2]), np.array([0.5, 0.5])), rel=1e-6)
    assert frontier_area(np.array([0.5, 0.5]), np.array([0.6, 0.4])) > halfway > 0.1


def test_mauve_falls_with_the_shift() -> None:
    rng = np.random.default_rng(0)
    real = rng.normal(size=(600, 5))
    found = [mauve(real, rng.normal(size=(600, 5)) + shift) for shift in (0.0, 0.4, 3.0)]
    assert found[0].high > 0.95
    assert found[0].low > found[1].high > found[1].low > found[2].high
    assert found[2].value < 0.05
    with pytest.raises(ValueError, match="at least 20"):
        mauve(real[:5], real)


def test_membership_attacks_find_what_was_memorised_and_guess_otherwise() -> None:
    rng = np.random.default_rng(1)
    members, others, fresh = (rng.normal(size=(300, 6)) for _ in range(3))
    guess = distance_attack(members, others, fresh)
    assert guess.low < 0.5 < guess.high
    noisy = distance_attack(members, others, members + rng.normal(size=members.shape) * 0.3)
    assert noisy.low > 0.85
    assert attack_score(np.ones(20), np.ones(30)).value == 0.5
    assert attack_score(np.arange(10) + 100.0, np.arange(12.0)).value == 1
    with pytest.raises(ValueError, match="two of each"):
        attack_score(np.ones(1), np.ones(5))


def test_membership_interval_covers_the_truth() -> None:
    covered = 0
    for trial in range(100):
        rng = np.random.default_rng(trial)
        found = attack_score(rng.normal(size=60) + 0.5, rng.normal(size=50), trial)
        covered += found.low <= 0.6382 <= found.high  # Phi(0.5 / sqrt 2)
    assert covered >= 88


def rows(n: int, seed: int) -> list[dict]:
    """b says a's sign, with one in five wrong; c is empty where b says no."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    b = (a > 0) ^ (rng.random(n) < 0.2)
    return [
        {"a": float(x), "b": "yes" if y else "no", "c": float(x * x) if y else None} for x, y in zip(a, b, strict=True)
    ]


def test_usefulness_is_what_the_columns_tell_of_one_another() -> None:
    train, test = rows(600, 0), rows(400, 1)
    task = ColumnPrediction(train, test)
    real, fresh = task.score(train), task.score(rows(600, 2))
    broken = task.score(table.shuffled(train, np.random.default_rng(3)))
    assert fresh.low < real.high
    assert real.low < fresh.high
    assert broken.high < real.low - 0.2
    with pytest.raises(ValueError, match="needs at least two"):
        ColumnPrediction([{"a": 1.0}], [{"a": 1.0}])


def test_repetition_and_self_bleu_see_loops_and_monotony() -> None:
    assert repetition("a b c d a b c d", False) == pytest.approx(1 / 5)
    assert repetition("a b c", False) is None
    assert repetition("山高水長山高水長", True) == pytest.approx(1 / 5)
    varied = [f"{a} likes {b} and {c}" for a, b, c in zip("abcdefgh", "ijklmnop", "qrstuvwx", strict=True)]
    found, same = (text_statistics(texts, False) for texts in (varied, ["one and the same words here"] * 8))
    assert same["self_bleu"].value == pytest.approx(1)
    assert found["self_bleu"].value < 0.3
    assert found["repetition"].value == 0
    assert "repetition" not in text_statistics(["a b", "c"], False)
