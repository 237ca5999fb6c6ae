"""Editing with a flow: what is kept stays, what is drawn fits it, and nothing depends on the batch."""

from __future__ import annotations

import pytest
import torch
from toys import Returns, draws

from likewise.backbones.mlp import MLP
from likewise.families.decoder_distributions import dequantise
from likewise.families.editing import Edited
from likewise.families.flow import Flow
from likewise.families.solvers import FlowSampling
from likewise.spaces import Continuous, to_index

PAIR = Continuous((1, 2))
PICTURE = Continuous((2, 3, 3), levels=256)
RELATED = torch.tensor([[1.0, 0.9], [0.9, 1.0]])
SMALL = MLP(width=16, depth=1)
LEFT = torch.tensor([[[True, False]]])


def perfect(path: str):
    """A flow whose network is the best there can be for two numbers of N(0, RELATED)."""
    model = Flow(path=path).build(PAIR, {}, SMALL)

    def best(x, t, c):
        alpha, sigma = (s[:, None, None] for s in model.path.alpha_sigma(t))
        x_t = x / model.path.input_scale(alpha, sigma)
        whole = alpha**2 * RELATED + sigma**2 * torch.eye(2)
        whitened = torch.linalg.solve(whole, x_t.mT).mT
        return model.path.target(sigma * whitened, alpha * whitened @ RELATED, alpha, sigma)

    model.network = Returns(best)
    return model


def untrained(space, **settings):
    torch.manual_seed(0)
    model = Flow(**settings).build(space, {}, SMALL).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # a head that starts at zero would hide mistakes
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


SETTINGS = [
    ({}, FlowSampling(steps=6)),
    ({}, FlowSampling(steps=6, sampler="dpm_solver_pp")),
    ({"path": "edm"}, FlowSampling(steps=6, sampler="euler")),
    ({"path": "ddpm"}, FlowSampling(steps=6)),
    ({"few_step": True}, FlowSampling(steps=4, sampler="jump")),
]


@pytest.fixture(params=SETTINGS, ids=lambda p: f"{p[0]}-{p[1].sampler}")
def picture(request):
    family, sampling = request.param
    start = (draws(6, 4).integers(256, *PICTURE.shape) / 127.5 - 1).float()
    keep = draws(1, 5).uniform(1, 3, 3) < 0.5
    return untrained(PICTURE, **family), sampling, start, keep


def test_no_strength_gives_the_picture_back(picture):
    model, sampling, start, _ = picture
    again = model.sample(None, draws(6), sampling, edited=Edited(start, None, 0.0))
    assert torch.equal(to_index(again, 256), to_index(start, 256))


def test_full_strength_is_a_plain_sample(picture):
    model, sampling, start, _ = picture
    drawn = model.sample(None, draws(6), sampling, edited=Edited(start, None, 1.0))
    assert torch.equal(drawn, model.sample(None, draws(6), sampling))


def test_what_is_kept_is_exactly_what_it_was(picture):
    model, sampling, start, keep = picture
    for strength in (0.5, 1.0):
        drawn = model.sample(None, draws(6), sampling, edited=Edited(start, keep, strength))
        kept = keep.expand_as(start)
        assert torch.equal(drawn[kept], start[kept])
        assert not torch.isclose(drawn[~kept], start[~kept]).all()
        assert (drawn.abs() <= 1).all()


def test_an_edited_item_does_not_depend_on_its_batch(picture):
    model, sampling, start, keep = picture
    for mask in (None, keep):
        whole = model.sample(None, draws(6), sampling, edited=Edited(start, mask, 0.7))
        part = model.sample(None, draws(2, start=3), sampling, edited=Edited(start[3:5], mask, 0.7))
        torch.testing.assert_close(whole[3:5], part, atol=1e-5, rtol=1e-4)
        assert not torch.isclose(whole[0], whole[1]).all()


@pytest.mark.parametrize("path", ["linear", "edm"])
def test_more_strength_leaves_less_of_an_item(path):
    model = perfect(path)
    start = draws(400, 1).normal(2) @ torch.linalg.cholesky(RELATED).T
    left = []
    for strength in (0.25, 0.5, 0.75, 1.0):
        drawn = model.sample(None, draws(400, 2), FlowSampling(steps=32), edited=Edited(start[:, None], None, strength))
        torch.testing.assert_close(torch.cov(drawn[:, 0].T), RELATED, atol=0.25, rtol=0)  # still of the distribution
        left.append(float(torch.corrcoef(torch.stack((drawn[:, 0, 0], start[:, 0])))[0, 1]))
    assert left == sorted(left, reverse=True)
    assert left[0] > 0.8
    assert abs(left[-1]) < 0.2


@pytest.mark.parametrize("path", ["linear", "ddpm", "edm"])
def test_what_is_drawn_fits_what_is_kept(path):
    """b given a is N(0.9 a, 0.19); to take steps only once, without a look at what was put beside, falls short."""
    model = perfect(path)
    start = torch.stack((torch.linspace(-2, 2, 1500), torch.full((1500,), 7.0)), 1)[:, None]

    def slope_and_rest(resample):
        settings = FlowSampling(steps=24, resample=resample)
        drawn = model.sample(None, draws(1500, 3), settings, edited=Edited(start, LEFT, 1.0))[:, 0]
        assert torch.equal(drawn[:, 0], start[:, 0, 0])
        slope = float((drawn[:, 0] * drawn[:, 1]).mean() / drawn[:, 0].square().mean())
        return slope, float((drawn[:, 1] - slope * drawn[:, 0]).std())

    slope, rest = slope_and_rest(8)
    assert slope == pytest.approx(0.9, abs=0.12)
    assert rest == pytest.approx(0.19**0.5, abs=0.15)
    assert abs(slope - 0.9) < abs(slope_and_rest(1)[0] - 0.9)


def test_one_step_sees_nothing_of_what_is_kept():
    start = torch.zeros(2, *PICTURE.shape)
    keep = torch.ones(1, 1, 3, 3, dtype=torch.bool)
    for family, sampling in (
        ({}, FlowSampling(steps=1)),
        ({"few_step": True}, FlowSampling(steps=1, sampler="jump")),
    ):
        with pytest.raises(ValueError, match="set steps to 4 or more"):
            untrained(PICTURE, **family).sample(None, draws(2), sampling, edited=Edited(start, keep, 1.0))


def test_only_what_has_positions_is_edited():
    assert untrained(PICTURE).editable
    assert not untrained(Continuous((4,))).editable


def test_a_plain_ground_is_plain_though_the_network_is_a_little_wrong():
    """Dequantised anywhere in its bin, every level comes back; and the ends of the range, with some noise on them."""
    model = untrained(Continuous((1, 16, 16), levels=256))
    level = torch.arange(256).view(1, 1, 16, 16)
    x = level / 127.5 - 1
    for seed in range(3):
        dequantised = dequantise(x, 256, draws(1, seed))
        path_has = model._to_path(dequantised)
        assert torch.equal(to_index(model._from_path(path_has), 256), to_index(dequantised, 256))
        ends = (level == 0) | (level == 255)
        noisy = model._from_path(path_has + 0.03 * draws(1, seed).normal(1, 16, 16))
        assert torch.equal(to_index(noisy, 256)[ends], level[ends])
        assert not torch.equal(to_index(noisy, 256), level)
