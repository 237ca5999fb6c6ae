"""Augmentation for GANs: nothing at p = 0, differentiable twice, of an item by itself, and never in samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from toys import draws

from likewise.assemble import assemble
from likewise.backbones.conv import Conv
from likewise.backbones.mlp import MLP
from likewise.config import Training
from likewise.families.augment import Augment, _resample
from likewise.families.gan import FEW, GAN
from likewise.modalities.image import Image
from likewise.modalities.image_pixels import ImagePixels
from likewise.modalities.packed import Packed
from likewise.planning.plan import make_plan
from likewise.spaces import Continuous, Tokens, Unfit
from likewise.training.batches import Batches, FieldData
from likewise.training.learner import Learner

SPACES = [Continuous((2, 16)), Continuous((3, 8, 16)), Continuous((1, 4, 8, 8))]


def items(space, count=4):
    return torch.randn(count, *space.shape, generator=torch.Generator().manual_seed(0))


def set_p(augment, p):
    augment.get_buffer("p").fill_(p)
    return augment


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_nothing_changes_where_nothing_is_to(space):
    x = items(space)
    augment = Augment(space, adaptive=True)
    assert augment(x, draws(4)) is x  # it starts at 0
    # A p so small that no draw is below it: every change is computed, and none of them is made.
    assert torch.equal(set_p(augment, 1e-9)(x, draws(4)), x)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_each_item_is_changed_by_itself_and_differentiably(space, adaptive):
    x = items(space).requires_grad_()
    augment = set_p(Augment(space, adaptive), 1.0)
    changed = augment(x, draws(4))
    assert changed.shape == x.shape
    assert not (changed == x).flatten(1).all(1).any()
    torch.testing.assert_close(changed[2:], augment(x[2:], draws(2, start=2)))
    weight = torch.ones((), requires_grad=True)
    (gradient,) = torch.autograd.grad((changed * weight).square().sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert weight.grad is not None
    assert float(weight.grad) > 0


def test_p_is_how_often_a_change_is_made():
    space = Continuous((1, 8, 8))
    x = torch.zeros(400, 1, 8, 8)  # of nothing but zeros, brightness alone changes anything
    changed = set_p(Augment(space, True), 0.3)(x, draws(400))
    share = float((changed != 0).flatten(1).any(1).double().mean())
    assert 0.2 < share < 0.4


@pytest.mark.parametrize("axis", [0, 1])
def test_moving_by_whole_places_moves_exactly(axis):
    x = items(Continuous((2, 6, 5)))
    shift = torch.tensor([0.0, 1.0, -2.0, 0.0])
    moved = _resample(x, axis, shift, torch.ones(4))
    assert torch.equal(moved[[0, 3]], x[[0, 3]])
    ahead = x[1].narrow(axis + 1, 0, x.shape[2 + axis] - 1)
    assert torch.equal(moved[1].narrow(axis + 1, 1, x.shape[2 + axis] - 1), ahead)
    assert torch.equal(moved[1].select(axis + 1, 0), x[1].select(axis + 1, 0))  # the edge goes on
    behind = x[2].narrow(axis + 1, 2, x.shape[2 + axis] - 2)
    assert torch.equal(moved[2].narrow(axis + 1, 0, x.shape[2 + axis] - 2), behind)


def test_p_rises_while_the_discriminator_overfits_and_falls_again():
    augment = Augment(Continuous((1, 8, 8)), adaptive=True)
    p = augment.get_buffer("p")
    far, near = torch.full((500,), 5.0), torch.full((500,), -5.0)
    alike = torch.linspace(-1, 1, 500)
    augment.observe(alike, alike)
    assert float(p) == 0  # never below
    for _ in range(50):
        augment.observe(far + 100, near + 100)  # the zero of the logits does not matter
    assert float(p) == pytest.approx(0.5, abs=1e-6)
    for _ in range(100):
        augment.observe(far, near)
    assert float(p) == pytest.approx(0.8)  # nor above what does not leak
    augment.observe(torch.full((500,), torch.nan), near)
    augment.observe(alike, alike)
    assert 0 < float(p) < 0.8
    always = Augment(Continuous((1, 8, 8)), adaptive=False)
    always.observe(alike, alike)
    assert float(always.get_buffer("p")) == 1
    assert "p" not in always.state_dict()


def _learner(**settings):
    torch.manual_seed(0)
    family, backbone = GAN(latent=4, **settings), Conv(width=8, multipliers=(1, 2))
    model = assemble(Continuous((1, 8, 8), levels=256), {}, family, backbone)
    return Learner(model, Training(batch=6, ema=0.9, accumulate=2), torch.device("cpu"))


@pytest.mark.parametrize("loss", ["relativistic", "wasserstein_gp"])
def test_resuming_with_an_adaptive_p_is_bitwise_the_same(loss):
    pixels = np.random.default_rng(1).integers(0, 256, (16, 1, 8, 8)).astype(np.uint8)
    batches = Batches(FieldData(ImagePixels(Image(8, "L")), Packed(pixels)))

    def start():
        learner = _learner(augment="adaptive", loss=loss)
        set_p(learner.model.augment, 0.5)
        return learner

    def go(learner, steps):
        for step in steps:
            terms = learner.step(batches, (np.arange(6) + step) % 16, step, 10)
            assert all(torch.isfinite(v) for v in terms.values())
        return terms

    straight, first, second = start(), start(), _learner(augment="adaptive", loss=loss)
    last = go(straight, range(4))
    go(first, range(2))
    weights, rest = first.tensors()
    second.restore({k: v.clone() for k, v in weights.items()}, {k: v.clone() for k, v in rest.items()})
    assert 0 < float(second.model.augment.get_buffer("p")) != 0.5
    assert last == go(second, range(2, 4))
    for a, b in zip(straight.tensors(), second.tensors(), strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a)


def test_samples_know_nothing_of_it():
    plain, changed = (_learner(augment=augment).model.eval() for augment in ("none", "diff"))
    samples = [m.sample(None, draws(4), GAN().sampling) for m in (plain, changed)]
    assert torch.equal(*samples)


def test_penalties_are_on_the_gradient_by_the_item_as_it_is():
    """A discriminator that adds everything up: its slope by what it sees is 1, by the item what the changes make it."""
    model = _learner(augment="diff").model

    class Sum(torch.nn.Module):
        def forward(self, x, c=None):
            return x.flatten(1).sum(1, keepdim=True)

    model.discriminator = Sum()
    x = items(Continuous((1, 8, 8)))
    found = model.loss(x, None, "discriminator", draws(4))["penalty"]
    fake = model.sample(None, draws(4), GAN().sampling)
    slopes = []
    for part, side in ((x, "real"), (fake, "generated")):
        part = part.clone().requires_grad_()
        seen = model.augment(part, draws(4).branch("augment", side))
        (gradient,) = torch.autograd.grad(seen.sum(), part)
        slopes.append(gradient.square().flatten(1).sum(1).mean())
    torch.testing.assert_close(found, 0.5 * sum(slopes))


def test_small_sets_with_positions_choose_it():
    picture, row = Continuous((3, 8, 8)), Continuous((4,))
    assert GAN().settled(picture, {}, FEW - 1).augment == "adaptive"
    assert GAN().settled(picture, {}, FEW).augment == "none"
    assert GAN().settled(row, {}, 10).augment == "none"
    assert GAN(augment="diff").settled(picture, {}, FEW).augment == "diff"
    settled = GAN().settled(picture, {"text": Tokens(5, 9, 8), "label": Tokens(1, 3)}, 10)
    assert settled.matching is True
    assert GAN().settled(picture, {"label": Tokens(1, 3)}, 10).matching is False


def test_a_plan_says_what_was_chosen(tmp_path):
    chance = np.random.default_rng(0)
    for i in range(12):
        PILImage.fromarray(chance.integers(0, 256, (8, 8), np.uint8)).save(tmp_path / f"{i}.png")
    plan = make_plan(tmp_path, family="gan")
    assert plan.experiment.to_dict()["family"]["augment"] == "adaptive"
    assert any("family.augment = adaptive" in note for note in plan.scan.notes)
    assert plan.untrained().augment is not None
    plain = make_plan(tmp_path, family="gan", set_={"family.augment": "none"})
    assert plain.experiment.to_dict()["family"]["augment"] == "none"
    assert not any("family." in note for note in plain.scan.notes)


def test_what_cannot_be_changed_is_refused():
    with pytest.raises(Unfit, match="positions"):
        assemble(Continuous((4,)), {}, GAN(augment="diff"), MLP())
    with pytest.raises(Unfit, match="none is given"):
        assemble(Continuous((4,)), {}, GAN(matching=True), MLP())
