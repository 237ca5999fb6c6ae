"""Label agreement: a classifier trained on real data predicts the label of each sample, which is compared with the
label the sample was conditioned on (the classification accuracy score of Ravuri and Vinyals, 2019, reversed: the
classifier is trained on real data and tested on samples).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVC

from likewise.metrics.intervals import Estimate, proportion

Array = NDArray[np.float64]


def unlearnable(labels: Sequence[Hashable], classes: int = 200, each: float = 5.0) -> str | None:
    """The reason why a classifier cannot be trained on these labels, as a clause; None if it can."""
    kinds = Counter(labels)
    if len(kinds) < 2:
        return "every real item has the same value"
    if len(kinds) > min(classes, len(labels) / each):
        return f"{len(kinds)} different values in {len(labels)} real items are too many to learn"
    return None


class Classifier:
    """A support vector machine (Cortes and Vapnik, 1995) with a Gaussian kernel, fitted on real features.

    Given several feature sets ("views") of the same items, it uses the one with the highest accuracy on a held-out
    quarter of the items.
    """

    def __init__(self, views: Sequence[Array], labels: Sequence[Hashable]) -> None:
        """views: feature sets, each with shape (N, D). labels: N labels for which `unlearnable` returns None."""
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
        """The share of items whose predicted label equals the requested one. views: feature sets of shape (M, D)."""
        seen = self.predict(views)
        hits = sum(s == a for s, a in zip(seen, asked, strict=True))
        return proportion(hits / len(seen), len(seen))

    def predict(self, views: Sequence[Array]) -> list[Hashable]:
        """The predicted label of each item. views: feature sets of shape (M, D)."""
        return [self._names[i] for i in self._fitted.predict(views[self.view])]


def _machine(x: Array, y: NDArray[np.int64]) -> SVC:
    return SVC(C=10.0, random_state=0).fit(x, y)
