"""Likelihoods against the truth, where it is known."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from toys import Returns, draws

from likewise.backbones.mlp import MLP
from likewise.backbones.recurrent import GRU
from likewise.families.autoregressive import Autoregressive
from likewise.families.decoder_distributions import DecoderDistribution, dequantise
from likewise.families.flow import MARGIN, Flow
from likewise.families.vae import VAE
from likewise.spaces import Continuous, Tokens, Unfit, from_index, to_index

SMALL = MLP(width=16, depth=1)


@pytest.mark.parametrize("levels", [2, 3, 256])
def test_levels_and_bins_go_together_in_both_readings(levels):
    index = torch.arange(levels)
    assert torch.equal(to_index(from_index(index, levels), levels), index)
    if levels > 2:
        assert torch.equal(to_index(2 * index / (levels - 1) - 1, levels), index)  # from end to end of [-1, 1]
    x = dequantise(from_index(index, levels)[:, None], levels, draws(levels))[:, 0]
    assert torch.equal(to_index(x, levels), index)


@pytest.mark.parametrize("kind", ["discretised_logistic", "categorical"])
def test_masses_of_levels_add_up_to_one(kind):
    space = Continuous((1,), levels=5)
    observed = DecoderDistribution(space, kind)
    output = torch.randn(1, observed.output.channels, generator=torch.Generator().manual_seed(1)).expand(5, -1)
    x = from_index(torch.arange(5), 5)[:, None]
    density = observed.log_prob(x, output).exp()
    torch.testing.assert_close((density * 2 / 5).sum(), torch.tensor(1.0))


def test_a_bernoulli_of_two_levels_adds_up_to_one():
    observed = DecoderDistribution(Continuous((1,), levels=2), "bernoulli")
    x = torch.tensor([[-1.0], [1.0]])
    total = observed.log_prob(x, torch.full((2, 1), 0.7)).exp().sum()
    torch.testing.assert_close(total, torch.tensor(1.0))
    assert observed.proper
    assert not DecoderDistribution(Continuous((1,), levels=3), "bernoulli").proper


@pytest.mark.parametrize("kind", ["gaussian", "discretised_logistic", "categorical", "bernoulli"])
def test_draws_follow_the_likelihood(kind):
    observed = DecoderDistribution(Continuous((1,), levels=9), kind)
    output = torch.randn(1, observed.output.channels, generator=torch.Generator().manual_seed(2)) * 0.2
    x = observed.draw(output.expand(20_000, -1), draws(20_000))
    assert x.abs().max() <= 1
    torch.testing.assert_close(x.mean(), observed.mean(output).mean(), atol=0.08, rtol=0)
    if kind in ("discretised_logistic", "categorical"):
        share = torch.bincount(to_index(x, 9)[:, 0], minlength=9) / 20_000
        mass = observed.log_prob(from_index(torch.arange(9), 9)[:, None], output.expand(9, -1)).exp() * 2 / 9
        torch.testing.assert_close(share, mass.detach(), atol=0.02, rtol=0)


def test_a_likelihood_without_levels_is_refused_in_one_line():
    with pytest.raises(ValueError, match="gaussian fits"):
        VAE(likelihood="categorical").build(Continuous((2,)), {}, SMALL)


def _linear_gaussian(samples: int):
    """p(z) = N(0, 1), p(x|z) = N((2z, -z), 0.5^2 I), with a q(z|x) that is near the posterior but not equal to it."""
    model = VAE(latent=1, importance_samples=samples).build(Continuous((2,)), {}, SMALL)
    way = torch.tensor([2.0, -1.0])
    variance = 1 / (1 + way.square().sum() / 0.25)
    mean = variance / 0.25 * way
    model.encoder = Returns(lambda x, c: torch.stack((x @ mean, 0.5 * (1.3 * variance).log() + 0.05 + 0 * x[:, 0]), 1))
    model.decoder = Returns(lambda z, c: z * way)
    model.observed.log_scale.data.fill_(math.log(0.5) / 10)
    truth = torch.distributions.MultivariateNormal(torch.zeros(2), torch.outer(way, way) + 0.25 * torch.eye(2))
    return model, truth


def test_the_bound_is_between_elbo_and_truth_and_closes_with_more_samples():
    few, truth = _linear_gaussian(1)
    many, _ = _linear_gaussian(100)
    x = draws(2000, 5).normal(2) @ torch.linalg.cholesky(truth.covariance_matrix).T
    elbo = -few.held_out(x, None, draws(2000))[0].mean()
    one = few.log_likelihood(x, None, draws(2000)).mean()
    hundred = many.log_likelihood(x, None, draws(2000)).mean()
    exact = truth.log_prob(x).mean()
    torch.testing.assert_close(one, elbo, atol=0.02, rtol=0)
    assert one < hundred < exact + 1e-3
    assert exact - hundred < 0.01
    assert exact - elbo > 0.005


@pytest.mark.parametrize("end", [None, 1])
def test_autoregressive_probabilities_add_up_to_one(end):
    space = Tokens(3, 3, end=end)
    torch.manual_seed(0)
    model = Autoregressive().build(space, {}, GRU(width=16, depth=1)).eval()
    items = [t for t in itertools.product(range(3), repeat=3) if end is None or _padded(t, end)]
    total = model.log_likelihood(torch.tensor(items), None, draws(len(items))).exp().sum()
    torch.testing.assert_close(total, torch.tensor(1.0))


def _padded(tokens, end) -> bool:
    return end not in tokens or all(t == end for t in tokens[tokens.index(end) :])


def test_autoregressive_probabilities_add_up_to_one_within_ranges():
    space = Tokens(2, 5, ranges=((0, 2), (2, 5)))
    torch.manual_seed(0)
    model = Autoregressive().build(space, {}, GRU(width=16, depth=1)).eval()
    items = torch.tensor(list(itertools.product(range(2), range(2, 5))))
    torch.testing.assert_close(model.log_likelihood(items, None, draws(6)).exp().sum(), torch.tensor(1.0))
    x = model.sample(None, draws(50), Autoregressive().sampling)
    assert (x[:, 0] < 2).all()
    assert (x[:, 1] >= 2).all()


@pytest.mark.parametrize("path", ["linear", "ddpm", "edm"])
@pytest.mark.parametrize("size", [2, 20])
def test_a_flow_of_gaussians_has_their_likelihood(path, size):
    """With the best possible network for x ~ N(0, deviation^2) what is left is the solver's error."""
    model = Flow(path=path).build(Continuous((size,)), {}, SMALL)
    deviation = torch.linspace(0.3, 1.5, size)

    def best(x, t, c):
        alpha, sigma = (s[:, None] for s in model.path.alpha_sigma(t))
        x_t = x / model.path.input_scale(alpha, sigma)
        variance = (alpha * deviation) ** 2 + sigma**2
        return model.path.target(sigma / variance * x_t, alpha * deviation**2 / variance * x_t, alpha, sigma)

    model.network = Returns(best)
    x = draws(200, 4).normal(size) * deviation
    truth = torch.distributions.Normal(torch.zeros(size), deviation).log_prob(x).sum(1)
    found = model.log_likelihood(x, None, draws(200))
    # The network is linear, so that Hutchinson's probe is exact too.
    torch.testing.assert_close(found, truth, atol=0.02 * size**0.5, rtol=0.01)
    drawn = model.sample(None, draws(4000), Flow().sampling)
    torch.testing.assert_close(drawn.std(0), deviation, atol=0.03, rtol=0.1)


def test_a_flow_over_levels_counts_in_the_datas_own_units():
    """A flow that leaves N(0, s^2) noise as it is: the density of a bin's place, averaged over the bin."""
    model = Flow().build(Continuous((1,), levels=4), {}, SMALL)
    model.network = Returns(lambda x, t, c: 0 * x)
    x = from_index(torch.tensor([0, 1, 2, 3]), 4)[:, None].repeat(500, 1)
    found = model.log_likelihood(x, None, draws(2000)).exp()
    assert found.isfinite().all()
    # The mean densities of the four bins times their width make up what a normal law has between their ends, of which
    # the first and the last bin stand a margin further out.
    share = float((found.view(500, 4).mean(0) * 0.5).sum())
    below = [0.5 * math.erf(end / 0.5 / math.sqrt(2)) for end in (0.5, 0.5 + MARGIN, 1 + MARGIN)]
    inside = 2 * (below[0] + below[2] - below[1])
    assert share == pytest.approx(inside, abs=0.03)
    assert share <= 1


def test_one_hot_channels_have_no_flow_likelihood():
    model = Flow().build(Continuous((3,), choices=((0, 2),)), {}, SMALL)
    assert model.likelihood is None
    with pytest.raises(Unfit, match="no likelihood of"):
        model.log_likelihood(torch.zeros(1, 3), None, draws(1))
