"""The adversarial losses against their formulas, and the turns of the two players."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from toys import draws

from likewise.backbones.mlp import MLP
from likewise.families.gan import GAN, discriminator_loss, generator_loss, mismatched
from likewise.spaces import Continuous, Tokens

REAL = torch.tensor([1.5, -0.3, 0.0, 4.0])
FAKE = torch.tensor([-2.0, 0.7, 0.1, -0.5])


def test_the_classic_losses_are_their_formulas():
    d_real, d_fake = REAL.double().sigmoid(), FAKE.double().sigmoid()
    expected = -d_real.log().mean() - (1 - d_fake).log().mean()
    for loss in ("minimax", "non_saturating"):
        torch.testing.assert_close(discriminator_loss(loss, REAL, FAKE).double(), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(generator_loss("non_saturating", FAKE).double(), -d_fake.log().mean(), atol=1e-6, rtol=0)
    torch.testing.assert_close(generator_loss("minimax", FAKE).double(), (1 - d_fake).log().mean(), atol=1e-6, rtol=0)


def test_logits_far_out_stay_finite():
    far = torch.tensor([200.0])
    assert discriminator_loss("non_saturating", -far, far) == 400
    assert generator_loss("non_saturating", -far) == 200


def test_the_other_losses_are_their_formulas():
    pair = -(REAL - FAKE).double().sigmoid().log().mean()
    torch.testing.assert_close(discriminator_loss("relativistic", REAL, FAKE).double(), pair, atol=1e-6, rtol=0)
    pair = -(FAKE - REAL).double().sigmoid().log().mean()
    torch.testing.assert_close(generator_loss("relativistic", FAKE, REAL).double(), pair, atol=1e-6, rtol=0)
    squares = 0.5 * ((REAL - 1) ** 2).mean() + 0.5 * (FAKE**2).mean()
    assert discriminator_loss("least_squares", REAL, FAKE) == squares
    assert generator_loss("least_squares", FAKE) == 0.5 * ((FAKE - 1) ** 2).mean()
    hinge = torch.tensor([0.0, 1.3, 1.0, 0.0]).mean() + torch.tensor([0.0, 1.7, 1.1, 0.5]).mean()
    torch.testing.assert_close(discriminator_loss("hinge", REAL, FAKE), hinge)
    assert discriminator_loss("wasserstein_gp", REAL, FAKE) == FAKE.mean() - REAL.mean()
    assert generator_loss("hinge", FAKE) == generator_loss("wasserstein_gp", FAKE) == -FAKE.mean()


class _Slope(nn.Module):
    """A discriminator with a known gradient: 3 x_0 + 2 x_1^2, that is (3, 4 x_1)."""

    def forward(self, x, c=None):
        return (3 * x[:, 0] + 2 * x[:, 1] ** 2)[:, None]


def _model(**settings):
    torch.manual_seed(0)
    return GAN(latent=3, **settings).build(Continuous((2,)), {}, MLP(width=8, depth=1))


def test_the_penalty_is_half_gamma_times_both_squared_slopes():
    model = _model(gamma=0.5)
    model.discriminator = _Slope()
    x = torch.tensor([[0.0, 1.0], [2.0, -1.0]])
    fake = model.sample(None, draws(2), GAN().sampling)
    found = model.loss(x, None, "discriminator", draws(2))["penalty"]
    slopes = [9 + (4 * each[:, 1]) ** 2 for each in (x, fake)]
    torch.testing.assert_close(found, 0.25 * (slopes[0].mean() + slopes[1].mean()))


def test_a_lazy_penalty_comes_seldom_and_weighs_more():
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    eager, lazy = _model(gamma=0.5), _model(gamma=0.5, penalty_every=4)
    for step in range(8):
        lazy.set_progress(step, 100)
        terms = lazy.loss(x, None, "discriminator", draws(4))
        assert ("penalty" in terms) == (step % 4 == 0)
    lazy.set_progress(0, 100)
    found = [m.loss(x, None, "discriminator", draws(4))["penalty"] for m in (eager, lazy)]
    torch.testing.assert_close(found[1], 4 * found[0])


def test_one_generator_pass_serves_both_players():
    model = _model()
    calls = []
    model.generator.register_forward_hook(lambda *_: calls.append(1))
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    shared = []
    for player in model.players():
        terms = model.loss(x, None, player, draws(4))
        sum(v for k, v in terms.items() if not k.startswith("_")).backward()
        shared = [p.grad for p in model.generator.parameters()]
    assert len(calls) == 1
    model.zero_grad()
    model.loss(x, None, "generator", draws(4))["generator"].backward()  # alone, from the same draws
    assert len(calls) == 2
    for p, before in zip(model.generator.parameters(), shared, strict=True):
        torch.testing.assert_close(p.grad, before)


def test_each_player_moves_only_itself():
    model = _model(gamma=0.5)
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    for player, other in (("discriminator", "generator"), ("generator", "discriminator")):
        model.zero_grad()
        terms = model.loss(x, None, player, draws(4))
        sum(v for k, v in terms.items() if not k.startswith("_")).backward()
        assert all(p.grad is None for p in model.players()[other].parameters())
        assert all(p.requires_grad for p in model.parameters())


def test_spectral_norm_bounds_every_layer():
    model = _model(spectral_norm=True)
    model.train()
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    for _ in range(30):
        model.loss(x, None, "discriminator", draws(4))
    layers = [m for m in model.discriminator.modules() if isinstance(m, nn.Linear)]
    for layer in layers:
        assert float(torch.linalg.matrix_norm(layer.weight.detach(), 2)) == pytest.approx(1, abs=0.05)


def test_discriminate_gives_a_logit_an_item():
    model = _model()
    x = torch.zeros(5, 2)
    assert model.discriminate(x, None).shape == (5,)
    torch.testing.assert_close(model.discriminate(x, None), model.discriminator(x, None)[:, 0])


def test_a_wrong_condition_never_equals_the_right_one():
    given = {
        "label": torch.tensor([[0], [0], [1], [-1], [2], [2]]),
        "size": torch.tensor([[1.0, 5.0], [1.0, 5.0], [1.0, torch.nan], [3.0, 3.0], [torch.nan, 4.0], [1.0, 4.0]]),
    }
    other, differs = mismatched(given)
    # Row 1 and 5 have the condition of those before; 2 another label; 3 and 4 know too little but their sizes; 0 both.
    assert differs.tolist() == [True, False, True, True, True, False]
    for i in differs.nonzero().flatten().tolist():
        assert any(not torch.equal(other[k][i], given[k][i]) for k in given)
    missing = {"label": torch.tensor([[-1], [2]])}
    assert not mismatched(missing)[1].any()
    captions = torch.tensor([[3, 4, 9], [3, 4, 9], [3, 5, 9]])
    assert mismatched({"text": captions})[1].tolist() == [True, False, True]


class _Matches(nn.Module):
    """A discriminator that likes label 1 with large items: logit x_0 * (2 c - 1)."""

    def forward(self, x, c=None):
        return x[:, :1] * (2 * c["label"].float() - 1)


@pytest.mark.parametrize("loss", ["relativistic", "non_saturating", "hinge", "least_squares"])
def test_a_wrong_condition_counts_as_a_generated_item(loss):
    torch.manual_seed(0)
    model = GAN(latent=3, loss=loss, gamma=0, matching=True).build(
        Continuous((2,)), {"label": Tokens(1, 2)}, MLP(width=8, depth=1)
    )
    model.discriminator = _Matches()
    x, c = torch.tensor([[1.0, 0.0], [-2.0, 0.0], [3.0, 0.0]]), {"label": torch.tensor([[1], [0], [0]])}
    fake = model.sample(c, draws(3), GAN().sampling)[:, 0]
    real, generated = torch.tensor([1.0, 2.0, -3.0]), fake * torch.tensor([1.0, -1.0, -1.0])
    wrong = torch.tensor([-1.0, -2.0, float(generated[2])])  # the third has its neighbour's label: no wrong one
    expected = (discriminator_loss(loss, real, generated) + discriminator_loss(loss, real, wrong)) / 2
    torch.testing.assert_close(model.loss(x, c, "discriminator", draws(3))["discriminator"], expected)


def test_matching_is_on_for_sequences_and_can_be_said():
    text, label = {"text": Tokens(4, 9, end=8)}, {"label": Tokens(1, 3)}
    assert GAN().matches(text)
    assert GAN().matches({"meaning": Continuous((384,))})
    assert not GAN().matches(label)
    assert not GAN().matches({"small": Continuous((1, 8, 8))})
    assert GAN(matching=True).matches(label)
    assert not GAN(matching=False).matches(text)
