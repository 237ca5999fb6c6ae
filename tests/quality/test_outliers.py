"""Planted outliers are found; few are in clean data."""

from __future__ import annotations

import numpy as np
import pytest
from planted import IMAGES, gaussian, items_of, rates

from likewise.quality.outliers import outliers, scores


def test_planted_outliers_are_found():
    noise = np.random.default_rng(0).integers(0, 17, (15, 64))
    found = [o.item for o in outliers(items_of(np.concatenate([IMAGES, noise])))]
    precision, recall = rates(found, range(len(IMAGES), len(IMAGES) + 15))
    assert recall == 1
    assert precision >= 0.8


@pytest.mark.parametrize("dimensions", [3, 10, 40])
def test_few_in_clean_data(dimensions):
    share = [len(outliers(items_of(gaussian(1000, dimensions, seed)))) / 1000 for seed in range(5)]
    assert np.mean(share) <= 0.01


def test_few_in_clean_digits():
    assert len(outliers(items_of(IMAGES))) <= 0.005 * len(IMAGES)


def test_distances_that_hardly_vary_have_no_outliers():
    assert not scores(np.array([1.0] * 50 + [9.0])).any()
    assert not scores(np.zeros(5)).any()
