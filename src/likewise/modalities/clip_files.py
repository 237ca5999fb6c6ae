"""Finds the clips in a folder: films by suffix, animated pictures by opening some of them, folders of frames."""

from __future__ import annotations

import os
from collections.abc import Sequence, Set
from pathlib import Path

from PIL import Image as PILImage

from likewise.modalities.image_io import PICTURES
from likewise.modalities.video_io import FILMS

#: suffixes of pictures that may be animated
ANIMATED = {".gif", ".webp"}
#: maximum files that are opened to test for animation
_LOOKED_AT = 9


def clip_files(path: Path, names: Sequence[str], wanted: bool = False) -> list[str]:
    """Those of `names` that are clips, or [] if the folder does not hold clips.

    Films are clips, unless pictures outnumber them. Pictures in animated formats are clips if the folder has no other
    pictures and most of an evenly spaced subset are animated. wanted: the user has asked for clips, so other pictures
    are ignored.
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
    """The subfolders that hold pictures, in alphabetical order."""
    return sorted({folder for name in _ending(names, PICTURES) if (folder := os.path.dirname(name))})


def _ending(names: Sequence[str], suffixes: Set[str]) -> list[str]:
    return [name for name in names if Path(name).suffix.lower() in suffixes]


def _moves(path: Path) -> bool:
    try:
        with PILImage.open(path, formats=["GIF", "WEBP"]) as picture:
            return getattr(picture, "n_frames", 1) > 1
    except (OSError, ValueError, SyntaxError, PILImage.DecompressionBombError):  # reported later with all broken files
        return False
