"""The user's cache folder: everything in it can be made again and may be deleted at any time."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def folder() -> Path:
    """The environment variable LIKEWISE_CACHE, or the system's default cache folder."""
    if own := os.environ.get("LIKEWISE_CACHE"):
        return Path(own)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "likewise" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "likewise"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "likewise"


def keep(file: Path, array: Any) -> None:
    """Write a numpy array atomically. Raises OSError if that fails."""
    import numpy as np

    draft = file.with_name(f".{file.name}.{os.getpid()}")
    file.parent.mkdir(parents=True, exist_ok=True)
    with draft.open("wb") as out:
        np.save(out, array, allow_pickle=False)
    draft.replace(file)
