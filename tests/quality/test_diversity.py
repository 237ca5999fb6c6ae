"""The Vendi score on kernels whose score is known, and curves that grow or do not."""

from __future__ import annotations

import numpy as np
import pytest
from planted import gaussian, items_of

from likewise.quality.diversity import diversity, doublings, vendi


def test_vendi_of_known_kernels():
    assert vendi(np.eye(7)) == pytest.approx(7)
    assert vendi(np.ones((7, 7))) == pytest.approx(1)
    assert vendi(np.kron(np.eye(3), np.ones((4, 4)))) == pytest.approx(3)


def test_few_kinds_gain_nothing_from_twice_the_data():
    rng = np.random.default_rng(0)
    same = 50 * gaussian(5, 10)[rng.integers(0, 5, 800)] + 1e-3 * rng.normal(size=(800, 10))
    few = diversity(items_of(same, raw=True))
    assert few.vendi[-1][1] == pytest.approx(5, abs=0.2)
    assert few.gain < 1.05


def test_many_dimensions_gain_much():
    flat, deep = (diversity(items_of(gaussian(800, d), raw=True)) for d in (2, 30))
    assert flat.gain < 1.1
    assert deep.gain > 1.8
    assert 0 < deep.nearer < 0.05 < flat.nearer


def test_curves_are_monotone():
    found = diversity(items_of(gaussian(300, 4), raw=True))
    scores, distances = ([v for _, v in curve] for curve in (found.vendi, found.nearest))
    assert scores == sorted(scores)
    assert distances == sorted(distances, reverse=True)
    assert [n for n, _ in found.vendi] == doublings(300)


def test_doublings():
    assert doublings(100) == [25, 50, 100]
    assert doublings(3) == [3]
    tiny = diversity(items_of(gaussian(3, 2), raw=True))
    assert tiny.gain is None
    assert tiny.nearer is None
