"""Which of a folder's files are clips: films by their names, animated pictures by a look at some, folders of frames."""

from __future__ import annotations

import os
from collections.abc import Sequence, Set
from pathlib import Path

from PIL import Image as PILImage

from likewise.modalities.image_io import PICTURES
from likewise.modalities.video_io import FILMS

#: what may move
ANIMATED = {".gif", ".webp"}
#: files of which it is asked whether they move
_LOOKED_AT = 9


def clip_files(path: Path, names: Sequence[str], wanted: bool = False) -> list[str]:
    """Those of `names` that are clips, or [] where the folder is none of clips.

    Films are, unless pictures are more. Animated pictures are, where there are no others and most of some that are
    looked at move; or where clips are `wanted`.
    """
    films = _ending(names, FILMS.keys())
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


def _ending(names: Sequence[str], suffixes: Set[str]) -> list[str]:
    return [name for name in names if Path(name).suffix.lower() in suffixes]


def _moves(path: Path) -> bool:
    try:
        with PILImage.open(path, formats=["GIF", "WEBP"]) as picture:
            return getattr(picture, "n_frames", 1) > 1
    except (OSError, ValueError, SyntaxError, PILImage.DecompressionBombError):  # it will be told with all broken files
        return False
