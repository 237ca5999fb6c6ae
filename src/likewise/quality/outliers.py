"""Outliers by the distance to the k-th nearest neighbour (Ramaswamy et al., 2000).

Among a dozen detectors compared by Campos et al. (2016), none is reliably better. An item is an outlier if the modified
z-score of the logarithm of that distance exceeds 3.5 (Iglewicz and Hoaglin, 1993).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from likewise.quality.items import Items

FAR = 3.5


@dataclass(frozen=True)
class Outlier:
    """An item, and the modified z-score of its log distance."""

    item: int
    z: float
    #: its distance to the k-th neighbour, as a multiple of the median item's
    times: float


def outliers(items: Items) -> list[Outlier]:
    """The outliers, the farthest first; empty if most distances are equal."""
    far = items.distances[:, -1].astype(np.float64)
    z = scores(far)
    usual = float(np.median(far))
    found = np.flatnonzero(z > FAR)
    return [Outlier(int(i), float(z[i]), float(far[i] / usual)) for i in found[np.argsort(-z[found], kind="stable")]]


def scores(far: NDArray[np.float64]) -> NDArray[np.float64]:
    """The modified z-scores of the logarithms of distances, shape (N,); zeros if these hardly vary."""
    if not (far > 0).any():
        return np.zeros(len(far))
    logs = np.log(np.maximum(far, far[far > 0].min()))
    centre = np.median(logs)
    spread = 1.4826 * np.median(np.abs(logs - centre))  # 1.4826 * MAD estimates a normal standard deviation
    return (logs - centre) / spread if spread > 1e-3 else np.zeros(len(far))
