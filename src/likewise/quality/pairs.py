"""Pairs that do not belong together: a translation of another sentence, a caption of another picture.

A linear map (ridge regression, Hoerl and Kennard, 1970) learns on other folds what the features of one side say of the
other's, both ways. A pair is suspected when what one side says fits many random items better than its own other half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict

from likewise.metrics.intervals import generator
from likewise.quality.items import Array, components

#: share of random items that fit better, above which a pair is suspected; half of them do where a pair is random
SUSPECT = 0.2
#: the median pair's share above which one side says too little of the other
KNOWING = 0.02
FOLDS = 5
_COMPONENTS, _RANDOM, _RIDGE = 256, 500, 0.03
#: pairs from which on a map is worth fitting
FEWEST = 200


@dataclass(frozen=True)
class Matched:
    """How well pairs fit."""

    #: (N,) share of random items that fit better than an item's own other half, in [0, 1]; the mean of both ways
    ranks: NDArray[np.float64]
    #: items whose halves do not fit, the worst first; empty where one side says too little of the other
    suspects: list[int]

    @property
    def median(self) -> float:
        return float(np.median(self.ranks))

    @property
    def knowing(self) -> bool:
        return self.median <= KNOWING


def match(given: Array, target: Array, seed: int = 0) -> Matched | None:
    """Compare the sides' standardised features, with shapes (N, F) and (N, G). None where there are too few pairs."""
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
    """For each row, the share of random rows of b that are more like what a says (by cosine) than its own row of b."""
    folds = KFold(FOLDS, shuffle=True, random_state=seed)
    told = _unit(np.asarray(cross_val_predict(Ridge(alpha=_RIDGE * len(a)), a, b, cv=folds)))
    b = _unit(b)
    others = generator(seed, "pairs").choice(len(b), min(_RANDOM, len(b)), replace=False)
    return (told @ b[others].T > (told * b).sum(1)[:, None]).mean(1)


def _unit(x: Array) -> Array:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
