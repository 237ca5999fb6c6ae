"""Detects by their names whether the pictures of a folder are frames of clips."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

#: minimum frames of a clip
_FEWEST = 4


def look_like_frames(names: Sequence[str]) -> bool:
    """Whether there are several folders with equally many pictures, numbered consecutively."""
    folders: dict[str, list[int]] = defaultdict(list)
    for name in names:
        hit = re.search(r"(\d+)$", Path(name).stem)
        if hit is None:
            return False
        folders[os.path.dirname(name)].append(int(hit.group(1)))
    if len(folders) < 2 or len({len(found) for found in folders.values()}) > 1:
        return False
    return all(
        len(found) >= _FEWEST and sorted(found) == [*range(min(found), min(found) + len(found))]
        for found in folders.values()
    )
