"""Which of a folder's files are clips: films by their names, animated pictures by a look at some, folders of frames."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from PIL import Image as PILImage

FILMS = {".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi"}
#: what may move
ANIMATED = {".gif", ".webp"}
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
#: files of which it is asked whether they move; frames that make a folder look like a clip
_LOOKED_AT, _FEWEST = 9, 4


def clip_files(path: Path, names: Sequence[str], wanted: bool = False) -> list[str]:
    """Those of `names` that are clips, or [] where the folder is none of clips.

    Films are, unless pictures are more. Animated pictures are, where there are no others and most of some that are
    looked at move; or where clips are `wanted`.
    """
    films = _ending(names, FILMS)
    pictures = _ending(names, PICTURES)
    if films and (wanted or len(films) >= len(pictures)):
        return films
    animated = _ending(pictures, ANIMATED)
    if not animated or (len(animated) < len(pictures) and not wanted):
        return []
    some = animated[:: -(-len(animated) // _LOOKED_AT)]
    return animated if 2 * sum(_moves(path / name) for name in some) > len(some) else []


def frame_folders(names: Sequence[str]) -> list[str]:
    """The folders, not the outermost one, that hold pictures; in order."""
    return sorted({folder for name in _ending(names, PICTURES) if (folder := os.path.dirname(name))})


def look_like_frames(names: Sequence[str]) -> bool:
    """Whether every folder holds as many pictures as all others, and they are numbered without a gap."""
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


def _ending(names: Sequence[str], suffixes: set[str]) -> list[str]:
    return [name for name in names if Path(name).suffix.lower() in suffixes]


def _moves(path: Path) -> bool:
    try:
        with PILImage.open(path, formats=["GIF", "WEBP"]) as picture:
            return getattr(picture, "n_frames", 1) > 1
    except (OSError, ValueError, SyntaxError, PILImage.DecompressionBombError):  # it will be told with all broken files
        return False
