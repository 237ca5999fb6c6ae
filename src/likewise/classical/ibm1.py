"""Word for word: the first of the models of Brown et al., "The mathematics of statistical machine translation" (1993).

Each word of a translation comes from one word of its source, or from none, all of them equally likely:

    p(f_1 ... f_m | e) = const * prod_j sum_i t(f_j | e_i)

t is learned by EM; the likelihood has one maximum. A translation is each source word's likeliest word, in their order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from scipy import sparse

#: a word, a number, one mark, or one character of a script that has no spaces
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+|[^\w\s]")
_MARK = re.compile(r"[^\w\s]")


def words(text: str) -> list[str]:
    return _WORD.findall(text)


class IBM1:
    """A table of which word stands for which, learned from pairs of texts."""

    def __init__(self, sources: Sequence[str], targets: Sequence[str], iterations: int = 8) -> None:
        self.source: dict[str, int] = {"": 0}  # the word that says what nothing says
        self.target: dict[str, int] = {}
        rows, columns, places = [], [], []
        place = 0
        for source, target in zip(sources, targets, strict=True):
            given = np.array([0, *(self.source.setdefault(w, len(self.source)) for w in words(source))])
            said = np.array([self.target.setdefault(w, len(self.target)) for w in words(target)], np.int64)
            rows.append(np.tile(given, len(said)))
            columns.append(np.repeat(said, len(given)))
            places.append(np.repeat(np.arange(place, place + len(said)), len(given)))
            place += len(said)
        row, column, where = (np.concatenate(p) if p else np.zeros(0, np.int64) for p in (rows, columns, places))
        pairs, which = np.unique(row * max(len(self.target), 1) + column, return_inverse=True)
        before, after = np.divmod(pairs, max(len(self.target), 1))
        chance = np.full(len(pairs), 1 / max(len(self.target), 1))
        #: log-likelihood without its constant, before each iteration
        self.history: list[float] = []
        for _ in range(iterations):
            share = chance[which]
            total = np.bincount(where, share, place)
            self.history.append(float(np.log(total).sum()))
            count = np.bincount(which, share / total[where], len(pairs))
            chance = count / np.bincount(before, count, len(self.source))[before]
        self.table = sparse.csr_array((chance, (before, after)), shape=(len(self.source), max(len(self.target), 1)))
        self._spelt = list(self.target)
        self._characters = sum(len(w) == 1 and bool(re.match(r"[\u3040-\u9fff]", w)) for w in self.target)

    def chance(self, source: str, target: str) -> float:
        """t(target | source) of two words; 0 where they were never in one pair."""
        if source not in self.source or target not in self.target:
            return 0.0
        return float(self.table[self.source[source], self.target[target]])

    def translate(self, text: str) -> str:
        """Each word's likeliest word; a word that is not known stays as it is."""
        out = []
        for word in words(text):
            row = self.source.get(word)
            start, stop = (0, 0) if row is None else self.table.indptr[row : row + 2]
            best = int(self.table.data[start:stop].argmax()) if stop > start else None
            out.append(word if best is None else self._spelt[self.table.indices[start + best]])
        if self._characters > len(self._spelt) / 2:
            return "".join(out)
        return "".join(w if i == 0 or _MARK.fullmatch(w) else f" {w}" for i, w in enumerate(out))
