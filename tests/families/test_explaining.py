"""What a family tells of itself: latents, surprisal, attention, and what its own judge thinks."""

from __future__ import annotations

import pytest
import torch
from toys import draws

from likewise.backbones.mlp import MLP
from likewise.backbones.recurrent import GRU
from likewise.backbones.transformer import Transformer
from likewise.families.autoregressive import Autoregressive
from likewise.families.flow import Flow
from likewise.families.gan import GAN
from likewise.families.vae import VAE
from likewise.spaces import Continuous, Tokens, Unfit

PICTURE = Continuous((1, 4, 4), levels=16)
ROW = Continuous((6,), choices=((1, 3), (3, 6)))
WORD = Tokens(6, 5, end=4, mean_length=4.0)
GIVEN = {"label": Tokens(1, 3), "words": Tokens(5, 7, end=6)}
SMALL = MLP(width=16, depth=1)


def built(family, space, backbone=SMALL):
    torch.manual_seed(0)
    return family.build(space, GIVEN, backbone).eval()


def given(count):
    source = draws(count, 2)
    return {"label": source.integers(3, 1), "words": source.integers(6, 5)}


def words(count):
    return draws(count, 3).integers(4, 6)


@pytest.mark.parametrize(
    ("family", "space", "backbone"),
    [
        (VAE(latent=3), PICTURE, SMALL),
        (VAE(latent=3), WORD, GRU(width=16, depth=1)),
        (GAN(latent=3), ROW, SMALL),
        (Flow(), PICTURE, SMALL),
        (Flow(path="edm"), ROW, SMALL),
    ],
    ids=lambda part: getattr(part, "name", str(part)),
)
def test_a_sample_is_what_its_latent_becomes(family, space, backbone):
    model, c = built(family, space, backbone), given(4)
    source = draws(4)
    z = model.latent(source)
    again = model.from_latent(z, c, source, family.sampling)
    assert torch.equal(again, model.sample(c, draws(4), family.sampling))
    assert not torch.equal(again, model.from_latent(z + 1, c, source, family.sampling))


@pytest.mark.parametrize("path", ["linear", "ddpm", "edm"])
def test_the_way_of_a_flow_goes_back(path):
    """Of N(0, 1/4), whose flow is known: x_0 = 2 x_1, for any path."""
    family = Flow(path=path, data_scale=0.5, likelihood_steps=128)
    model = built(family, Continuous((3,)))
    model.network = _Nothing()  # the best prediction where x says nothing beyond its own scale
    z = draws(16).normal(3)
    if path == "ddpm":  # it predicts the noise itself
        model.network = _Noise(model.path)
    x = model.from_latent(z, None, draws(16), family.sampling.model_copy(update={"steps": 128}))
    torch.testing.assert_close(model.encode(x, None, family.sampling), z, atol=0.02, rtol=0.02)
    torch.testing.assert_close(x, z / 2, atol=0.02, rtol=0.02)


class _Nothing(torch.nn.Module):
    def forward(self, x, t, c=None):
        return torch.zeros_like(x)


class _Noise(torch.nn.Module):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def forward(self, x, t, c=None):
        _, sigma = self.path.alpha_sigma(t)
        return x * (sigma * self.path.input_scale(*self.path.alpha_sigma(t)))[:, None]


@pytest.mark.parametrize("backbone", [GRU(width=16, depth=1), Transformer(width=16, depth=2)], ids=lambda b: b.name)
def test_surprisals_add_up_to_the_likelihood(backbone):
    model, x, c = built(Autoregressive(), WORD, backbone), words(5), given(5)
    x[0, 3:] = WORD.end
    bits = model.surprisal(x, c)
    assert bits.shape == x.shape
    assert (bits[0, 4:] == 0).all()
    torch.testing.assert_close(-bits.sum(1), model.log_likelihood(x, c, draws(5)))


def test_attention_sums_to_one_and_looks_back_only():
    model, x, c = built(Autoregressive(), WORD, Transformer(width=32, depth=2, heads=2)), words(4), given(4)
    c["words"][:, 3:] = 6
    seen = model.attention(x, c)
    assert seen.own.shape == (4, 2, 2, 6, 6)
    torch.testing.assert_close(seen.own.sum(-1), torch.ones(4, 2, 2, 6))
    assert seen.own.triu(1).max() == 0
    assert list(seen.given) == ["words"]  # a label is no sequence
    assert seen.given["words"].shape == (4, 2, 2, 6, 6)
    torch.testing.assert_close(seen.given["words"].sum(-1), torch.ones(4, 2, 2, 6))
    assert seen.given["words"][..., 5:].max() == 0  # what is behind the end does not count


def test_a_recurrent_network_attends_to_what_is_given_only():
    model = built(Autoregressive(), WORD, GRU(width=16, depth=1))
    seen = model.attention(words(2), given(2))
    assert seen.own is None
    assert seen.given["words"].shape[-2:] == (6, 6)
    alone = Autoregressive().build(WORD, {}, GRU(width=16, depth=1))
    with pytest.raises(Unfit, match="no attention"):
        alone.attention(words(2), None)


def test_a_discriminator_can_be_differentiated():
    model, c = built(GAN(latent=3), PICTURE), given(3)
    x = draws(3).normal(*PICTURE.shape).requires_grad_()
    (slope,) = torch.autograd.grad(model.discriminate(x, c).sum(), x)
    step = 1e-3 * slope / slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert (model.discriminate(x + step, c) > model.discriminate(x - step, c)).all()


def test_what_a_family_cannot_tell_is_refused_in_words():
    model, x = built(Autoregressive(), WORD, GRU(width=16, depth=1)), words(2)
    with pytest.raises(Unfit, match="no latent"):
        model.latent(draws(2))
    with pytest.raises(Unfit, match="no discriminator"):
        model.discriminate(x, None)
    gan = built(GAN(latent=3), ROW)
    with pytest.raises(Unfit, match="vae, flow and codec can"):
        gan.encode(draws(2).normal(6), None, GAN().sampling)
    with pytest.raises(Unfit, match="token by token"):
        gan.surprisal(x, None)
