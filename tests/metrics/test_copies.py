"""Planted copies are found, and nothing is found where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from likewise.metrics.copies import copy_check
from likewise.metrics.features import Projection


def clouds(seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=(n, 8)) for n in (600, 300, 600))


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    pixels = load_digits().data
    return Projection.fit(pixels, 32)(pixels)


def planted(digits: np.ndarray, trials: int) -> tuple[int, int, int]:
    """How often a model of real digits that no one has seen is flagged: as it is, and with 1% exact or near copies."""
    false_alarms = exact = near = 0
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        order = rng.permutation(len(digits))
        train, held_out, fake = np.split(digits[order], [1097, 1297])
        false_alarms += copy_check(train, held_out, fake).flagged
        copies = train[rng.permutation(len(train))[: len(fake) // 100]]
        for noise in (0.0, 0.03):
            with_copies = fake.copy()
            with_copies[: len(copies)] = copies + rng.normal(size=copies.shape) * noise
            found = copy_check(train, held_out, with_copies)
            assert {*range(len(copies))} <= {*found.copied.tolist()}
            exact, near = exact + (found.flagged and not noise), near + (found.flagged and noise > 0)
    return false_alarms, exact, near


def test_one_percent_of_copies_is_flagged_and_none_is_not(digits: np.ndarray) -> None:
    false_alarms, exact, near = planted(digits, 12)
    assert false_alarms <= 1
    assert exact == near == 12


@pytest.mark.slow
def test_one_percent_of_copies_in_a_hundred_trials(digits: np.ndarray) -> None:
    false_alarms, exact, near = planted(digits, 100)
    assert false_alarms <= 5
    assert exact >= 95
    assert near >= 95


def test_what_training_data_hold_more_than_once_is_no_sign_of_copying() -> None:
    train, held_out, fake = clouds(3)
    phrase = train[0]
    train[:30] = phrase
    fake[:30] = phrase
    check = copy_check(train, held_out, fake)
    assert check.exact.value == pytest.approx(0.05)
    assert not check.flagged


def test_says_which_are_copies_and_of_what() -> None:
    train, held_out, fake = clouds(0)
    fake[[3, 77]] = train[[5, 9]]
    check = copy_check(train, held_out, fake)
    assert {3, 77} <= set(check.copied.tolist())
    assert check.neighbours[3, 0] == 5
    assert check.distances[77, 0] == 0
    assert check.exact.value == pytest.approx(2 / 600)
    assert check.exact_real.value == 0


def test_memorising_shows_in_the_rank_statistic_and_in_authenticity() -> None:
    train, held_out, fake = clouds(1)
    near = train + np.random.default_rng(5).normal(size=train.shape) * 0.3
    check = copy_check(train, held_out, near)
    assert check.flagged
    assert check.z < -3
    assert check.authenticity.high < check.authenticity_real.low
    assert not copy_check(train, held_out + 2, fake, alike=False).flagged
    assert copy_check(train, held_out + 2, fake).z < -3
    fresh = copy_check(train, held_out, fake)
    assert abs(fresh.z) < 3
    assert fresh.authenticity.low < 0.55 < fresh.authenticity.high + 0.1


def test_discrete_data_that_repeat_by_nature_are_no_copies() -> None:
    rng = np.random.default_rng(6)
    train, held_out, fake = (rng.integers(0, 3, size=(n, 3)).astype(float) for n in (400, 200, 400))
    check = copy_check(train, held_out, fake)
    assert check.exact.value > 0.9
    assert not check.flagged


def test_rows_that_repeat_are_judged_by_how_often_training_rows_do() -> None:
    """Equal rows never straddle a split, so held-out rows cannot say how often fresh rows equal a training row."""
    rng = np.random.default_rng(7)
    values = rng.normal(size=(400, 4))

    def draw(low: int, high: int, n: int) -> np.ndarray:
        return values[rng.zipf(1.5, 10 * n) % (high - low) + low][:n]

    train, held_out, fake = draw(0, 380, 500), draw(380, 400, 100), draw(0, 400, 500)
    check = copy_check(train, held_out, fake)
    assert check.reference == "training"
    assert not check.flagged
    assert check.exact_real.value > 0.5
    fake[:] = train[rng.integers(0, 500, 500)]
    assert copy_check(train, held_out, fake).exact.value == 1
