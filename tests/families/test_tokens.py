"""Tokens: what is learned, how they are drawn, and the text VAE."""

from __future__ import annotations

import pytest
import torch
from toys import draws, learn

from likewise.backbones.recurrent import GRU
from likewise.backbones.transformer import Transformer
from likewise.families.autoregressive import Autoregressive, AutoregressiveSampling
from likewise.families.decoding import TokenSampling, restrict
from likewise.families.vae import VAE
from likewise.spaces import MISSING_TOKEN, Tokens

END = 4
WORD = Tokens(9, 5, end=END, mean_length=6.0)
LABEL = {"label": Tokens(1, 2)}


def pattern(count: int, seed: int):
    """0101... or 2323..., three to eight tokens long, then the end; and which of the two it is."""
    source = draws(count, seed)
    kind, length = source.integers(2), 3 + source.integers(6)
    place = torch.arange(9).expand(count, 9)
    x = 2 * kind[:, None] + place % 2
    return torch.where(place < length[:, None], x, END), {"label": kind[:, None]}


def kinds(x: torch.Tensor) -> list[int | None]:
    """Which pattern each row is, or None where it is neither."""
    found = []
    for row in x.tolist():
        body = row[: row.index(END)] if END in row else row
        rest_ends = all(t == END for t in row[len(body) :])
        kind = body[0] // 2 if body else 2
        right = 3 <= len(body) <= 8 and body == [2 * kind + i % 2 for i in range(len(body))]
        found.append(kind if right and rest_ends else None)
    return found


@pytest.fixture(scope="module")
def learned():
    torch.manual_seed(0)
    model = Autoregressive(condition_dropout=0.2).build(WORD, LABEL, GRU(width=32, depth=1))
    return learn(model, lambda step: pattern(64, 1000 + step), 200, 1e-2)


@pytest.mark.full
def test_both_patterns_are_learned(learned):
    found = kinds(learned.sample(None, draws(200, 7), AutoregressiveSampling()))
    assert found.count(None) < 20
    assert min(found.count(0), found.count(1)) > 60


def test_the_loss_reaches_the_entropy(learned):
    x, c = pattern(300, 5)
    value, weight = learned.held_out(x, c, draws(300))
    assert torch.equal(weight, (x != END).sum(1) + 1.0)
    # Given the label, only the length is unknown: log 6 nats.
    assert 1.75 < float(value.mean()) < 2.1
    torch.testing.assert_close(learned.log_likelihood(x, c, draws(300)), -value)
    learned.eval()
    assert float(learned.loss(x, c, "model", draws(300))["nll"].detach()) > float(value.mean()) / 6 - 0.05


def test_a_prefix_is_kept_and_its_gaps_are_filled(learned):
    prefix = torch.tensor([[2, MISSING_TOKEN, 2]]).repeat(20, 1)
    x = learned.sample(None, draws(20, 7), AutoregressiveSampling(), prefix=prefix)
    assert (x[:, 0] == 2).all()
    assert (x[:, 2] == 2).all()
    assert kinds(x).count(1) >= 18
    free = learned.sample(None, draws(20, 7), AutoregressiveSampling())
    none = learned.sample(None, draws(20, 7), AutoregressiveSampling(), prefix=torch.full((20, 3), MISSING_TOKEN))
    assert torch.equal(free, none)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_an_item_is_the_same_drawn_alone(learned, guidance):
    settings = AutoregressiveSampling(guidance_scale=guidance, repetition_penalty=1.2, top_p=0.9)
    assert learned.draws_alone(settings, 64)
    c = {"label": torch.arange(64)[:, None] % 2}
    whole = learned.sample(c, draws(64, 7), settings)
    for i, count in ((0, 1), (41, 1), (13, 9)):
        some = {"label": c["label"][i : i + count]}
        assert torch.equal(learned.sample(some, draws(count, 7, start=i), settings), whole[i : i + count])
    assert not learned.draws_alone(AutoregressiveSampling(beams=2), 64)


class _Odd:
    """Only tokens of the other kind than the item's first."""

    def __init__(self):
        self.seen = []

    def mask(self, x):
        self.seen.append(x.shape)
        if x.shape[1] == 0:
            return None
        allowed = (torch.arange(5) // 2)[None] != x[:, :1] // 2
        return allowed & (torch.arange(5) != END) | (x == 3).any(1, keepdim=True) & (torch.arange(5) == END)


def test_a_constraint_and_a_watcher_see_every_position(learned):
    odd, told = _Odd(), []
    x = learned.sample(
        None, draws(20, 7), AutoregressiveSampling(), constraint=odd, on_token=lambda i, token: told.append((i, token))
    )
    assert odd.seen == [(20, i) for i in range(len(odd.seen))]
    assert [i for i, _ in told] == [*range(len(odd.seen))]
    assert torch.equal(torch.stack([token for _, token in told], 1), x[:, : len(told)])
    assert torch.equal(x[:, 0], learned.sample(None, draws(20, 7), AutoregressiveSampling())[:, 0])
    for row in x.tolist():
        assert all(token // 2 != row[0] // 2 for token in row[1:] if token != END)


def test_guidance_follows_the_label(learned):
    label = torch.arange(100)[:, None] % 2
    c = {"label": label}
    for guidance, least in ((1.0, 85), (2.0, 92)):
        found = kinds(learned.sample(c, draws(100, 7), AutoregressiveSampling(guidance_scale=guidance)))
        assert sum(k == int(y) for k, y in zip(found, label, strict=True)) >= least
    free = learned.sample(c, draws(100, 7), AutoregressiveSampling(guidance_scale=0.0))
    assert torch.equal(free, learned.sample(None, draws(100, 7), AutoregressiveSampling()))


@pytest.mark.parametrize("backbone", [GRU(width=16, depth=1), Transformer(width=16, depth=1)], ids=lambda b: b.name)
def test_greedy_takes_the_likeliest(backbone):
    torch.manual_seed(1)
    model = Autoregressive().build(Tokens(6, 5), {}, backbone).eval()
    expected = torch.zeros(1, 6, dtype=torch.int64)
    for i in range(6):
        expected[:, i] = model.predictor(expected, None)[:, i].argmax(1)
    for settings in (AutoregressiveSampling(top_k=1), AutoregressiveSampling(temperature=0)):
        assert torch.equal(model.sample(None, draws(1), settings), expected)


def _kept(settings, used=None):
    logits = torch.tensor([[0.5, 0.2, 0.2, 0.1]]).log()
    return (restrict(logits, settings, used) > float("-inf"))[0].tolist()


def test_cuts():
    assert _kept(TokenSampling()) == [True, True, True, True]
    assert _kept(TokenSampling(top_k=2)) == [True, True, False, False]  # of equals the first
    assert _kept(TokenSampling(top_p=0.5)) == [True, False, False, False]
    assert _kept(TokenSampling(top_p=0.6)) == [True, True, False, False]
    assert _kept(TokenSampling(min_p=0.3)) == [True, True, True, False]
    assert _kept(TokenSampling(temperature=0)) == [True, False, False, False]


def test_temperature_and_repetition_penalty():
    logits = torch.tensor([[2.0, -1.0, 0.5]])
    torch.testing.assert_close(restrict(logits, TokenSampling(temperature=0.5)), 2 * logits)
    used = torch.tensor([[True, True, False]])
    torch.testing.assert_close(
        restrict(logits, TokenSampling(repetition_penalty=2.0), used), torch.tensor([[1.0, -2.0, 0.5]])
    )


def test_repetition_penalty_spares_what_was_not_used(learned):
    x = learned.sample(None, draws(50, 7), AutoregressiveSampling(repetition_penalty=20.0))
    plain = learned.sample(None, draws(50, 7), AutoregressiveSampling())
    assert torch.equal(x[:, 0], plain[:, 0])  # nothing was used before the first
    assert not torch.equal(x, plain)


@pytest.mark.full
def test_the_text_vae_uses_its_latent():
    torch.manual_seed(0)
    family = VAE(latent=4, free_bits=2.0, word_dropout=0.5)
    model = learn(family.build(WORD, {}, GRU(width=32, depth=1)), lambda s: (pattern(64, s)[0], None), 250, 1e-2)
    x, _ = pattern(100, 9999)
    terms = model.loss(x, None, "model", draws(100))
    assert terms["_kl"] > 1.5
    assert terms["_active_units"] >= 1
    found = kinds(model.sample(None, draws(100, 7), family.sampling))
    assert found.count(None) < 30
    assert min(found.count(0), found.count(1)) > 20
    # The latent alone says which pattern it is.
    again = kinds(model.from_latent(model.encode(x, None, family.sampling), None, draws(100), family.sampling))
    right = sum(a == b for a, b in zip(again, kinds(x), strict=True))
    assert right > 80


def test_the_kl_term_warms_up_and_free_bits_cost_nothing():
    model = VAE(latent=4, kl_warmup=0.5, free_bits=0.0).build(WORD, {}, GRU(width=16, depth=1)).eval()
    x, _ = pattern(16, 1)
    shares = []
    for step in (0, 24, 49, 99):
        model.set_progress(step, 100)
        terms = model.loss(x, None, "model", draws(16))
        shares.append(float(terms["kl"].detach() / terms["_kl"]))
    assert shares == pytest.approx([0.02, 0.5, 1.0, 1.0])
    free = VAE(latent=4, free_bits=1e6).build(WORD, {}, GRU(width=16, depth=1))
    free.loss(x, None, "model", draws(16))["kl"].backward()
    assert all(p.grad is None or not p.grad.any() for p in free.encoder.parameters())


@pytest.mark.parametrize("backbone", [Transformer(width=16, depth=1), GRU(width=16, depth=1)])
def test_items_of_one_token_are_drawn_alone(backbone):
    """Fewer samples than a block of a label, whose items end after their only token."""
    torch.manual_seed(0)
    model = Autoregressive().build(Tokens(1, 3), {}, backbone).eval()
    settings = AutoregressiveSampling()
    assert model.draws_alone(settings, 64)
    assert torch.equal(model.sample(None, draws(5, 1), settings), model.sample(None, draws(64, 1), settings)[:5])
