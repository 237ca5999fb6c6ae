"""Planted near copies are found; in clean data of any dimension about one chance pair is."""

from __future__ import annotations

import numpy as np
import pytest
from planted import IMAGES, gaussian, items_of, rates

from likewise.quality.duplicates import dimension, groups, near_pairs


def test_planted_near_copies_are_found():
    rng = np.random.default_rng(0)
    where = rng.choice(len(IMAGES), 50, replace=False)
    change = rng.integers(-1, 2, (50, 64)) * (rng.random((50, 64)) < 0.3)  # of 16 grey levels, one more or less
    copies = (IMAGES[where] + change).clip(0, 16)
    found = near_pairs(items_of(np.concatenate([IMAGES, copies])))
    planted = [(int(i), len(IMAGES) + k) for k, i in enumerate(where)]
    precision, recall = rates(found, planted)
    assert recall >= 0.9
    assert precision >= 0.8


def test_clean_digits_have_hardly_any():
    assert len(near_pairs(items_of(IMAGES))) <= 0.003 * len(IMAGES)


@pytest.mark.parametrize("dimensions", [2, 5, 20])
def test_chance_pairs_are_about_one(dimensions):
    counts = [len(near_pairs(items_of(gaussian(600, dimensions, seed), raw=True))) for seed in range(8)]
    assert np.mean(counts) <= 2


@pytest.mark.parametrize("dimensions", [2, 5])
def test_dimension(dimensions):
    flat = np.concatenate([gaussian(1500, dimensions), np.zeros((1500, 10))], 1)
    assert dimension(items_of(flat, raw=True)) == pytest.approx(dimensions, rel=0.15)


def test_groups_are_connected_and_the_largest_first():
    assert groups(9, [(0, 1), (5, 6), (6, 8), (1, 0)]) == [[5, 6, 8], [0, 1]]
    assert groups(3, []) == []


def test_too_few_items_have_no_scale():
    assert near_pairs(items_of(gaussian(3, 2), raw=True)) == []
