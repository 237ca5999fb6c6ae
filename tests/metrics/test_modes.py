"""Modes of planted samples: all, half, one, and unevenly many of each."""

from __future__ import annotations

import math

import numpy as np
import pytest

from likewise.metrics.modes import Clusters, modes


def test_all_half_and_one_mode():
    real = [i % 10 for i in range(1000)]
    everything = modes(real, [i % 10 for i in range(500)])
    assert everything["modes"].value == everything["modes"].low == 1
    assert everything["modes_kl"].value == pytest.approx(0)
    half = modes(real, [i % 5 for i in range(500)])
    assert half["modes"].value == 0.5
    assert half["modes_kl"].value == pytest.approx(math.log(2))
    one = modes(real, [3] * 500)
    assert one["modes"].value == 0.1
    assert one["modes_kl"].value == pytest.approx(math.log(10))
    assert one["modes_kl"].low <= one["modes_kl"].value <= one["modes_kl"].high


def test_uneven_shares_show_though_no_mode_is_missing():
    real = ["a"] * 50 + ["b"] * 50
    found = modes(real, ["a"] * 90 + ["b"] * 10)
    assert found["modes"].value == 1
    assert found["modes_kl"].value == pytest.approx(0.9 * math.log(1.8) + 0.1 * math.log(0.2))


def test_rare_modes_leave_doubt_and_strangers_do_not_count():
    real = [i % 10 for i in range(1000)]
    found = modes(real, [*[i % 9 for i in range(99)], 9])  # one of a hundred has the tenth
    assert found["modes"].value == 1
    assert found["modes"].low < 0.95
    assert modes(real, ["no such mode"] * 20)["modes"].value == 0
    with pytest.raises(ValueError, match="modes cannot be counted"):
        modes(real, [])


def test_clusters_stand_for_modes_without_names():
    rng = np.random.default_rng(0)
    centres = 10 * rng.normal(size=(8, 4))
    which = rng.integers(0, 8, 600)
    real, fresh = (centres[which] + 0.1 * rng.normal(size=(600, 4)) for _ in range(2))
    kinds = Clusters(real, 8)
    assert modes(kinds(real), kinds(fresh))["modes"].value == 1
    few = fresh[np.isin(which, [0, 1])]
    assert modes(kinds(real), kinds(few))["modes"].value <= 0.25
    assert Clusters(real, 8)(fresh) == kinds(fresh)
    assert set(Clusters(np.ones((50, 3)), 8)(np.ones((5, 3)))) == {0}
