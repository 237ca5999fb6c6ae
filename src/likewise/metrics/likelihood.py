"""Likelihoods in one unit for every family: bits per dimension, byte or column; and what a simple model would need.

A density of discrete data in [-1, 1] becomes a bound on the probability of the data by uniform dequantisation (Theis
et al., 2016): each of the `levels` values has a bin 2 / levels wide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import log, log2

import numpy as np
from numpy.typing import NDArray

from likewise.metrics.intervals import Estimate, ratio_of_sums
from likewise.spaces import Continuous, Space, Tokens

Array = NDArray[np.float64]


def bits(nats: Array, space: Space) -> Array:
    """How many bits each item takes: -log2 p. nats: log-likelihoods, with shape (n,), as `Model.log_likelihood` gives.

    For Continuous with levels, of the data's probability; without levels, of a density in x's own units, which can be
    negative.
    """
    offset = space.size * log2(space.levels / 2) if isinstance(space, Continuous) and space.levels else 0.0
    return -np.asarray(nats, np.float64) / log(2) + offset


def bits_per_unit(bits: Array, amounts: Array, seed: int = 0) -> Estimate:
    """sum of bits / sum of amounts over items, both with shape (n,), with an interval by the bootstrap over items."""
    return ratio_of_sums(np.asarray(bits, np.float64), np.asarray(amounts, np.float64), seed)


def independent_bits(train: NDArray, held_out: NDArray, space: Space) -> Array:
    """Bits each item of `held_out` takes under independent positions fitted on `train`; both (N, *shape) of `space`.

    Tokens: one histogram for all positions where items end, one per position where they do not. Continuous: a
    histogram per dimension where there are levels or choices, else a Gaussian per dimension. Counts start from 1
    (Laplace).
    """
    if isinstance(space, Tokens):
        return _token_bits(np.asarray(train), np.asarray(held_out), space)
    x, y = (np.asarray(each, np.float64).reshape(len(each), -1) for each in (train, held_out))
    if space.levels:
        x, y = (np.clip(np.floor((each + 1) / 2 * space.levels), 0, space.levels - 1).astype(int) for each in (x, y))
        return _histogram_bits(x, y, space.levels)
    mean, deviation = x.mean(0), np.maximum(x.std(0), 1e-3)
    density = -0.5 * ((y - mean) / deviation) ** 2 - np.log(deviation) - 0.5 * log(2 * np.pi)
    total = np.zeros(len(y))
    chosen = np.zeros(x.shape[1], bool)
    for start, stop in space.choices:  # one-hot channels are one choice, which has a probability, not a density
        chosen[start:stop] = True
        total += _histogram_bits(x[:, start:stop].argmax(1)[:, None], y[:, start:stop].argmax(1)[:, None], stop - start)
    return total - density[:, ~chosen].sum(1) / log(2)


def _histogram_bits(x: NDArray, y: NDArray, kinds: int) -> Array:
    """One histogram per position: x, y integers in [0, kinds), with shape (N, L)."""
    total = np.zeros(len(y))
    for position in range(x.shape[1]):
        counts = np.bincount(x[:, position], minlength=kinds) + 1.0
        total -= np.log2(counts[y[:, position]] / counts.sum())
    return total


def _token_bits(x: NDArray, y: NDArray, space: Tokens) -> Array:
    if space.end is None and x.shape[1] == y.shape[1]:
        return _histogram_bits(x, y, space.vocabulary)
    counts = np.bincount(x[_counted(x, space.end)], minlength=space.vocabulary) + 1.0
    cost = -np.log2(counts / counts.sum())
    return np.where(_counted(y, space.end), cost[np.maximum(y, 0)], 0.0).sum(1)


def _counted(x: NDArray, end: int | None) -> NDArray[np.bool_]:
    """The tokens up to the first `end`, itself included."""
    is_end = x == end
    return (x >= 0) & (np.cumsum(is_end, 1) - is_end == 0)


def ngram_bits(train: Sequence[str], held_out: Sequence[str], order: int = 4) -> Array:
    """Bits each text takes under a byte n-gram model of `train`, the byte that ends it included; shape (n,).

    Orders are blended as by Witten and Bell (1991): p(b | s) = (count(s b) + kinds(s) p(b | s')) / (count(s) +
    kinds(s)), where s' is s without its first byte, down to 256 equal chances.
    """
    following: list[dict[bytes, Counter]] = [{} for _ in range(order)]
    for text in train:
        data = text.encode() + b"\0"
        for length, table in enumerate(following):
            for i in range(len(data)):
                table.setdefault(data[max(0, i - length) : i], Counter())[data[i]] += 1
    totals = [{context: counts.total() for context, counts in table.items()} for table in following]
    result = np.zeros(len(held_out))
    for row, text in enumerate(held_out):
        data = text.encode() + b"\0"
        for i, byte in enumerate(data):
            chance = 1 / 256
            for length, table in enumerate(following):
                context = data[max(0, i - length) : i]
                counts = table.get(context)
                if counts is None:
                    break
                chance = (counts[byte] + len(counts) * chance) / (totals[length][context] + len(counts))
            result[row] -= log2(chance)
    return result
