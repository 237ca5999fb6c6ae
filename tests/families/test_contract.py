"""What every family promises: refusals, independence of items, accumulation, and terms by name."""

from __future__ import annotations

import pytest
import torch
from toys import draws, gradients

from likewise.assemble import assemble
from likewise.backbones.mlp import MLP
from likewise.backbones.none import NoBackbone
from likewise.backbones.recurrent import GRU
from likewise.families.autoregressive import Autoregressive
from likewise.families.baselines import Copula, Gaussian, Marginals, NGram, Resample
from likewise.families.flow import Flow
from likewise.families.gan import GAN
from likewise.families.solvers import FlowSampling
from likewise.families.vae import VAE
from likewise.spaces import Continuous, Tokens, Unfit

PICTURE = Continuous((1, 4, 4), levels=16)
ROW = Continuous((6,), choices=((1, 3), (3, 6)))
WORD = Tokens(6, 5, end=4, mean_length=4.0)
LABEL = {"label": Tokens(1, 3)}
CODES = Tokens(3, 9, ranges=((0, 2), (2, 5), (5, 9)))
SMALL = MLP(width=16, depth=1)
NONE = NoBackbone()

COMBINATIONS = [
    (VAE(latent=3), PICTURE, SMALL),
    (VAE(latent=3), ROW, SMALL),
    (VAE(latent=3, likelihood="categorical"), PICTURE, SMALL),
    (VAE(latent=3, likelihood="bernoulli"), PICTURE, SMALL),
    (VAE(latent=3, likelihood="gaussian"), PICTURE, SMALL),
    (VAE(latent=3), WORD, GRU(width=16, depth=1)),
    (GAN(latent=3), PICTURE, SMALL),
    (GAN(latent=3), ROW, SMALL),
    (GAN(latent=3, loss="wasserstein_gp"), PICTURE, SMALL),
    (GAN(latent=3, spectral_norm=True), PICTURE, SMALL),
    (Autoregressive(), WORD, GRU(width=16, depth=1)),
    (Flow(), PICTURE, SMALL),
    (Flow(path="ddpm"), PICTURE, SMALL),
    (Flow(few_step=True, sampling=FlowSampling(sampler="jump", steps=2, guidance_scale=2.0)), PICTURE, SMALL),
    (Flow(few_step=True, path="edm"), ROW, SMALL),
    (Flow(time_sampling="uniform", loss_weighting="min_snr"), PICTURE, SMALL),
    (Flow(path="edm", sampling=FlowSampling(sampler="dpm_solver_pp", guidance_scale=2.0)), ROW, SMALL),
    *[(family, space, NONE) for family in (Resample(), Marginals()) for space in (PICTURE, ROW, CODES, WORD)],
    *[(Gaussian(), space, NONE) for space in (PICTURE, ROW)],
    *[(Copula(), space, NONE) for space in (PICTURE, ROW, CODES)],
    *[(NGram(), space, NONE) for space in (CODES, WORD)],
]


def _name(part) -> str:
    return getattr(part, "name", str(part))


def _some(space, count, seed=1):
    source = draws(count, seed)
    if isinstance(space, Tokens):
        if space.ranges:
            return torch.stack([low + source.integers(high - low) for low, high in space.ranges], 1)
        x = source.integers(space.vocabulary, space.length)
        ended = (x == space.end).cumsum(1) > 0
        return x.masked_fill(ended, space.end)
    x = source.uniform(*space.shape) * 2 - 1
    for start, stop in space.choices:
        group = x[:, start:stop]
        x[:, start:stop] = torch.zeros_like(group).scatter(1, group.argmax(1, keepdim=True), 1.0)
    return x


def _condition(count):
    return {"label": draws(count, 2).integers(3, 1)}


@pytest.fixture(params=COMBINATIONS, ids=lambda p: f"{p[0].name}-{p[1]}")
def built(request):
    family, space, backbone = request.param
    torch.manual_seed(0)
    model = family.build(space, LABEL, backbone)
    if not model.players():
        model.observe(_some(space, 60, seed=4), _condition(60))
    return family, model, space


@pytest.mark.parametrize(
    ("family", "space", "fits"),
    [
        (GAN(), WORD, "vae"),
        (Flow(), WORD, "autoregressive"),
        (Autoregressive(), ROW, "flow"),
        (Gaussian(), WORD, "ngram"),
        (Copula(), WORD, "marginals"),
        (NGram(), ROW, "gaussian"),
    ],
    ids=_name,
)
def test_a_refusal_names_what_fits(family, space, fits):
    why = family.roles(space)
    assert isinstance(why, str)
    assert why.startswith(family.name)
    with pytest.raises(Unfit, match=f"fits.*{fits}") as refusal:
        assemble(space, {}, family, MLP() if family.has_networks else NoBackbone())
    assert str(refusal.value).startswith(why)


def test_samples_lie_in_the_space(built):
    family, model, space = built
    x = model.eval().sample(_condition(5), draws(5), family.sampling)
    if isinstance(space, Tokens):
        assert x.shape == (5, space.length)
        assert x.dtype == torch.int64
        assert ((x >= 0) & (x < space.vocabulary)).all()
    else:
        assert x.shape == (5, *space.shape)
        assert x.isfinite().all()
        assert space.levels is None or (x.abs() <= 1).all()
    assert not x.requires_grad


def test_an_item_does_not_depend_on_its_batch(built):
    family, model, _ = built
    model.eval()
    c = _condition(8)
    whole = model.sample(c, draws(8), family.sampling)
    part = model.sample({"label": c["label"][3:6]}, draws(3, start=3), family.sampling)
    torch.testing.assert_close(whole[3:6], part, atol=1e-5, rtol=1e-4)
    other = {"label": torch.cat((2 - c["label"][:3], c["label"][3:]))}
    assert torch.equal(model.sample(other, draws(8), family.sampling)[3:], whole[3:])  # same block: bit for bit


def test_accumulated_parts_equal_the_whole_batch(built):
    _, model, space = built
    x, c = _some(space, 8), _condition(8)
    model.eval()
    for player in model.players():
        whole = gradients(model, player, [(x, c, torch.arange(8))])
        rows = [torch.arange(0, 3), torch.arange(3, 8)]
        parts = gradients(model, player, [(x[r], {"label": c["label"][r]}, r) for r in rows])
        for one, other in zip(whole, parts, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


def test_losses_use_no_global_randomness(built):
    _, model, space = built
    x, c = _some(space, 4), _condition(4)
    model.eval()
    for player in model.players():
        first, second = (model.loss(x, c, player, draws(4, seed=9)) for _ in range(2))
        assert all(torch.equal(first[k].detach(), second[k].detach()) for k in first)
        assert all(v.shape == () for v in first.values())


def test_held_out_and_likelihood_have_one_number_an_item(built):
    _, model, space = built
    x, c = _some(space, 4), _condition(4)
    model.eval()
    found = model.held_out(x, c, draws(4))
    if found is not None:
        assert all(v.shape == (4,) and v.isfinite().all() and not v.requires_grad for v in found)
    if model.likelihood is None:
        with pytest.raises(Unfit):
            model.log_likelihood(x, c, draws(4))
    else:
        value = model.log_likelihood(x, c, draws(4))
        assert value.shape == (4,)
        assert value.isfinite().all()


def test_one_hot_groups_are_one_hot():
    for family in (VAE(latent=3), GAN(latent=3)):
        x = family.build(ROW, {}, SMALL).eval().sample(None, draws(9), family.sampling)
        for start, stop in ROW.choices:
            assert torch.equal(x[:, start:stop].sum(1), torch.ones(9))
            assert set(x[:, start:stop].unique().tolist()) == {0.0, 1.0}
