"""A codec learns to bring digits back, uses its codes, and goes on as if nothing had been interrupted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.datasets import load_digits
from toys import draws

from likewise.backbones.conv import Conv
from likewise.config import Training
from likewise.families.codec import Codec
from likewise.families.patch_discriminator import Adversarial
from likewise.families.vae import VAE
from likewise.modalities.image import Image
from likewise.modalities.image_pixels import ImagePixels
from likewise.spaces import Continuous, Tokens
from likewise.training.batches import Batches, FieldData
from likewise.training.learner import Learner

pytestmark = pytest.mark.full

PIXELS = (load_digits().images * 15).astype(np.uint8)[:, None]
SPACE = Continuous((1, 8, 8), levels=256)
TINY = Conv(width=16, multipliers=(1, 2))


def batches(count=600):
    from likewise.modalities.packed import Packed

    return Batches(FieldData(ImagePixels(Image(8, "L")), Packed(PIXELS[:count])))


def learner(family, ema=0.9):
    torch.manual_seed(0)
    settings = Training(batch=32, lr=2e-3, ema=ema, precision="float32", schedule="constant")
    return Learner(family.build(SPACE, {}, TINY), settings, torch.device("cpu"))


def go(one, steps, of):
    terms = {}
    for step in steps:
        terms = one.step(batches(), np.arange(32 * step, 32 * step + 32) % 600, step, of)
    return terms


@pytest.mark.parametrize("quantiser", ["fsq", "vq"])
def test_digits_come_back(quantiser):
    family = Codec(quantiser=quantiser, codebook_size=128)
    one = learner(family)
    terms = go(one, range(120), 120)
    held_out, _ = batches(700).take(np.arange(600, 700))
    with one.averaged() as model:
        codes = model.codes(held_out)
        assert codes.shape == (100, 16)
        assert codes.dtype == torch.int64
        assert 0 <= int(codes.min()) <= int(codes.max()) < family.codebook(SPACE).vocabulary
        back = model.from_codes(codes)
        error = float((back - held_out).square().mean())
        planted = float((held_out.mean(0) - held_out).square().mean())  # of who says the mean digit
        assert error < 0.5 * planted
        assert back.abs().max() <= 1
        per_item, _ = model.held_out(held_out, None, draws(100))
        assert float(per_item.mean()) == pytest.approx(error / 0.25, rel=0.3)  # which does not clamp
        assert len(codes.unique()) > 20
    assert {"_codes_used", "_perplexity", "_psnr"} <= terms.keys()


@pytest.mark.parametrize("adversarial", [0.0, 0.1])
@pytest.mark.parametrize("quantiser", ["fsq", "vq"])
def test_resumed_equals_uninterrupted(quantiser, adversarial):
    family = Codec(quantiser=quantiser, codebook_size=64, adversarial=Adversarial(weight=adversarial, start=0.2))
    straight, first, second = (learner(family) for _ in range(3))
    go(straight, range(8), 10)
    go(first, range(4), 10)
    weights, rest = first.tensors()
    second.restore({k: v.clone() for k, v in weights.items()}, {k: v.clone() for k, v in rest.items()})
    go(second, range(4, 8), 10)
    for a, b in zip(straight.tensors(), second.tensors(), strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("family", [Codec, VAE])
def test_the_discriminator_and_the_autoencoder_are_two_players(family):
    model = family(adversarial=Adversarial(weight=0.5, start=0.5)).build(SPACE, {}, TINY)
    x, _ = batches().take(np.arange(8))
    assert list(model.players()) == ["discriminator", "model"]
    model.set_progress(0, 10)
    own = model.loss(x, None, "discriminator", draws(8))
    assert {"discriminator", "penalty", "_real", "_generated"} == own.keys()
    assert "adversarial" not in model.loss(x, None, "model", draws(8))  # its verdict does not count yet
    model.set_progress(5, 10)
    assert "penalty" not in model.loss(x, None, "discriminator", draws(8))
    terms = model.loss(x, None, "model", draws(8))
    model.zero_grad()
    sum(v for k, v in terms.items() if not k.startswith("_")).backward()
    assert all(p.grad is None for p in model.players()["discriminator"].parameters())
    assert all(p.requires_grad for p in model.parameters())
    owned = [{id(p) for p in player.parameters()} for player in model.players().values()]
    assert not owned[0] & owned[1]
    assert owned[0] | owned[1] == {id(p) for p in model.parameters()}


def test_the_penalty_is_the_slope_of_the_mean_patch():
    """Item by item: gamma / 2 times the squared slope of its logits, over how many patches there are."""
    torch.manual_seed(0)
    critic = Codec(adversarial=Adversarial(weight=1.0, gamma=0.5)).build(SPACE, {}, TINY).critic
    for p in critic.parameters():
        if not p.any():
            torch.nn.init.normal_(p, std=0.1)
    real, made = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    found = critic.discriminator_loss(real, made)["penalty"].detach()
    squared = []
    for one in (*real, *made):
        item = one[None].clone().requires_grad_()
        critic.network(item).sum().backward()
        squared.append(item.grad.square().sum() / 16)
    r1, r2 = torch.stack(squared).view(2, 2).mean(1)
    torch.testing.assert_close(found, 4 * 0.5 / 2 * (r1 + r2))  # once in four steps, four times as heavy


@pytest.mark.parametrize(
    ("shape", "stride", "grid"),
    [
        ((1, 28, 28), None, (7, 7)),
        ((4, 64, 64), None, (16, 16)),
        ((3, 128, 128), None, (16, 16)),
        ((1, 8, 8), None, (4, 4)),
        ((1, 16000), None, (250,)),
        ((3, 16, 32, 32), None, (4, 8, 8)),
        ((3, 16, 32, 32), (2, 8, 8), (8, 4, 4)),
        ((1, 13, 7), 2, (7, 4)),
    ],
)
def test_the_grid_of_codes(shape, stride, grid):
    family, space = Codec(stride=stride), Continuous(shape, levels=256)
    assert family.roles(space) == {"mapper": space}
    assert family.codebook(space) == Tokens(int(np.prod(grid)), 1000, grid=grid)
    assert family.latents(space) == Continuous((4, *grid))


def test_refusals():
    assert "positions" in Codec().roles(Continuous((5,)))
    assert "positions" in Codec().roles(Tokens(4, 5))
    assert "a stride for 2" in Codec(stride=(2, 2)).roles(Continuous((1, 16)))
    assert "categorical" in Codec().roles(Continuous((4, 16), choices=((1, 3),)))
    assert "unconditional=" in Codec().unfit_condition({"label": Tokens(1, 3)})
    for wrong in ({"stride": 3}, {"stride": (2, 0)}, {"levels": (2, 5)}, {"levels": ()}):
        with pytest.raises(ValidationError):
            Codec(**wrong)


def test_a_vae_with_a_stride_has_a_map():
    """Its bound and its samples are those of a vector's, with the KL summed over all places."""
    family = VAE(latent=3, stride=2, likelihood="gaussian", condition_dropout=0)
    assert family.latents(SPACE) == Continuous((3, 4, 4))
    torch.manual_seed(0)
    model = family.build(SPACE, {"label": Tokens(1, 10)}, TINY).eval()
    x, c = batches().take(np.arange(6))[0], {"label": torch.arange(6)[:, None]}
    mean, scale = model.posterior(x, c)
    assert mean.shape == scale.shape == (6, 3, 4, 4)
    normal, prior = torch.distributions.Normal(mean, scale), torch.distributions.Normal(0.0, 1.0)
    nats = torch.distributions.kl_divergence(normal, prior).flatten(1).sum(1)
    torch.testing.assert_close(model.loss(x, c, "model", draws(6))["_kl"], nats.mean(), rtol=1e-4, atol=1e-4)
    assert model.held_out(x, c, draws(6))[0].shape == (6,)
    assert model.log_likelihood(x, c, draws(6)).isfinite().all()
    drawn = model.sample(c, draws(6), family.sampling)
    assert drawn.shape == x.shape
    z = model.latent(draws(6))
    assert z.shape == (6, 3, 4, 4)
