"""Labels: class balance, and labels that two classifiers doubt.

Confident learning (Northcutt et al., 2021): a label is doubted if classifiers not trained on it give another class at
least the mean probability that this class has on its own items. The classifiers are the nearest neighbours and a linear
discriminant fitted on other folds; their probabilities are averaged, so neither can decide alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from likewise.metrics.intervals import Estimate, proportion
from likewise.quality.items import Array

FOLDS = 5
#: the minimum number of items of a class for it to be judged; smaller classes are called rare
FEWEST = 10
#: the ratio of the largest to the smallest class above which data are called imbalanced
IMBALANCE = 10.0
#: the minimum balanced accuracy of the classifiers for their doubts to be reported
KNOWING = 0.8


@dataclass(frozen=True)
class Balance:
    """The number of items of each class, the largest first."""

    counts: dict[str, int]
    missing: int

    @property
    def ratio(self) -> float:
        """The size of the largest class over that of the smallest (Buda et al., 2018)."""
        sizes = [*self.counts.values()]
        return sizes[0] / sizes[-1] if sizes else 1.0

    @property
    def effective(self) -> float:
        """The number of equal classes with the same entropy (Hill's number of order 1, 1973)."""
        sizes = np.array([*self.counts.values()], np.float64)
        shares = sizes / sizes.sum()
        return float(np.exp(-(shares * np.log(shares)).sum())) if len(sizes) else 0.0

    @property
    def rare(self) -> list[str]:
        return [name for name, count in self.counts.items() if count < FEWEST]

    @property
    def imbalanced(self) -> bool:
        return self.ratio > IMBALANCE


@dataclass(frozen=True)
class Doubt:
    """An item whose label the classifiers doubt."""

    item: int
    label: str
    instead: str
    #: the mean probability of `instead`, in [0, 1]
    probability: float


@dataclass(frozen=True)
class Judged:
    """The classifiers' assessment of a field's labels."""

    accuracy: Estimate  #: share of items whose predicted class equals their label
    balanced: float  #: the mean of the classes' accuracies
    count: int  #: items judged
    doubts: list[Doubt]  #: the most certain first; empty if `balanced` is below `KNOWING`

    @property
    def knowing(self) -> bool:
        return self.balanced >= KNOWING


def balance(labels: Sequence[str | None]) -> Balance:
    """Count the labels; None is a missing label."""
    counts = Counter(label for label in labels if label is not None)
    return Balance(dict(counts.most_common()), sum(label is None for label in labels))


def judge(x: Array, nearest: NDArray[np.int64], labels: Sequence[str | None], seed: int = 0) -> Judged | None:
    """Assess labels by features x, shape (N, D), and the indices of each item's neighbours, shape (N, K).

    Classes of fewer than `FEWEST` items are left out. None if fewer than two classes remain.
    """
    counts = Counter(label for label in labels if label is not None)
    classes = sorted(name for name, count in counts.items() if count >= FEWEST)
    if len(classes) < 2:
        return None
    number = {name: i for i, name in enumerate(classes)}
    codes = np.array([-1 if label is None else number.get(label, -1) for label in labels])
    judged = np.flatnonzero(codes >= 0)
    own, rows = codes[judged], np.arange(len(judged))
    votes = np.stack([(codes[nearest[judged]] == c).mean(1) for c in range(len(classes))], 1)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    linear = cross_val_predict(model, x[judged].astype(np.float64), own, cv=folds, method="predict_proba")
    belief = (votes + linear) / 2
    right = belief.argmax(1) == own
    balanced = float(np.mean([right[own == c].mean() for c in range(len(classes))]))
    # Equation 2 of Northcutt et al.: the mean probability of each class on its own items
    usual = np.array([belief[own == c, c].mean() for c in range(len(classes))])
    sure = np.where(belief >= usual, belief, -1.0)
    other = sure.argmax(1)
    accused = np.flatnonzero((sure[rows, other] >= 0) & (other != own)) if balanced >= KNOWING else rows[:0]
    # the most certain first: by the difference of probabilities between the other class and the label
    surest = accused[np.argsort(belief[accused, own[accused]] - belief[accused, other[accused]], kind="stable")]
    doubts = [
        Doubt(int(judged[i]), classes[own[i]], classes[other[i]], float(belief[i, other[i]])) for i in surest.tolist()
    ]
    return Judged(proportion(float(right.mean()), len(judged)), balanced, len(judged), doubts)
