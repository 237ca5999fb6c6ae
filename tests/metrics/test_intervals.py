"""Intervals hold the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from likewise.metrics.frechet import kid
from likewise.metrics.intervals import groups_of, jackknife_over, mean, proportion, ratio_of_sums
from likewise.metrics.neighbours import neighbours

pytestmark = pytest.mark.full


def share_covered(interval_of, truth: float, trials: int = 100) -> float:
    found = [interval_of(np.random.default_rng(trial), trial) for trial in range(trials)]
    return float(np.mean([each.low <= truth <= each.high for each in found]))


def test_proportion_covers_the_truth() -> None:
    assert share_covered(lambda rng, _: proportion(rng.binomial(80, 0.1) / 80, 80), 0.1, 400) > 0.92


def test_bootstrap_of_a_ratio_covers_the_truth() -> None:
    def one(rng: np.random.Generator, seed: int):
        lengths = rng.integers(5, 50, 150).astype(float)
        return ratio_of_sums(lengths * 2.0 + rng.normal(size=150) * 10, lengths, seed)

    assert share_covered(one, 2.0) >= 0.88


def test_jackknife_covers_the_truth() -> None:
    assert share_covered(lambda rng, s: jackknife_over(np.mean, [rng.exponential(size=120)], s), 1.0) >= 0.88


def test_kid_covers_the_truth() -> None:
    # The truth is taken from large samples, whose own error is far below one interval.
    rng = np.random.default_rng(99)
    truth = kid(rng.normal(size=(4000, 2)), rng.normal(size=(4000, 2)) + 0.5)["kid"].value
    covered = share_covered(lambda r, s: kid(r.normal(size=(100, 2)), r.normal(size=(100, 2)) + 0.5, s)["kid"], truth)
    assert covered >= 0.88


def test_precision_covers_its_mean_at_the_same_n() -> None:
    def one(rng: np.random.Generator, seed: int):
        return neighbours(rng.normal(size=(80, 3)), rng.normal(size=(80, 3)) * 1.5, seed=seed)["precision"]

    truth = float(np.mean([one(np.random.default_rng(1000 + i), i).value for i in range(100)]))
    assert share_covered(one, truth, 60) >= 0.9


def test_edges() -> None:
    assert proportion(0.0, 50).low == 0.0
    assert 0.0 < proportion(0.0, 50).high < 0.1
    assert proportion(1.0, 50).high == 1.0
    assert np.isnan(mean(np.array([2.0])).low)
    sizes = np.bincount(groups_of(103, 0))
    assert len(sizes) == 20
    assert sizes.max() - sizes.min() <= 1
    assert mean(np.array([1.0, 1.0, 1.0])).high == 1.0
