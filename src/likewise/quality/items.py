"""The items that are checked in detail: a subset of distinct records, with their features and nearest neighbours.

Neighbours are searched among principal components (Pearson, 1901) of the modality's own features plus the length of the
residual: no trained network is needed and nothing is downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from likewise.data.records import Records
from likewise.metrics.features import CLIP
from likewise.metrics.intervals import generator
from likewise.modalities.base import BadValue, Modality

Array = NDArray[np.float32]

#: limits for the number of items, of feature values and of characters, to keep the checks within seconds and 100 MiB
MOST, _CELLS, _CHARACTERS = 10_000, 2**25, 3_000_000
#: the minimum number of items that are checked, regardless of their length
_FEWEST = 100
COMPONENTS = 64
#: the number of neighbours of each item
NEIGHBOURS = 10
_CHUNK = 256


@dataclass(frozen=True)
class Items:
    """Distinct items with their features and nearest neighbours."""

    #: (N,) their record indices, ascending
    where: NDArray[np.int64]
    #: the number of records read to find them: more than N if records repeat
    looked: int
    #: for each group of equal records among those read, the record indices
    equal: list[list[int]]
    #: (N, F) standardised features in [-5, 5]
    standard: Array
    #: (N, D) principal components of `standard` and the length of the residual
    x: Array
    #: (N, K) distances to the K nearest other items in `x`, and their item numbers, nearest first
    distances: Array
    nearest: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.where)


def take(records: Records, modality: Modality, seed: int = 0, most: int = MOST) -> Items:
    """Features and neighbours of up to `most` random records, of which at least two must differ."""
    where = _drawn(records, modality, seed, most)
    column = records.columns[records.target]
    if records.streamed:  # the scan has read only a part of the data
        where = np.array([i for i in where.tolist() if _readable(column[i], modality)], np.int64)
    groups: dict[str, list[int]] = {}
    for index, digest in zip(where.tolist(), records.subset(where).digests(), strict=True):
        groups.setdefault(digest, []).append(index)
    distinct = np.array([group[0] for group in groups.values()], np.int64)
    standard = standardise(features([column[i] for i in distinct.tolist()], modality))
    x = components(standard, seed)
    distances, nearest = neighbours(x)
    equal = [group for group in groups.values() if len(group) > 1]
    return Items(distinct, len(where), equal, standard, x, distances, nearest)


def features(values: Sequence[Any], modality: Modality) -> Array:
    """`Modality.features` of raw values, computed in chunks: shape (N, F), float32."""
    parts = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(values), _CHUNK):
            read = list(pool.map(modality.read, values[start : start + _CHUNK]))
            parts.append(np.asarray(modality.features(read), np.float32).reshape(len(read), -1))
    return np.concatenate(parts)


def standardise(x: Array) -> Array:
    """(x - mean) / scale for x of shape (N, F), clipped to [-5, 5]; the scale is at least the median feature's.

    The minimum prevents nearly constant features (the dark corners of pictures) from being amplified.
    """
    spread = x.std(0)
    varies = spread > 1e-6
    scale = np.maximum(spread, np.median(spread[varies]) if varies.any() else 1.0)
    return np.clip((x - x.mean(0)) / scale, -CLIP, CLIP).astype(np.float32)


def components(standard: Array, seed: int = 0, count: int = COMPONENTS) -> Array:
    """The leading components of standardised features (N, F), and the length of the residual: shape (N, D)."""
    count = max(1, min(count, *(n - 1 for n in standard.shape)))
    if standard.shape[1] <= count + 1:
        return standard
    found = PCA(count, svd_solver="randomized", random_state=seed).fit(standard)
    projected = found.transform(standard)
    rest = np.sqrt(np.maximum((standard**2).sum(1) - (projected**2).sum(1), 0))
    return np.concatenate([projected, rest[:, None]], 1).astype(np.float32)


def neighbours(x: Array, count: int = NEIGHBOURS) -> tuple[Array, NDArray[np.int64]]:
    """Distances to the nearest other rows of x and their indices, both with shape (N, min(count, N - 1))."""
    count = min(count, len(x) - 1)
    search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(x)
    _, index = search.kneighbors()  # a row is not its own neighbour
    # The search uses matrix products, which are inexact for nearly equal rows; these few distances are recomputed.
    exact = np.stack([np.linalg.norm(x - x[index[:, k]], axis=1) for k in range(count)], 1)
    order = np.argsort(exact, 1, kind="stable")
    return np.take_along_axis(exact, order, 1), np.take_along_axis(index, order, 1).astype(np.int64)


def _readable(value: Any, modality: Modality) -> bool:
    try:
        modality.read(value)
    except BadValue:
        return False
    return True


def _drawn(records: Records, modality: Modality, seed: int, most: int) -> NDArray[np.int64]:
    """The record indices to read, ascending."""
    order = generator(seed, "look").permutation(len(records))
    column = records.columns[records.target]
    some = [column[i] for i in order[:64].tolist()]
    most = min(most, _CELLS // max(1, features(some[:1], modality).shape[1]))
    if "text" in modality.forms:  # limit the total number of characters
        texts = modality.as_form([modality.read(each) for each in some], "text")
        most = min(most, int(_CHARACTERS / max(1.0, float(np.mean([len(text) for text in texts])))))
    return np.sort(order[: max(most, _FEWEST)])
