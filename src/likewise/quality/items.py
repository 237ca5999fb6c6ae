"""The items that are looked at closely: some of the records, each different from the others, and their features.

Neighbours are sought among principal components (Pearson, 1901) of the modality's own features, and the length of what
the components leave out: no trained network is needed, and nothing is downloaded.
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

#: items, numbers of features, and characters that are looked at, so that a look takes seconds and some 100 MiB
MOST, _CELLS, _CHARACTERS = 10_000, 2**25, 3_000_000
#: items that are looked at however long they are
_FEWEST = 100
COMPONENTS = 64
#: neighbours of each item
NEIGHBOURS = 10
_CHUNK = 256


@dataclass(frozen=True)
class Items:
    """Different items, with their features and nearest neighbours."""

    #: (N,) which records they are, ascending
    where: NDArray[np.int64]
    #: how many records were read for them: more than N where records repeat each other
    looked: int
    #: for each group of equal records among those read: which records
    equal: list[list[int]]
    #: (N, F) standardised features in [-5, 5]
    standard: Array
    #: (N, D) principal components of them and the length of the rest
    x: Array
    #: (N, K) distances to the K nearest other items in `x`, and which items they are, nearest first
    distances: Array
    nearest: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.where)


def take(records: Records, modality: Modality, seed: int = 0, most: int = MOST) -> Items:
    """Look at up to `most` records, drawn at random where there are more. Needs at least two different ones."""
    where = _drawn(records, modality, seed, most)
    column = records.columns[records.target]
    if records.streamed:  # the scan has not read all of them
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
    """`Modality.features` of raw values, piece by piece: shape (N, F)."""
    parts = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(values), _CHUNK):
            read = list(pool.map(modality.read, values[start : start + _CHUNK]))
            parts.append(np.asarray(modality.features(read), np.float32).reshape(len(read), -1))
    return np.concatenate(parts)


def standardise(x: Array) -> Array:
    """x, with shape (N, F), less its mean, over its spread; what varies less than the median feature is not enlarged.

    So the dark corners of pictures stay dark, and the length of a text does not drown its letters.
    """
    spread = x.std(0)
    varies = spread > 1e-6
    scale = np.maximum(spread, np.median(spread[varies]) if varies.any() else 1.0)
    return np.clip((x - x.mean(0)) / scale, -CLIP, CLIP).astype(np.float32)


def components(standard: Array, seed: int = 0, count: int = COMPONENTS) -> Array:
    """The leading components of standardised features (N, F), and the length of the rest: shape (N, D)."""
    count = max(1, min(count, *(n - 1 for n in standard.shape)))
    if standard.shape[1] <= count + 1:
        return standard
    found = PCA(count, svd_solver="randomized", random_state=seed).fit(standard)
    projected = found.transform(standard)
    rest = np.sqrt(np.maximum((standard**2).sum(1) - (projected**2).sum(1), 0))
    return np.concatenate([projected, rest[:, None]], 1).astype(np.float32)


def neighbours(x: Array, count: int = NEIGHBOURS) -> tuple[Array, NDArray[np.int64]]:
    """Distances to the nearest other rows of x, and which they are, both with shape (N, min(count, N - 1))."""
    count = min(count, len(x) - 1)
    search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(x)
    _, index = search.kneighbors()  # a row is not its own neighbour
    # The search multiplies matrices, which cannot tell near from equal; these few distances are computed as such.
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
    """Which records are read, ascending."""
    order = generator(seed, "look").permutation(len(records))
    column = records.columns[records.target]
    some = [column[i] for i in order[:64].tolist()]
    most = min(most, _CELLS // max(1, features(some[:1], modality).shape[1]))
    if "text" in modality.forms:  # long texts take long
        texts = modality.as_form([modality.read(each) for each in some], "text")
        most = min(most, int(_CHARACTERS / max(1.0, float(np.mean([len(text) for text in texts])))))
    return np.sort(order[: max(most, _FEWEST)])
