"""Flipped labels are found, clean ones are left alone, and judges that know nothing say nothing."""

from __future__ import annotations

import numpy as np
import pytest
from planted import IMAGES, LABELS, flipped, gaussian, items_of, rates
from sklearn.datasets import load_breast_cancer

from likewise.quality.labels import balance, judge


@pytest.fixture(scope="module")
def digits():
    return items_of(IMAGES)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_flipped_labels_are_found(digits, seed):
    labels, where = flipped(0.03, seed)
    judged = judge(digits.x, digits.nearest, labels)
    precision, recall = rates([d.item for d in judged.doubts], where)
    assert precision >= 0.8
    assert recall >= 0.8
    right = [d.instead == str(LABELS[d.item]) for d in judged.doubts if d.item in where]
    assert np.mean(right) > 0.9


def test_clean_labels_are_left_alone(digits):
    judged = judge(digits.x, digits.nearest, [str(label) for label in LABELS])
    assert judged.knowing
    assert len(judged.doubts) <= 0.005 * len(LABELS)


def test_flipped_labels_of_rows_are_found():
    x, y = load_breast_cancer(return_X_y=True)
    where = np.random.default_rng(0).choice(len(y), 17, replace=False)
    y[where] = 1 - y[where]
    items = items_of(x)
    precision, recall = rates([d.item for d in judge(items.x, items.nearest, [str(v) for v in y]).doubts], where)
    assert precision >= 0.7
    assert recall >= 0.6


def test_judges_that_know_nothing_accuse_nobody():
    items = items_of(gaussian(400, 8))
    judged = judge(items.x, items.nearest, [str(i % 2) for i in range(400)])
    assert not judged.knowing
    assert judged.doubts == []
    assert judged.accuracy.low < 0.5 < judged.accuracy.high


def test_missing_labels_and_small_classes_are_not_judged(digits):
    labels = [None if i % 50 == 0 else "odd" if i % 400 == 1 else str(label) for i, label in enumerate(LABELS)]
    judged = judge(digits.x, digits.nearest, labels)
    assert judged.count == sum(label not in (None, "odd") for label in labels)
    assert judge(digits.x, digits.nearest, ["one"] * len(LABELS)) is None


def test_balance():
    found = balance(["a"] * 90 + ["b"] * 9 + ["c"] + [None] * 5)
    assert list(found.counts) == ["a", "b", "c"]
    assert (found.missing, found.ratio, found.rare, found.imbalanced) == (5, 90, ["b", "c"], True)
    even = balance(["a", "b", "c", "d"] * 25)
    assert even.effective == pytest.approx(4)
    assert not even.imbalanced
    assert not even.rare
    assert balance([None]).ratio == 1
