"""The classifier two-sample test (Lopez-Paz and Oquab, 2017): a classifier ("judge") separates real from fake items.

The judge is trained on one half of the real and fake items and tested on the other half; its accuracy is 50% if the
two are indistinguishable. It is chosen among three classifiers within the training half, so that the test half is used
only once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu, rankdata
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.svm import SVC

from likewise.metrics.intervals import Estimate, generator, percentiles, proportion, resamples

Array = NDArray[np.float64]

#: Three kinds of classifiers with different strengths: differences of means, smooth shapes, thresholds of features.
JUDGES: dict[str, Callable[[], Any]] = {
    "linear": lambda: LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
    "kernel": lambda: SVC(C=3.0),
    "trees": lambda: HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, random_state=0),
}


@dataclass(frozen=True)
class Verdict:
    """The judge's result on the test half."""

    judge: str  #: the chosen key of JUDGES
    measures: dict[str, Estimate]  #: accuracy, auc, precision, recall, f1; "fake" is the positive class
    p_value: float  #: of the judge's ranking (Mann-Whitney, one-sided) under equal distributions of real and fake
    test_fake: NDArray[np.int64]  #: indices of the fakes in the test half, the most recognisable first
    fake_scores: Array  #: for each of them the share of the test half's real items with a lower score, in [0, 1]
    test_real: NDArray[np.int64]  #: indices of the real items in the test half, the most fake-looking first
    real_scores: Array  #: for each of them the share of the test half's fakes with a lower score, in [0, 1]
    tested: int  #: the number of items in the test half


def two_sample_test(real: Array, fake: Array, seed: int = 0, judges: Sequence[str] = tuple(JUDGES)) -> Verdict:
    """Train and test a judge on n = min(N, M) of each. real: shape (N, D); fake: (M, D). Raises ValueError if n < 8."""
    n = min(len(real), len(fake))
    if n < 8:
        raise ValueError(f"{n} items: a judge needs at least 8 real and 8 fake ones")
    rng = generator(seed, "c2st")
    pick_real, pick_fake = rng.permutation(len(real))[:n], rng.permutation(len(fake))[:n]
    half = n // 2
    x = np.concatenate([real[pick_real[:half]], fake[pick_fake[:half]]])
    y = np.repeat([0, 1], half)
    centre, scale = x.mean(0), np.where(x.std(0) > 0, x.std(0), 1.0)
    x = (x - centre) / scale
    name = judges[0] if len(judges) == 1 else _best(x, y, judges)
    judge = JUDGES[name]().fit(x, y)
    test_real, test_fake = pick_real[half:], pick_fake[half:]
    scores = judge.decision_function((np.concatenate([real[test_real], fake[test_fake]]) - centre) / scale)
    truth = np.repeat([0, 1], n - half)
    of_real, of_fake = scores[truth == 0], scores[truth == 1]
    first, fake_scores = _most_suspect(of_fake, of_real)
    wrong, real_scores = _most_suspect(of_real, of_fake)
    p_value = float(mannwhitneyu(of_fake, of_real, alternative="greater").pvalue)
    measures = _measures(scores, truth, seed)
    return Verdict(name, measures, p_value, test_fake[first], fake_scores, test_real[wrong], real_scores, len(truth))


def own_judge(real: Array, fake: Array, seed: int = 0) -> dict[str, Estimate]:
    """Accuracy and AUC (keys accuracy, auc) of a model's own discriminator; "fake" is the positive class.

    real: its logits of real items, shape (N,), higher = more real; fake: of samples, shape (M,). Its logits have no
    natural zero (with a relativistic or Wasserstein loss), so the threshold is chosen on one half of each and tested
    on the other half. Raises ValueError if N < 4 or M < 4.
    """
    n = min(len(real), len(fake))
    if n < 4:
        raise ValueError(f"{n} items: a discriminator needs at least 4 real and 4 generated ones")
    half = n // 2
    picks = [generator(seed, "own judge", k).permutation(len(side))[:n] for k, side in enumerate((real, fake))]
    real, fake = -real[picks[0]], -fake[picks[1]]  # higher = more likely fake
    cut = _cut(real[:half], fake[:half])
    scores = np.concatenate([real[half:], fake[half:]]) - cut
    found = _measures(scores, np.repeat([0, 1], n - half), seed)
    return {name: found[name] for name in ("accuracy", "auc")}


def _cut(real: Array, fake: Array) -> float:
    """The threshold with the highest accuracy, above which an item counts as fake; the middle one of equal ones."""
    both = np.sort(np.concatenate([real, fake]))
    cuts = np.concatenate([[both[0] - 1], (both[1:] + both[:-1]) / 2, [both[-1] + 1]])
    right = np.searchsorted(np.sort(real), cuts, "right") - np.searchsorted(np.sort(fake), cuts, "right")
    best = np.flatnonzero(right == right.max())
    return float(cuts[best[len(best) // 2]])


def _most_suspect(scores: Array, others: Array) -> tuple[NDArray[np.int64], Array]:
    """The order by descending score, and in that order the share of `others` that score lower."""
    order = np.argsort(-scores, kind="stable")
    return order, np.searchsorted(np.sort(others), scores[order], "left") / len(others)


def _best(x: Array, y: NDArray, judges: Sequence[str]) -> str:
    """The judge with the highest area under the ROC curve on a quarter of the items, trained on the rest."""
    quarter = np.zeros(len(y), bool)
    for label in (0, 1):
        members = np.flatnonzero(y == label)
        quarter[members[: max(1, len(members) // 4)]] = True
    areas = {
        name: roc_area(JUDGES[name]().fit(x[~quarter], y[~quarter]).decision_function(x[quarter]), y[quarter])
        for name in judges
    }
    return max(areas, key=lambda name: areas[name])


def roc_area(scores: Array, truth: NDArray) -> float:
    """The area under the ROC curve: the probability that an item of truth 1 scores above one of truth 0 (ties: half).

    scores, truth: shape (n,).
    """
    positive = int(truth.sum())
    ranks = rankdata(scores)[truth == 1].sum() - positive * (positive + 1) / 2
    return float(ranks / (positive * (len(truth) - positive)))


def area_replicates(below: Array, above: Array, p: Array, q: Array) -> Array:
    """`roc_area` of bootstrap samples, shape (R,).

    below, above: scores with shapes (N,) and (M,). p, q: counts of each in each sample, shapes (R, N) and (R, M).
    """
    values = np.concatenate([below, above])
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=-np.inf))  # of each group of equal scores
    none = np.zeros_like(p[:, :1])
    counts = (np.hstack([p, none.repeat(len(above), 1)]), np.hstack([none.repeat(len(below), 1), q]))
    first, second = (np.add.reduceat(each[:, order], starts, axis=1) for each in counts)
    smaller = np.cumsum(first, 1) - 0.5 * first
    return (second * smaller).sum(1) / (p.sum(1) * q.sum(1))


def _measures(scores: Array, truth: NDArray, seed: int) -> dict[str, Estimate]:
    said = scores > 0
    right = said == truth
    hits = float((said & (truth == 1)).sum())
    precision = proportion(hits / said.sum() if said.any() else 0.0, float(said.sum()))
    recall = proportion(hits / truth.sum(), float(truth.sum()))
    # Real and fake items are resampled separately, as they were collected.
    real, fake = np.flatnonzero(truth == 0), np.flatnonzero(truth == 1)
    p, q = resamples(len(real), seed, 500), resamples(len(fake), seed + 1, 500)
    areas = area_replicates(scores[real], scores[fake], p, q)
    caught, wrong = q @ said[fake], p @ said[real]
    return {
        "accuracy": proportion(float(right.mean()), len(truth)),
        "auc": percentiles(roc_area(scores, truth), areas),
        "precision": precision,
        "recall": recall,
        "f1": percentiles(2 * hits / (said.sum() + truth.sum()), 2 * caught / (caught + wrong + len(fake))),
    }
