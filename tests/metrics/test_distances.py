"""What each distance must and must not react to; `test_equality` has the values that reference packages agree on."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from vectors import X, Y

from likewise.metrics.features import Projection
from likewise.metrics.frechet import frechet, kid
from likewise.metrics.neighbours import duplicates, nearest, neighbours


def test_distance_is_zero_on_average_for_one_distribution_and_grows_with_the_shift() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(800, 6))
    values = [kid(x, rng.normal(size=(800, 6)) + shift)["kid"] for shift in (0.0, 0.3, 0.8)]
    assert values[0].low < 0 < values[0].high
    assert values[0].high < values[1].value < values[1].high < values[2].low
    limit = frechet(x, rng.normal(size=(800, 6)))["frechet_infinity"]
    assert limit.low < 0 < limit.high


def test_collapsed_model_has_high_precision_and_low_recall() -> None:
    rng = np.random.default_rng(2)
    real = rng.normal(size=(400, 8))
    collapsed = real[:3].repeat(134, 0)[:400] * 0.9 + rng.normal(size=(400, 8)) * 0.02
    found = neighbours(rng.normal(size=(400, 8)), collapsed)
    assert found["precision"].value > 0.9
    assert found["recall"].value < 0.1
    assert found["coverage"].value < 0.3
    spread = neighbours(real, rng.normal(size=(400, 8)) * 3)
    assert spread["precision"].value < 0.4
    assert spread["recall"].value > 0.8


def test_a_generator_collapsed_to_one_kind_of_digit_has_high_precision_and_low_recall() -> None:
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(5).permutation(len(pixels))  # as they come, halves are by different hands
    features, labels = Projection.fit(pixels, 32)(pixels)[order], labels[order]
    real, zeros = features[900:], features[:900][labels[:900] == 0]
    rng = np.random.default_rng(4)
    # It draws zeros only, each somewhere between two real ones.
    first, second = zeros[rng.integers(0, len(zeros), 400)], zeros[rng.integers(0, len(zeros), 400)]
    found = neighbours(real, first + (second - first) * rng.uniform(0, 0.3, (400, 1)))
    fresh = neighbours(real, features[:900])
    # As precise as real zeros, which is what there is to reach; the margin is two standard errors of their number.
    assert found["precision"].value > neighbours(real, zeros)["precision"].value - 0.07
    assert found["precision"].value > 0.8
    assert found["recall"].high < 0.2
    assert found["coverage"].high < 0.2
    assert min(fresh["recall"].value, fresh["coverage"].value) > 0.8


def test_identical_items_match_themselves_and_are_reported() -> None:
    same = np.ones((40, 3))
    found = neighbours(same, same)
    assert found["precision"].value == found["recall"].value == found["coverage"].value == 1.0
    assert duplicates(same) == 1.0
    assert duplicates(np.arange(12.0).reshape(4, 3)) == 0.0


def test_nearest_finds_the_nearest_other_row() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(600, 4))
    distance, index = nearest(x, x, 2, skip_self=True)
    whole = np.linalg.norm(x[:, None] - x, axis=-1) + np.diag(np.full(600, np.inf))
    assert (index[:, 0] == whole.argmin(1)).all()
    assert distance[:, 0] == pytest.approx(whole.min(1))
    assert (distance[:, 0] <= distance[:, 1]).all()


def test_same_seed_same_interval() -> None:
    assert kid(X, Y, seed=4) == kid(X, Y, seed=4)
    assert neighbours(X, Y, seed=4) == neighbours(X, Y, seed=4)
    assert kid(X, Y, seed=4) != kid(X, Y, seed=5)


@pytest.mark.parametrize("function", [frechet, kid, neighbours])
def test_too_few_items_are_refused(function) -> None:
    with pytest.raises(ValueError, match="need"):
        function(X[:1], Y[:1])
