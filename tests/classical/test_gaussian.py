"""The Gaussian against scikit-learn's shrinkage and SciPy's density."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf

from likewise.classical import gaussian
from likewise.classical.gaussian import Gaussian, Normal
from likewise.draws import Draws
from likewise.spaces import Continuous


def rows(count, size, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(count, size)) @ rng.normal(size=(size, size)) + rng.normal(size=size))


@pytest.mark.parametrize(("count", "size"), [(200, 10), (20, 50)])
def test_covariance_and_density_are_those_of_the_references(count, size):
    x = rows(count, size)
    found = Normal(x)
    deviation = found.deviation.numpy()
    standard = (x - found.mean).numpy() / deviation
    correlation, shrinkage = ledoit_wolf(standard, assume_centered=True)
    assert found.shrinkage == pytest.approx(shrinkage, rel=1e-9)
    truth = multivariate_normal(found.mean.numpy(), correlation * np.outer(deviation, deviation))
    other = rows(30, size, seed=1)
    assert found.log_prob(other).numpy() == pytest.approx(truth.logpdf(other.numpy()), rel=1e-9)
    assert found.spread().numpy() == pytest.approx(np.sqrt(np.diag(truth.cov_object.covariance)), rel=1e-9)


def test_samples_have_the_covariance():
    found = Normal(rows(20, 6))
    drawn = found.sample(Draws(0, torch.arange(60_000))).numpy()
    inverse = np.linalg.inv(np.cov(drawn.T))
    centred = drawn - drawn.mean(0)
    # the density at the samples is that of their own covariance
    own = -0.5 * ((centred @ inverse) * centred).sum(1) + 0.5 * np.linalg.slogdet(inverse)[1] - 3 * np.log(2 * np.pi)
    assert found.log_prob(torch.from_numpy(drawn)).mean().item() == pytest.approx(own.mean(), abs=0.01)


def test_many_numbers_keep_their_leading_components(monkeypatch):
    x = rows(80, 3) @ torch.from_numpy(np.random.default_rng(1).normal(size=(3, 40)))
    x = x + 0.01 * rows(80, 40, seed=2)
    whole = Normal(x)
    monkeypatch.setattr(gaussian, "_WHOLE", 30)
    monkeypatch.setattr(gaussian, "_ITEMS", 80)
    components = Normal(x)
    assert components.shrinkage == pytest.approx(whole.shrinkage)
    assert components.log_prob(x).numpy() == pytest.approx(whole.log_prob(x).numpy(), rel=1e-6)


def test_few_and_equal_items_give_finite_numbers():
    for x in (torch.ones(1, 4), torch.ones(9, 4), torch.tensor([[0.0, 1, 2, 3]] * 3 + [[1.0, 1, 2, 4]])):
        found = Normal(x)
        assert found.log_prob(x).isfinite().all()
        drawn = found.sample(Draws(0, torch.arange(50)))
        assert (drawn - x.mean(0)).abs().max() < 4


def test_pictures_are_drawn_on_levels_and_rows_with_one_choice():
    picture, row = Continuous((1, 3, 3), levels=4), Continuous((4,), choices=((1, 4),))
    for space in (picture, row):
        x = Draws(1, torch.arange(40)).uniform(*space.shape) * 2 - 1
        drawn = Gaussian(x, space).sample(Draws(2, torch.arange(300)))
        if space.levels:
            assert set(drawn.unique().tolist()) <= {-0.75, -0.25, 0.25, 0.75}
        else:
            assert torch.equal(drawn[:, 1:].sum(1), torch.ones(300))
