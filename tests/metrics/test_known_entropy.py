"""Likelihoods on one scale: each family against data whose entropy is known, in the unit that a report gives."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "families"))
from toys import Returns, draws, learn

from likewise.backbones.mlp import MLP
from likewise.backbones.recurrent import GRU
from likewise.families.autoregressive import Autoregressive
from likewise.families.decoder_distributions import from_index
from likewise.families.flow import Flow
from likewise.families.vae import VAE
from likewise.metrics.likelihood import bits, bits_per_unit
from likewise.modalities.encoding import fit_encoding
from likewise.modalities.text import Text, TextSettings
from likewise.spaces import Continuous, Tokens

pytestmark = pytest.mark.full

LEVELS, SIZE, DEVIATION = 32, 4, 0.3
SMALL = MLP(width=16, depth=1)


def masses() -> Tensor:
    """The probability of each level: N(0, DEVIATION^2) in its bin of [-1, 1], the tails in the outer bins."""
    edges = torch.linspace(-1, 1, LEVELS + 1, dtype=torch.double)
    below = torch.special.ndtr(edges / DEVIATION)
    below[0], below[-1] = 0, 1
    return below.diff()


def levels(count: int, seed: int) -> Tensor:
    """Items of SIZE independent numbers on levels."""
    shares = draws(count, seed).uniform(SIZE).double()
    return from_index(torch.searchsorted(masses().cumsum(0), shares).clamp(max=LEVELS - 1), LEVELS).float()


def entropy() -> float:
    """Bits per dimension that no model can beat on average."""
    p = masses()
    return float(-(p * p.log2()).sum())


def found(model, x: Tensor) -> float:
    nats = model.log_likelihood(x, None, draws(len(x), 1)).double().numpy()
    return bits_per_unit(bits(nats, model.target), np.full(len(x), float(SIZE))).value


def test_a_flow_needs_the_entropy_of_dequantised_levels() -> None:
    """The best network for the density itself: what dequantisation costs at this many levels is under 1%."""
    model = Flow().build(Continuous((SIZE,), levels=LEVELS), {}, SMALL)
    # uniform dequantisation adds the variance of a bin, which the levels' own quantisation did not take away
    variance_1 = DEVIATION**2 + (2 / LEVELS) ** 2 / 6

    def best(x, t, c):
        alpha, sigma = (s[:, None] for s in model.path.alpha_sigma(t))
        x_t = x / model.path.input_scale(alpha, sigma)
        variance = alpha**2 * variance_1 + sigma**2
        return model.path.target(sigma / variance * x_t, alpha * variance_1 / variance * x_t, alpha, sigma)

    model.network = Returns(best)
    assert found(model, levels(4000, 2)) == pytest.approx(entropy(), abs=0.03)
    assert found(model, levels(4000, 2)) > entropy() - 0.01
    assert "dequantisation" in model.likelihood_how


def test_a_gaussian_vae_needs_the_entropy_of_dequantised_levels() -> None:
    """p(z) = N(0, 1) and p(x|z) = N(way z, rest^2): x is N(0, way^2 + rest^2) in a number, the others are noise."""
    settings = VAE(latent=SIZE, likelihood="gaussian", importance_samples=200)
    model = settings.build(Continuous((SIZE,), levels=LEVELS), {}, SMALL)
    variance_1 = DEVIATION**2 + (2 / LEVELS) ** 2 / 6
    rest = variance_1 / 2
    way = math.sqrt(variance_1 - rest)
    posterior = 1 / (1 + way**2 / rest)
    model.encoder = Returns(
        lambda x, c: torch.cat((posterior * way / rest * x, torch.full_like(x, 0.5 * math.log(1.2 * posterior))), 1)
    )
    model.decoder = Returns(lambda z, c: way * z)
    model.observed.log_scale.data.fill_(0.5 * math.log(rest) / 10)
    assert found(model, levels(2000, 3)) == pytest.approx(entropy(), abs=0.03)
    assert "200 latents, uniform dequantisation" in model.likelihood_how


def test_a_vae_learns_the_levels_own_probabilities_down_to_their_entropy() -> None:
    torch.manual_seed(0)
    model = VAE(latent=2, likelihood="categorical", importance_samples=8).build(
        Continuous((SIZE,), levels=LEVELS), {}, MLP(width=32, depth=1)
    )
    learn(model, lambda step: (levels(256, 100 + step), None), 300, lr=0.01)
    assert entropy() - 0.02 < found(model, levels(2000, 4)) < entropy() + 0.06
    assert "of the levels' own probabilities" in model.likelihood_how


STAY = 0.9


def chain(count: int, length: int, seed: int) -> Tensor:
    """A Markov chain of two states, each kept with probability STAY; shape (count, length) in {0, 1}."""
    source = draws(count, seed)
    moves = torch.cat((source.uniform(1) < 0.5, source.uniform(length - 1) > STAY), 1)
    return moves.long().cumsum(1) % 2


def chain_bits(length: int) -> float:
    """The entropy of a whole chain: one bit, then that of each move."""
    return 1 - (length - 1) * (STAY * math.log2(STAY) + (1 - STAY) * math.log2(1 - STAY))


def test_an_autoregressive_model_of_a_markov_chain_needs_its_entropy() -> None:
    torch.manual_seed(0)
    length = 12
    model = Autoregressive().build(Tokens(length, 2), {}, GRU(width=16, depth=1))
    learn(model, lambda step: (chain(128, length, 100 + step), None), 250, lr=0.02)
    x = chain(4000, length, 5)
    nats = model.log_likelihood(x, None, draws(len(x))).double().numpy()
    each = bits_per_unit(bits(nats, model.target), np.full(len(x), float(length)))
    truth = chain_bits(length) / length
    assert each.low - 0.01 < truth < each.high
    assert each.value == pytest.approx(truth, abs=0.02)
    assert model.likelihood_how.startswith("exact")


def test_bits_per_byte_do_not_hang_on_how_many_tokens_a_text_becomes() -> None:
    """Bytes and characters of a Markov text: the same bits per byte, the end's cost in the sum, not in the bytes."""
    length = 6
    texts = ["".join("aé"[k] for k in row) for row in chain(600, length, 6).tolist()]  # é is two bytes
    truth = chain_bits(length) * len(texts) / sum(len(text.encode()) for text in texts)
    for tokenizer in ("characters", "bytes"):
        encoding = fit_encoding(Text, texts, TextSettings(tokenizer=tokenizer))
        space = encoding.space
        torch.manual_seed(0)
        model = Autoregressive().build(space, {}, GRU(width=32, depth=1))

        def batch(step: int, encoding=encoding) -> tuple[Tensor, None]:
            rows = chain(64, length, 100 + step).tolist()
            packed = encoding.pack(["".join("aé"[k] for k in row) for row in rows])
            return encoding.encode(packed.take(np.arange(len(rows)))), None

        learn(model, batch, 250, lr=0.03)
        packed = encoding.pack(texts)
        x = encoding.encode(packed.take(np.arange(len(texts))))
        nats = model.log_likelihood(x, None, draws(len(x))).double().numpy()
        each = bits_per_unit(bits(nats, space), np.array([encoding.modality.num_units(t) for t in texts], float))
        # a little above the truth: the end is learned, but not for nothing
        assert truth - 0.02 < each.value < truth + 0.1, tokenizer
