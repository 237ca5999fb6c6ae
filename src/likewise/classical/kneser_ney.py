"""The n-gram model with interpolated, modified Kneser-Ney smoothing.

Kneser and Ney, "Improved backing-off for m-gram language modeling" (1995); Chen and Goodman, "An empirical study of
smoothing techniques for language modeling" (1998), with their three discounts. For a context h = (w_1 ... w_k),

    p(w | h) = max(c(h w) - D(c(h w)), 0) / c(h) + back(h) p(w | w_2 ... w_k)

down to a uniform distribution over tokens. c is the number of occurrences for the longest contexts, and for shorter
ones the number of distinct tokens before (h w).

n-grams are stored as sorted integers: (index of the (n-1)-gram without its last token) * width + last token, found by
binary search, so that a whole corpus is processed by a few array operations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]


class KneserNey:
    """p(token | the previous `order` - 1 tokens); contexts do not cross item boundaries."""

    def __init__(self, flat: Index, lengths: Index, vocabulary: int, order: int) -> None:
        """flat: the tokens of all items, concatenated, in [0, vocabulary); others are only context and never predicted.

        lengths: of each item, shape (N,), summing to len(flat). order: 1 for no context.
        """
        self.vocabulary, self.order = vocabulary, order
        #: Vocabulary size plus two: the padding token before every item, and the unknown token.
        self._width = vocabulary + 2
        line = self._padded_line(flat, lengths)[0]
        context = np.zeros(len(line), np.int64)
        runs: list[Index] = []
        occurrences: list[Index] = []
        counts: list[Array] = []
        for k in range(order):
            keys, number, count = np.unique(context * self._width + line, return_inverse=True, return_counts=True)
            if k:  # distinct tokens before each shorter n-gram: the number of longer n-grams ending in it
                ends = np.empty(len(keys), np.int64)
                ends[number] = occurrences[-1]
                counts[-1] = np.bincount(ends, minlength=len(runs[-1])).astype(np.float64)
            runs.append(keys)
            occurrences.append(number)
            counts.append(count.astype(np.float64))
            context = np.roll(number, 1)
        self._runs = runs
        self._mass: list[Array] = []  #: discounted probability of each n-gram given its context
        self._back: list[Array] = []  #: back-off weight of each context
        for k, (keys, count) in enumerate(zip(runs, counts, strict=True)):
            count[keys % self._width >= vocabulary] = 0
            before, contexts = keys // self._width, len(runs[k - 1]) if k else 1
            taken = _discounts(count)[np.minimum(count, 3).astype(np.int64)]
            total = np.bincount(before, count, contexts)
            left = np.bincount(before, taken, contexts)
            seen = total > 0
            self._back.append(np.where(seen, left / np.where(seen, total, 1), 1.0))
            self._mass.append((count - taken) / np.where(seen, total, 1)[before])

    def log_prob(self, flat: Index, lengths: Index) -> Array:
        """log p of each item in nats, shape (N,); items as in `__init__`. Tokens outside the vocabulary are skipped."""
        line, places = self._padded_line(flat, lengths)
        context = np.zeros(len(line), np.int64)
        chance = np.full(len(line), 1 / self.vocabulary)
        for k in range(self.order):
            run = self._find(k, context, line)
            known = context >= 0
            own = np.where(run >= 0, self._mass[k][run], 0.0)
            chance = np.where(known, own + np.where(known, self._back[k][context], 1.0) * chance, chance)
            context = np.roll(run, 1)
        cost = np.log(chance[places]) * (line[places] < self.vocabulary)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        return np.bincount(rows, cost, len(lengths)).astype(np.float64)

    def start(self, batch: int) -> Index:
        """The initial contexts, as n-gram indices; shape (batch, order), -1 where never seen."""
        state = np.full((batch, self.order), -1, np.int64)
        state[:, 0] = 0
        for _ in range(self.order - 1):
            state = self.follow(state, np.full(batch, self.vocabulary))
        return state

    def follow(self, state: Index, token: Index) -> Index:
        """The contexts after one more token, shape (B,)."""
        after = np.zeros_like(state)
        for k in range(self.order - 1):
            after[:, k + 1] = self._find(k, state[:, k], self._known(token))
        return after

    def chances(self, state: Index) -> Array:
        """p of every token after the contexts `state`, shape (B, vocabulary); rows sum to 1."""
        p = np.full((len(state), self.vocabulary), 1 / self.vocabulary)
        for k in range(self.order):
            rows = np.flatnonzero(state[:, k] >= 0)
            context = state[rows, k]
            p[rows] *= self._back[k][context][:, None]
            low, high = (np.searchsorted(self._runs[k], context * self._width + edge) for edge in (0, self.vocabulary))
            many = high - low
            run = np.repeat(low - np.cumsum(many) + many, many) + np.arange(many.sum())
            p[np.repeat(rows, many), self._runs[k][run] % self._width] += self._mass[k][run]
        return p

    def _known(self, token: Index) -> Index:
        return np.where((token < 0) | (token > self.vocabulary), self.vocabulary + 1, token)

    def _find(self, k: int, context: Index, token: Index) -> Index:
        """The index of the n-gram (context, token) among those of k + 1 tokens; -1 where never seen."""
        keys = self._runs[k]
        wanted = context * self._width + token
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where((context >= 0) & (keys[place] == wanted), place, -1)

    def _padded_line(self, flat: Index, lengths: Index) -> tuple[Index, Index]:
        """All items in one array, each after max(1, order - 1) padding tokens, and the indices of their tokens."""
        pad = max(1, self.order - 1)
        places = np.arange(len(flat)) + pad * (np.repeat(np.arange(len(lengths)), lengths) + 1)
        line = np.full(len(flat) + pad * len(lengths), self.vocabulary, np.int64)
        line[places] = np.where((flat < 0) | (flat >= self.vocabulary), self.vocabulary + 1, flat)
        return line, places


def _discounts(counts: Array) -> Array:
    """D(0) to D(3+) from the numbers of n-grams with one to four occurrences (Chen and Goodman, equation 26).

    Clamped inside (0, count), so that back-off weights and probabilities are positive. In small data some of the four
    counts are zero; a single discount is used there.
    """
    n = np.bincount(np.minimum(counts, 5).astype(np.int64), minlength=6).astype(np.float64)
    found = np.zeros(4)
    y = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.5
    for k in (1, 2, 3):
        exact = k - (k + 1) * y * n[k + 1] / n[k] if n[k] else y
        found[k] = min(max(exact, 0.05), k - 0.05)
    return found
