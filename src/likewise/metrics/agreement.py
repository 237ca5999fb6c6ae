"""Did it draw what was asked for? A classifier of real data says which label it sees in each sample (Ravuri and
Vinyals, 2019, turned round: trained on real, asked about fakes).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVC

from likewise.metrics.intervals import Estimate, proportion

Array = NDArray[np.float64]


def unclear(labels: Sequence[Hashable], classes: int = 200, each: float = 5.0) -> str | None:
    """Why a classifier cannot learn these labels, as a clause; None if it can."""
    kinds = Counter(labels)
    if len(kinds) < 2:
        return "every real item has the same value"
    if len(kinds) > min(classes, len(labels) / each):
        return f"{len(kinds)} different values in {len(labels)} real items are too many to learn"
    return None


class Classifier:
    """A support vector machine (Cortes and Vapnik, 1995) with a Gaussian kernel, fitted on real features.

    Of several views of the same items (ways to make features of them) it takes the one by which machines that learned
    from three quarters of the items know the rest best.
    """

    def __init__(self, views: Sequence[Array], labels: Sequence[Hashable]) -> None:
        """views: each with shape (N, D). labels: N of them, that `unclear` has nothing against."""
        self._names = sorted(set(labels), key=str)
        numbers = {name: i for i, name in enumerate(self._names)}
        y = np.array([numbers[label] for label in labels])
        aside = np.arange(len(y)) % 4 == 3
        scores = [0.0]
        if len(views) > 1 and len(set(y[~aside])) > 1:
            scores = [_machine(x[~aside], y[~aside]).score(x[aside], y[aside]) for x in views]
        self.view = int(np.argmax(scores))
        self._fitted = _machine(views[self.view], y)

    def agreement(self, views: Sequence[Array], asked: Sequence[Hashable]) -> Estimate:
        """The share of items, views of shape (M, D), in which the classifier sees the label asked for."""
        seen = self.seen(views)
        hits = sum(s == a for s, a in zip(seen, asked, strict=True))
        return proportion(hits / len(seen), len(seen))

    def seen(self, views: Sequence[Array]) -> list[Hashable]:
        """The label that it sees in each item, views of shape (M, D)."""
        return [self._names[i] for i in self._fitted.predict(views[self.view])]


def _machine(x: Array, y: NDArray[np.int64]) -> SVC:
    return SVC(C=10.0, random_state=0).fit(x, y)
