"""Flows that learn to jump: what jumps are made of, how far they come, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError
from toys import LABEL, Returns, draws, learn, modes, ring

from likewise.backbones.mlp import MLP
from likewise.families import shortcut
from likewise.families.flow import Flow
from likewise.families.prob_paths import PATHS
from likewise.families.solvers import FlowSampling
from likewise.spaces import Continuous

pytestmark = pytest.mark.full

POINT = Continuous((2,))


def jumping(steps: int, guidance: float = 1.0) -> FlowSampling:
    return FlowSampling(sampler="jump", steps=steps, guidance_scale=guidance)


def energy(x: torch.Tensor, y: torch.Tensor) -> float:
    """The energy distance of two samples: 0 where they are of one distribution."""
    return float(2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean())


def test_jumps_begin_at_multiples_of_their_length_and_reach_the_end():
    assert shortcut.timesteps(0, 1) == [0, 1]
    assert shortcut.timesteps(0, 4) == [0, 0.25, 0.5, 0.75, 1]
    assert shortcut.timesteps(0.4, 1) == [0.375, 0.5, 1]
    assert shortcut.timesteps(1, 4) == [1]
    for start in (0, 0.1, 0.3, 0.7, 0.95):
        for steps in (1, 2, 4, 8, 16):
            times = shortcut.timesteps(start, steps)
            for here, there in pairwise(times):
                length = 2.0 ** -shortcut.level_of(there - here)
                assert length == there - here
                assert length <= 1 / steps
                assert here % length == 0


@pytest.mark.parametrize("path", ["linear", "ddpm", "edm"])
def test_the_output_that_leads_somewhere_leads_there(path):
    path = PATHS[path](0.5)
    x, y = draws(8, 1).normal(3), draws(8, 2).normal(3)
    here, there = ([s[:, None] for s in path.alpha_sigma(torch.full((8,), t))] for t in (0.25, 0.5))
    output = path.output_leading_to(x, y, tuple(here), tuple(there))
    torch.testing.assert_close(path.step(x, output, tuple(here), tuple(there)), y, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("path", ["linear", "edm"])
def test_a_jump_is_learned_to_lead_where_the_way_does(path):
    """Of N(0, 1/16) beside noise, whose flow is known, with jumps that are right: their targets are themselves."""
    deviation = 0.25
    model = Flow(few_step=True, path=path).build(POINT, {}, MLP(width=16, depth=1))
    assert model.shortcut is not None
    level = torch.tensor([0, 1, 1, 2, 3, 4, 4])
    t = torch.tensor([0, 0, 0.5, 0.25, 0.375, 0.0625, 0.9375])

    def right(x, t, c):
        alpha, sigma = (s[:, None] for s in model.path.alpha_sigma(t))
        x_t = x / model.path.input_scale(alpha, sigma)
        spread = ((alpha * deviation) ** 2 + sigma**2).sqrt()
        told = c[shortcut._FIELD][:, 0] if shortcut._FIELD in c else torch.full((len(x),), shortcut.FLOW)
        after = (t + torch.exp2(-told.float())).clamp(max=1)
        alpha_next, sigma_next = (s[:, None] for s in model.path.alpha_sigma(after))
        landed = x_t * ((alpha_next * deviation) ** 2 + sigma_next**2).sqrt() / spread
        jump = model.path.output_leading_to(x_t, landed, (alpha, sigma), (alpha_next, sigma_next))
        flow = model.path.target(sigma / spread**2 * x_t, alpha * deviation**2 / spread**2 * x_t, alpha, sigma)
        return torch.where(told[:, None] == shortcut.FLOW, flow, jump)

    model.network = Returns(right)
    alpha, sigma = (s[:, None] for s in model.path.alpha_sigma(t))
    x = draws(7, 3).normal(2) * ((alpha * deviation) ** 2 + sigma**2).sqrt()
    target = model.shortcut.target(model._network, x, t, level, None)
    known = model._network(x, t, shortcut.with_level(None, level))
    shortest = level == shortcut.LEVELS - 1
    torch.testing.assert_close(target[~shortest], known[~shortest], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(target[shortest], known[shortest], atol=0.15, rtol=0.15)  # Heun's error
    drawn = [model.sample(None, draws(500, 5), jumping(steps)) for steps in (1, 2, 4, 8, 16)]
    for x in drawn:
        torch.testing.assert_close(x, drawn[0], atol=1e-3, rtol=1e-3)
    assert float(drawn[0].std()) == pytest.approx(deviation, rel=0.1)


def test_phases_are_a_function_of_the_share_that_is_done():
    jumps = shortcut.Shortcut(PATHS["linear"](1.0), 1.0, (0.0, 1.0))
    t = draws(4000, 1).uniform()
    moved, level, learned = jumps.draw(t, draws(4000, 2), 0.0)
    assert torch.equal(moved, t)
    assert not learned.any()
    assert set(level.tolist()) == {shortcut.FLOW, *range(shortcut.LEVELS)}
    for done, known in ((0.4, 1), (0.55, 3), (0.75, 5), (0.999, 5)):
        moved, level, learned = jumps.draw(t, draws(4000, 2), done)
        assert abs(float(learned.float().mean()) - shortcut.SHARE) < 0.05
        assert set(level[learned].tolist()) == set(range(shortcut.LEVELS - known, shortcut.LEVELS))
        assert (level[~learned] == shortcut.FLOW).all()
        assert torch.equal(moved[~learned], t[~learned])
        length = torch.exp2(-level[learned].float())
        assert (moved[learned] % length == 0).all()
        assert (moved[learned] + length <= 1).all()


def learned(family, steps: int, condition=None):
    torch.manual_seed(0)
    model = family.build(POINT, condition or {}, MLP(width=64, depth=3))

    def batches(step):
        x, c = ring(128, 1000 + step)
        return x, (c if condition else None)

    return learn(model, batches, steps, 4e-3)


@pytest.fixture(scope="module")
def flows():
    """Two flows of the ring, of which one jumps."""
    return learned(Flow(), 500), learned(Flow(few_step=True), 600)


@pytest.mark.parametrize(("steps", "share"), [(1, 0.05), (2, 0.15), (4, 0.6)])
def test_few_jumps_are_far_better_than_as_few_steps(flows, steps, share):
    plain, jumps = flows
    real, _ = ring(2000, 5)
    sampling = FlowSampling(sampler="euler", steps=steps)
    far, near = (
        energy(model.sample(None, draws(2000, 7), settings), real)
        for model, settings in ((plain, sampling), (jumps, jumping(steps)))
    )
    assert near < share * far
    assert near < 0.03


def test_a_jumping_network_is_still_a_flow(flows):
    _, jumps = flows
    real, _ = ring(500, 5)
    near, counts, _ = modes(jumps.sample(None, draws(1000, 7), FlowSampling(steps=16)))
    assert near > 0.8
    assert counts.min() > 1000 / 8 / 2
    likelihoods = [model.log_likelihood(real, None, draws(500)).mean() for model in flows]
    torch.testing.assert_close(likelihoods[1], likelihoods[0], atol=0.3, rtol=0)
    assert "without shortcut steps" in jumps.likelihood_how
    # One noise leads to about one point, jump by jump or along the whole way.
    along = jumps.sample(None, draws(500, 3), FlowSampling(steps=32))
    assert (jumps.sample(None, draws(500, 3), jumping(4)) - along).norm(dim=1).median() < 0.2


def test_guidance_is_learned_in():
    sampling = FlowSampling(sampler="jump", steps=4, guidance_scale=2.0)
    jumps = learned(Flow(few_step=True, sampling=sampling), 350, LABEL)
    _, c = ring(500, 5)
    drawn = jumps.sample(c, draws(500, 3), sampling)
    assert (modes(drawn)[2] == c["label"][:, 0]).double().mean() > 0.9
    guided, free = (jumps.sample(c, draws(500, 3), FlowSampling(steps=32, guidance_scale=w)) for w in (2.0, 1.0))
    assert (drawn - guided).square().mean() < 0.5 * (drawn - free).square().mean()
    with pytest.raises(ValueError, match="was trained with 2"):
        jumps.sample(c, draws(2), jumping(4, 3.0))


def test_what_cannot_jump_says_so(flows):
    plain, _ = flows
    with pytest.raises(ValueError, match="has no shortcut steps"):
        plain.sample(None, draws(2), jumping(4))
    with pytest.raises(ValidationError, match="1, 2, 4, 8 or 16"):
        jumping(3)
    with pytest.raises(ValidationError, match="ddpm predicts the noise"):
        Flow(few_step=True, path="ddpm")
    with pytest.raises(ValidationError, match="few_step=true"):
        Flow(sampling=jumping(4))


def test_who_learns_to_jump_jumps_unless_told_otherwise():
    assert Flow(few_step=True).sampling == jumping(4)
    assert Flow(few_step=True, sampling={"guidance_scale": 2.0}).sampling == jumping(4, 2.0)
    assert Flow(few_step=True, sampling={"sampler": "heun"}).sampling == FlowSampling()
    written = Flow(few_step=True, sampling={"steps": 2})
    assert Flow.model_validate(written.model_dump()) == written


def test_no_held_out_loss_before_jumps_are_learned():
    jumps = Flow(few_step=True).build(POINT, {}, MLP(width=16, depth=1))
    x, _ = ring(8, 5)
    jumps.set_progress(39, 100)
    assert jumps.held_out(x, None, draws(8)) is None
    jumps.set_progress(40, 100)
    assert jumps.held_out(x, None, draws(8)) is not None
