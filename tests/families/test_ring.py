"""Every family for real values learns eight Gaussians on a ring: all modes, few points between them."""

from __future__ import annotations

import pytest
import torch
from toys import LABEL, draws, learn, modes, ring

from likewise.backbones.mlp import MLP
from likewise.families.flow import Flow
from likewise.families.gan import GAN
from likewise.families.solvers import FlowSampling
from likewise.families.vae import VAE
from likewise.spaces import Continuous

pytestmark = pytest.mark.full

POINT = Continuous((2,))


def _learned(family, steps, lr, *, condition=None, sizes=None, **options):
    torch.manual_seed(0)
    model = family.build(POINT, condition or {}, MLP(**{"width": 64, "depth": 3, **(sizes or {})}))

    def batches(step):
        x, c = ring(256, 1000 + step)
        return x, (c if condition else None)

    return learn(model, batches, steps, lr, **options)


@pytest.mark.parametrize(
    ("family", "steps", "options", "least"),
    [
        (Flow(), 400, {}, 0.9),
        (Flow(path="edm"), 400, {}, 0.9),
        (Flow(path="ddpm"), 400, {}, 0.85),
        (GAN(latent=2), 900, {"lr": 2e-3, "betas": (0.0, 0.9)}, 0.75),
        # What lies between two modes in the latent lies between them in the plane: a VAE leaves bridges.
        (VAE(latent=4), 1300, {"sizes": {"norm": "layer", "activation": "relu"}}, 0.7),
    ],
    ids=["flow", "edm", "ddpm", "gan", "vae"],
)
def test_all_modes_are_learned(family, steps, options, least):
    model = _learned(family, steps, **{"lr": 4e-3, **options})
    near, counts, _ = modes(model.sample(None, draws(2000, seed=7), family.sampling))
    assert near > least
    assert counts.min() > 0.4 * 2000 / 8


@pytest.fixture(scope="module")
def labelled_flow():
    return _learned(Flow(condition_dropout=0.2), 300, 4e-3, condition=LABEL)


def _hits(model, settings) -> float:
    label = torch.arange(800) % 8
    x = model.sample({"label": label[:, None]}, draws(800, seed=7), settings)
    return float((modes(x)[2] == label).double().mean())


def test_a_condition_is_obeyed_and_guidance_makes_it_more_so(labelled_flow):
    plain, guided = (_hits(labelled_flow, FlowSampling(steps=8, guidance_scale=w)) for w in (1.0, 2.0))
    assert plain > 0.9
    assert guided >= plain
    assert _hits(labelled_flow, FlowSampling(steps=8, guidance_scale=0.0)) < 0.3  # p(x): the label is not looked at


def test_autoguidance_keeps_to_the_data_and_loses_no_mode():
    """Few steps of learning leave points between the modes; away from what the network drew before, there are fewer."""
    model = _learned(Flow(guide_model=0.3), 150, 4e-3)
    found = {w: modes(model.sample(None, draws(2000, seed=7), FlowSampling(autoguidance=w))) for w in (1.0, 2.0)}
    (plain, _, _), (guided, counts, _) = found[1.0], found[2.0]
    assert guided > plain + 0.03
    assert counts.min() > 0.4 * 2000 / 8
    kept = [p.clone() for p in model.weak.parameters()]
    model.set_progress(31, 100)
    assert all(torch.equal(a, b) for a, b in zip(kept, model.weak.parameters(), strict=True))
    model.set_progress(29, 100)
    assert not all(torch.equal(a, b) for a, b in zip(kept, model.weak.parameters(), strict=True))


def test_autoguidance_needs_a_weak_network(labelled_flow):
    with pytest.raises(ValueError, match="this run kept none"):
        labelled_flow.sample(None, draws(2), FlowSampling(autoguidance=2.0))
    with pytest.raises(ValueError, match=r"keep one, with guide_model=0\.1"):
        Flow(sampling=FlowSampling(autoguidance=2.0))
    jumping = FlowSampling(sampler="jump", steps=4, autoguidance=2.0)
    model = Flow(few_step=True, guide_model=0.1).build(POINT, {}, MLP(width=8))
    with pytest.raises(ValueError, match="shortcut steps have none"):
        model.sample(None, draws(2), jumping)


def test_no_condition_means_any(labelled_flow):
    near, counts, _ = modes(labelled_flow.sample(None, draws(1000, seed=7), FlowSampling()))
    assert near > 0.8
    assert counts.min() > 1000 / 8 / 2


@pytest.mark.parametrize(
    ("family", "steps", "options"),
    [(GAN(latent=2), 500, {"lr": 2e-3, "betas": (0.0, 0.9)}), (VAE(latent=2), 400, {})],
    ids=["gan", "vae"],
)
def test_a_label_is_obeyed(family, steps, options):
    model = _learned(family, steps, **{"lr": 4e-3, "condition": LABEL, **options})
    assert _hits(model, family.sampling) > 0.9


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpm_solver_pp"])
def test_samplers_agree_where_steps_are_many(labelled_flow, sampler):
    fine = labelled_flow.sample(None, draws(64), FlowSampling(sampler="heun", steps=64))
    assert (labelled_flow.sample(None, draws(64), FlowSampling(sampler=sampler, steps=48)) - fine).abs().mean() < 0.03
