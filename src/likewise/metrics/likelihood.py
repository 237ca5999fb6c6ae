"""Likelihoods in one unit for every family: bits per dimension, byte or column; and those of simple reference models.

A density of discrete data in [-1, 1] becomes a bound on the probability of the data by uniform dequantisation (Theis
et al., 2016): each of the `levels` values has a bin of width 2 / levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, log2

import numpy as np
import torch
from numpy.typing import NDArray

from likewise.classical.kneser_ney import KneserNey
from likewise.classical.marginals import Marginals
from likewise.metrics.intervals import Estimate, ratio_of_sums
from likewise.spaces import Continuous, Space

Array = NDArray[np.float64]
#: the token that ends a text, after its bytes
_END = 256


def bits(nats: Array, space: Space) -> Array:
    """Bits per item, -log2 p, shape (n,). nats: log-likelihoods, shape (n,), from `Model.log_likelihood`.

    For Continuous with levels, p is the probability of the data; without levels, a density in x's own units, whose
    bits can be negative.
    """
    offset = space.size * log2(space.levels / 2) if isinstance(space, Continuous) and space.levels else 0.0
    return -np.asarray(nats, np.float64) / log(2) + offset


def bits_per_unit(bits: Array, amounts: Array, seed: int = 0) -> Estimate:
    """sum of bits / sum of amounts over items, both with shape (n,), with an interval by the bootstrap over items."""
    return ratio_of_sums(np.asarray(bits, np.float64), np.asarray(amounts, np.float64), seed)


def independent_bits(train: NDArray, held_out: NDArray, space: Space) -> Array:
    """Bits per item of `held_out` under a model with independent positions, shape (n,).

    The model (`classical.marginals`) is fitted on `train`; both arrays have shape (N, *shape) of `space`.
    """
    fitted = Marginals(torch.from_numpy(np.asarray(train)), space)
    return bits(fitted.log_prob(torch.from_numpy(np.asarray(held_out))).numpy(), space)


def ngram_bits(train: Sequence[str], held_out: Sequence[str], order: int = 6) -> Array:
    """Bits of each text's bytes, without the end token, under a byte n-gram model of `train`; shape (n,).

    See `classical.kneser_ney`.
    """
    flat, lengths = _bytes(held_out)
    nats = KneserNey(*_bytes(train), _END + 1, order).log_prob(flat[flat != _END], lengths - 1)
    return -nats / log(2)


def _bytes(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The bytes of all texts concatenated, each followed by the end token, shape (T,); and the lengths, shape (n,)."""
    encoded = [text.encode() for text in texts]
    lengths = np.array([len(each) + 1 for each in encoded], np.int64)
    flat = np.full(lengths.sum(), _END, np.int64)
    ends = np.zeros(len(flat), bool)
    ends[np.cumsum(lengths) - 1] = True
    flat[~ends] = np.frombuffer(b"".join(encoded), np.uint8)
    return flat, lengths
