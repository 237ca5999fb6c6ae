"""Mismatched pairs: a translation of another sentence, a caption of another picture.

A linear map (ridge regression, Hoerl and Kennard, 1970), fitted on other folds, predicts the features of one side from
those of the other, in both directions. A pair is suspicious if the prediction is closer to many random items than to
the pair's own other side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict

from likewise.metrics.intervals import generator
from likewise.quality.items import Array, components

#: a pair is suspicious if more than this share of random items matches better; for a random pair it is half
SUSPECT = 0.2
#: the median share above which one side does not predict the other well enough
KNOWING = 0.02
FOLDS = 5
_COMPONENTS, _RANDOM, _RIDGE = 256, 500, 0.03
#: the minimum number of pairs to fit a map
FEWEST = 200


@dataclass(frozen=True)
class Matched:
    """How well pairs match."""

    #: (N,) share of random items that match better than an item's own other side, in [0, 1]; mean of both directions
    ranks: NDArray[np.float64]
    #: items whose sides do not match, the worst first; empty if one side does not predict the other well enough
    suspects: list[int]

    @property
    def median(self) -> float:
        return float(np.median(self.ranks))

    @property
    def knowing(self) -> bool:
        return self.median <= KNOWING


def match(given: Array, target: Array, seed: int = 0) -> Matched | None:
    """Compare the sides' standardised features, shapes (N, F) and (N, G). None if N < `FEWEST`."""
    if len(given) < FEWEST:
        return None
    a, b = components(given, seed, _COMPONENTS), components(target, seed, _COMPONENTS)
    ranks = (_ranks(a, b, seed) + _ranks(b, a, seed)) / 2
    found = Matched(ranks, [])
    if not found.knowing:
        return found
    worst = np.argsort(-ranks, kind="stable")
    return Matched(ranks, worst[ranks[worst] > SUSPECT].tolist())


def _ranks(a: Array, b: Array, seed: int) -> NDArray[np.float64]:
    """For each row, the share of random rows of b with a higher cosine to its prediction from a than its own row."""
    folds = KFold(FOLDS, shuffle=True, random_state=seed)
    told = _unit(np.asarray(cross_val_predict(Ridge(alpha=_RIDGE * len(a)), a, b, cv=folds)))
    b = _unit(b)
    others = generator(seed, "pairs").choice(len(b), min(_RANDOM, len(b)), replace=False)
    return (told @ b[others].T > (told * b).sum(1)[:, None]).mean(1)


def _unit(x: Array) -> Array:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
