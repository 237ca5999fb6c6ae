"""Likelihoods in bits, and the simple models beside them."""

from __future__ import annotations

import bz2
from math import log
from pydoc_data.topics import topics

import numpy as np
import pytest

from likewise.metrics.likelihood import bits, bits_per_unit, independent_bits, ngram_bits
from likewise.spaces import Continuous, Tokens


def test_uniform_data_take_eight_bits_a_pixel() -> None:
    # A uniform density on [-1, 1]^D is 2^-D: 256 levels then take 8 bits each, by uniform dequantisation.
    space = Continuous((1, 4, 4), levels=256)
    cost = bits(np.full(5, -16 * log(2)), space)
    estimate = bits_per_unit(cost, np.full(5, 16.0))
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((8, 8, 8))
    assert bits(np.array([-log(2)]), Tokens(3, 5))[0] == pytest.approx(1)


def test_independent_positions_reach_the_entropy() -> None:
    rng = np.random.default_rng(0)
    tokens = (rng.random((4000, 3)) < [0.5, 0.25, 0.0]).astype(int)
    cost = independent_bits(tokens[:2000], tokens[2000:], Tokens(3, 2)).mean()
    assert cost == pytest.approx(1 + 0.8113, abs=0.03)
    pixels = np.full((1000, 1, 2, 2), -1.0)
    pixels[:, 0, 0, 0] = rng.integers(0, 4, 1000) * 0.5 - 0.75
    assert independent_bits(pixels, pixels, Continuous((1, 2, 2), levels=4)).mean() == pytest.approx(2, abs=0.05)
    normal = rng.normal(size=(3000, 1)) * 0.5
    gauss = independent_bits(normal, normal, Continuous((1,))).mean()
    one_hot = np.concatenate([normal, np.eye(4)[np.arange(len(normal)) % 4]], 1)
    both = independent_bits(one_hot, one_hot, Continuous((5,), choices=((1, 5),))).mean()
    assert both == pytest.approx(gauss + 2, abs=0.01)
    assert gauss == pytest.approx(0.5 * np.log2(2 * np.pi * np.e * 0.25), abs=0.05)


def test_tokens_after_the_end_do_not_count() -> None:
    space = Tokens(6, 3, end=2)
    short = independent_bits(np.array([[0, 2, 2, 2]]), np.array([[0, 2, 2, 2]]), space)
    longer = independent_bits(np.array([[0, 2, 2, 2]]), np.array([[0, 2, 2, 2, 2, 2]]), space)
    assert short == pytest.approx(longer)


def test_ngram_is_a_probability_and_learns_text() -> None:
    lines = [line for text in list(topics.values())[:12] for line in text.splitlines() if line.strip()]
    train, held_out = lines[::2], lines[1::2]
    amounts = np.array([len(line.encode()) for line in held_out], float)
    per_byte = bits_per_unit(ngram_bits(train, held_out), amounts)
    unigram = bits_per_unit(ngram_bits(train, held_out, order=1), amounts)
    assert 1.5 < per_byte.value < 4 < unigram.value < 6
    packed = 8 * len(bz2.compress("\n".join(held_out).encode())) / amounts.sum()
    assert per_byte.value < packed + 1
    # A text stands for all that begin like it: over every possible next byte the chances add up, but for its end's.
    chances = [2 ** -(ngram_bits(["abc", "abd"], ["ab" + chr(c)], 3)[0]) for c in range(1, 128)]
    shorter = 2 ** -ngram_bits(["abc", "abd"], ["ab"], 3)[0]
    assert 0.5 * shorter < sum(chances) < shorter
