"""Items that have lengths of their own: nothing depends on what lies beyond an item's end."""

from __future__ import annotations

import math

import pytest
import torch
from toys import draws

from likewise import catalog
from likewise.assemble import assemble, unfit
from likewise.backbones.mlp import MLP
from likewise.backbones.transformer import Transformer
from likewise.draws import Draws
from likewise.families.flow import Flow
from likewise.families.gan import GAN
from likewise.families.patch_discriminator import Adversarial
from likewise.families.solvers import FlowSampling
from likewise.families.vae import VAE, VAESampling
from likewise.spaces import (
    Continuous,
    Tokens,
    Unfit,
    add_mask,
    cut_to_length,
    fill_up,
    item_lengths,
    position_mask,
)

pytestmark = pytest.mark.full

LENGTHS = (2, 5, 8, 11)
WAVE = Continuous((2, 12), ragged=True, lengths=LENGTHS)
#: one-hot channels beside a number, over a length and a second position
GRID = Continuous((4, 6, 3), ragged=True, choices=((1, 3),))
GREY = Continuous((2, 10), ragged=True, levels=16)
GIVEN = {"label": Tokens(1, 3), "other": WAVE}
#: patches of 3: an item ends in the middle of one
NETWORKS = [Transformer(width=16, depth=2, heads=2, patch=3), MLP(width=16, depth=2)]
FAMILIES = [
    Flow(),
    Flow(path="ddpm", loss_weighting="min_snr"),
    Flow(path="edm", few_step=True, sampling=FlowSampling(sampler="jump", steps=2, guidance_scale=2.0)),
    VAE(latent=3),
    VAE(latent=3, likelihood="gaussian"),
]


def items(space, lengths, seed=1):
    values = Draws(seed, torch.arange(len(lengths))).uniform(*space.shape)[:, :-1] * 2 - 1
    for start, stop in space.choices:
        group = values[:, start:stop]
        values[:, start:stop] = torch.zeros_like(group).scatter(1, group.argmax(1, keepdim=True), 1.0)
    return add_mask(values, torch.tensor(lengths))


def given(count, cut=None):
    x = items(WAVE, [1 + k % 8 for k in range(count)], seed=2)
    return {"label": draws(count, 2).integers(3, 1), "other": x[:, :, :cut]}


def stirred(model):
    """Weights that matter everywhere: layers that begin at zero would hide what passes through them."""
    torch.manual_seed(1)
    for p in model.parameters():
        p.data += 0.2 * torch.randn_like(p)
    return model.eval()


@pytest.fixture(params=FAMILIES, ids=lambda f: f"{f.name}-{getattr(f, 'path', '-'.join(sorted(f.model_fields_set)))}")
def family(request):
    return request.param


@pytest.fixture(params=NETWORKS, ids=lambda b: b.name)
def backbone(request):
    return request.param


@pytest.fixture(params=[WAVE, GRID, GREY], ids=str)
def built(request, family, backbone):
    torch.manual_seed(0)
    return stirred(assemble(request.param, GIVEN, family, backbone)), request.param


def loss(model, x, c, rows, done=90):
    model.set_progress(done, 100)
    terms = model.loss(x, c, "model", Draws(3, rows))
    return sum(value for name, value in terms.items() if not name.startswith("_"))


def test_masks_and_lengths():
    x = items(GRID, [1, 4, 6])
    assert item_lengths(x, GRID).tolist() == [1, 4, 6]
    assert position_mask(x, GRID).shape == (3, 1, 6, 3)
    assert position_mask(x, GRID).sum((1, 2, 3)).tolist() == [3, 12, 18]
    assert not (x * ~position_mask(x, GRID)).any()
    assert [tuple(item.shape) for item in cut_to_length(x, GRID)] == [(3, 1, 3), (3, 4, 3), (3, 6, 3)]
    assert torch.equal(fill_up(x[:2, :, :4], GRID), x[:2])
    gone = torch.full((1, 4, 2, 3), math.nan)
    assert fill_up(gone, GRID).isnan().all()
    plain = Continuous((2, 3))
    assert position_mask(torch.zeros(5, 2, 3), plain).all()


def test_held_out_losses_are_those_of_each_item_alone(built):
    """A batch, an item alone without padding, and the item in another batch: one number."""
    model, space = built
    lengths, rows = [2, 5, 4, 1], torch.arange(4)
    x, c = items(space, lengths), given(4)
    model.set_progress(90, 100)
    values, weights = model.held_out(fill_up(x, space), c, Draws(3, rows))
    assert (weights == 1).all()
    for i, n in enumerate(lengths):
        one = {name: value[i : i + 1] for name, value in c.items()}
        one["other"] = one["other"][:, :, : i + 1]  # its length: a condition is cut to its longest item too
        alone, _ = model.held_out(x[i : i + 1, :, :n], one, Draws(3, rows[i : i + 1]))
        torch.testing.assert_close(alone[0], values[i], atol=2e-4, rtol=2e-4)


def test_losses_are_means_of_those_of_the_items(built):
    model, space = built
    rows = torch.arange(4)
    x, c = items(space, [2, 5, 4, 1]), given(4)
    whole = loss(model, x, c, rows, 10)
    alone = [
        loss(model, x[i : i + 1, :, :n], {k: v[i : i + 1] for k, v in c.items()}, rows[i : i + 1], 10)
        for i, n in enumerate([2, 5, 4, 1])
    ]
    torch.testing.assert_close(torch.stack(alone).mean(), whole, atol=2e-4, rtol=2e-4)


def test_what_lies_beyond_the_end_has_no_gradient(built):
    model, space = built
    x = items(space, [2, 5, 4, 1])
    mask = position_mask(x, space)
    moved = torch.where(mask, x, torch.cat((torch.full_like(x[:, :-1], 0.7), x[:, -1:]), 1)).requires_grad_()
    found = loss(model, moved, given(4), torch.arange(4))
    assert torch.equal(found, loss(model, x, given(4), torch.arange(4)))
    if space.levels and model.settings.name == "flow":
        return  # values on levels are drawn anew within their bins, so that there is no gradient at all
    found.backward()
    assert not moved.grad[:, :-1].masked_select(~mask).any()
    assert moved.grad[:, :-1].masked_select(mask).any()


def test_samples_end_where_training_items_do(built):
    model, space = built
    settings = model.settings.sampling
    x = model.sample(given(40), draws(40), settings)
    assert x.shape == (40, *space.shape)
    assert x.isfinite().all()
    lengths = item_lengths(x, space)
    assert set(lengths.tolist()) <= set(space.lengths or range(1, space.positions[0] + 1))
    assert len(lengths.unique()) > 2
    assert torch.equal(x, add_mask(x[:, :-1], lengths))  # zeros beyond, and a mask of 0 and 1
    for start, stop in space.choices if model.settings.name == "vae" else ():
        assert all((item[start:stop].sum(0) == 1).all() for item in cut_to_length(x, space))
    again = model.sample({k: v[7:9] for k, v in given(40).items()}, draws(2, start=7), settings)
    torch.testing.assert_close(again, x[7:9], atol=1e-4, rtol=1e-3)


def test_a_length_can_be_asked_for(built):
    model, space = built
    chosen = model.settings.sampling.model_copy(update={"length": 3})
    assert (item_lengths(model.sample(None, draws(4), chosen), space) == 3).all()
    with pytest.raises(ValueError, match="length 13: this run was trained on items of at most"):
        model.sample(None, draws(4), model.settings.sampling.model_copy(update={"length": 13}))


def test_a_flow_finds_the_noise_of_ragged_items(backbone):
    torch.manual_seed(0)
    model = assemble(WAVE, {}, Flow(likelihood_steps=32), backbone).eval()
    x = items(WAVE, [2, 5, 12])
    z = model.encode(x, None, model.settings.sampling)
    assert torch.equal(position_mask(z, WAVE), position_mask(x, WAVE))
    settings = FlowSampling(steps=64)
    torch.testing.assert_close(model.from_latent(z, None, draws(3), settings), x, atol=0.02, rtol=0.02)
    with pytest.raises(Unfit, match="lengths of their own"):
        model.log_likelihood(x, None, draws(3))


def test_the_bound_of_a_vae_is_of_each_item_alone(backbone):
    torch.manual_seed(0)
    model = stirred(assemble(WAVE, {}, VAE(latent=3, importance_samples=4), backbone))
    x = items(WAVE, [2, 5, 12])
    whole = model.log_likelihood(x, None, draws(3))
    alone = model.log_likelihood(x[1:2, :, :5], None, draws(1, start=1))
    torch.testing.assert_close(whole[1:2], alone, atol=1e-3, rtol=1e-4)
    assert "given an item's length" in model.likelihood_how


@pytest.mark.parametrize("family", [Flow(), VAE(latent=4)], ids=lambda f: f.name)
@pytest.mark.parametrize(
    "backbone", [Transformer(width=16, depth=2, patch=3), MLP(width=128, depth=2)], ids=lambda b: b.name
)
def test_sine_waves_of_different_lengths_are_learned(family, backbone):
    source = draws(64)
    lengths = torch.tensor(LENGTHS)[source.integers(4)]
    phase = source.uniform(1, 1) * 2 * math.pi
    x = add_mask((torch.arange(12.0) + phase).sin(), lengths)
    torch.manual_seed(0)
    model = assemble(WAVE, {}, family, backbone)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    held = []
    for step in range(120):
        model.train()
        model.set_progress(step, 120)
        rows = torch.arange(16) + 16 * (step % 4)
        most = int(lengths[rows].max())
        terms = model.loss(x[rows, :, :most], None, "model", Draws(step, rows))
        optimizer.zero_grad()
        sum(v for k, v in terms.items() if not k.startswith("_")).backward()
        optimizer.step()
        if step in (0, 119):
            values, weights = model.eval().held_out(x, None, draws(64, 5))
            held.append(float(values.sum() / weights.sum()))
    assert held[1] < held[0] - 0.05 * abs(held[0])
    made = model.eval().sample(None, draws(32, 9), family.sampling)
    assert set(item_lengths(made, WAVE).tolist()) == set(LENGTHS)


def test_what_cannot_says_what_can():
    conv, gan = catalog.find("backbone", "conv")(), GAN()
    with pytest.raises(Unfit, match=r"conv takes items of one length, and those of .* own; mlp and transformer can"):
        assemble(WAVE, {}, Flow(), conv)
    with pytest.raises(Unfit, match=r"gan takes items of one length, .* own; vae and flow can"):
        assemble(WAVE, {}, gan, MLP())
    for family in (VAE(stride=2), VAE(adversarial=Adversarial(weight=0.1))):
        assert "needs items of one length" in str(unfit(WAVE, family, MLP()))
    with pytest.raises(Unfit, match="do not hold the length"):
        VAE().latents(WAVE)
    model = assemble(WAVE, {}, Flow(), MLP(width=16, depth=1))
    assert not model.editable
    with pytest.raises(ValueError, match="draws the lengths"):
        model.graph()
    plain = assemble(Continuous((2,)), {}, VAE(latent=2), MLP(width=16, depth=1))
    with pytest.raises(ValueError, match="all have one length"):
        plain.sample(None, draws(2), VAESampling(length=3))


@pytest.mark.parametrize("name", catalog.names("backbone"))
def test_every_backbone_reads_ragged_items_or_says_that_it_does_not(name):
    backbone = catalog.find("backbone", name)
    why = unfit(WAVE, Flow(), backbone())
    assert (why is None) == (backbone.ragged and backbone.builds)
