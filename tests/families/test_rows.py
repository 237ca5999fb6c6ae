"""Batches of several requests: rows with seeds and settings of their own have the bits that they have elsewhere."""

from __future__ import annotations

import pytest
import torch
from test_contract import COMBINATIONS, LABEL, WORD, _condition, _some

from likewise.backbones.mlp import MLP
from likewise.backbones.recurrent import GRU
from likewise.backbones.transformer import Transformer
from likewise.draws import Draws
from likewise.families.autoregressive import Autoregressive
from likewise.families.flow import Flow
from likewise.families.gan import GAN
from likewise.families.vae import VAE
from likewise.spaces import Continuous, Tokens

SEEDS = [3, 2**63 + 5, 3, -1, 0, 7, 7, 7]
INDEX = torch.tensor([0, 0, 5, 2, 2**33, 1, 2, 3])
ROW = Continuous((4,))
NETWORKS = [GRU(width=16, depth=1), Transformer(width=16, depth=1, heads=2)]


def settled(model):
    torch.manual_seed(1)
    for p in model.parameters():
        p.data += 0.3 * torch.randn_like(p)
    return model.eval()


@pytest.mark.parametrize(("family", "space", "backbone"), COMBINATIONS, ids=lambda p: getattr(p, "name", str(p)))
def test_a_row_has_the_bits_of_its_own_seed(family, space, backbone):
    torch.manual_seed(0)
    model = settled(family.build(space, LABEL, backbone))
    if not model.players():
        model.observe(_some(space, 60, seed=4), _condition(60))
    c, settings = _condition(8), family.sampling
    mixed = model.sample(c, Draws(SEEDS, INDEX), settings)
    for row, seed in enumerate(SEEDS):
        # A batch of the same size: products of another one may be rounded otherwise.
        assert torch.equal(model.sample(c, Draws(seed, INDEX), settings)[row], mixed[row])
        if model.draws_alone(settings, 64):
            one = {"label": c["label"][row : row + 1]}
            assert torch.equal(model.sample(one, Draws(seed, INDEX[row : row + 1]), settings)[0], mixed[row])


@pytest.mark.parametrize("backbone", NETWORKS, ids=lambda b: b.name)
def test_autoregressive_rows_have_settings_of_their_own(backbone):
    torch.manual_seed(0)
    family = Autoregressive()
    model = settled(family.build(Tokens(12, 9, end=8), LABEL, backbone))
    changes = [
        {}, {"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.6}, {"min_p": 0.2, "guidance_scale": 2.0},
        {"repetition_penalty": 1.5}, {"guidance_scale": 2.0}, {"temperature": 0},
    ]  # fmt: skip
    assert_rows(family, model, changes)
    assert_rows(family, model, changes[:2] * 4)
    assert_rows(family, model, [{"guidance_scale": 3.0}, {"guidance_scale": 0.5}] * 4)


def test_flow_rows_have_guidance_of_their_own():
    torch.manual_seed(0)
    family = Flow(guide_model=0.1)
    model = settled(family.build(ROW, LABEL, MLP(width=16, depth=2)))
    changes = [{}, {"guidance_scale": 2.0}, {"guidance_scale": 0.0}, {"autoguidance": 1.5}]
    assert_rows(family, model, changes * 2)
    assert_rows(family, model, changes[1:3] * 4)
    plain = Flow().build(ROW, LABEL, MLP(width=16, depth=1))
    rows = [Flow().sampling, Flow().sampling.model_copy(update={"autoguidance": 2.0})]
    with pytest.raises(ValueError, match="kept none"):
        plain.sample(None, Draws(0, torch.arange(2)), family.by_row(rows))


def test_vae_rows_of_tokens_have_settings_of_their_own():
    torch.manual_seed(0)
    family = VAE(latent=3)
    model = settled(family.build(WORD, LABEL, NETWORKS[0]))
    assert_rows(family, model, [{}, {"temperature": 0.3}, {"top_k": 1}, {"top_p": 0.5}] * 2)


def assert_rows(family, model, changes):
    """Each row has exactly the bits of a batch in which all rows have its settings."""
    settings = [type(family.sampling).model_validate({**family.sampling.model_dump(), **each}) for each in changes]
    c = _condition(len(changes))
    mixed = model.sample(c, Draws(3, torch.arange(len(changes))), family.by_row(settings))
    for row, own in enumerate(settings):
        assert torch.equal(model.sample(c, Draws(3, torch.arange(len(changes))), own)[row], mixed[row]), changes[row]


def test_settings_that_a_batch_has_one_of():
    steps = [Flow().sampling, Flow().sampling.model_copy(update={"steps": 8})]
    with pytest.raises(ValueError, match=r"steps: flow uses one value for a whole batch, and only autoguidance, gui"):
        Flow().by_row(steps)
    latent = [GAN().sampling, GAN().sampling.model_copy(update={"precision": "bfloat16"})]
    with pytest.raises(ValueError, match=r"precision: gan .* and no setting may differ by row"):
        GAN().by_row(latent)
    beams = [Autoregressive().sampling, Autoregressive().sampling.model_copy(update={"beams": 2})]
    with pytest.raises(ValueError, match="beams: autoregressive"):
        Autoregressive().by_row(beams)


def test_rows_of_one_setting_are_a_batch_of_it():
    settings = Flow().sampling
    same = Flow().by_row([settings, settings.model_copy()])
    assert same.groups() == [(settings, None)]
    assert not same.rows
