"""A folder of clips: films, animated pictures, or folders of frames."""

from __future__ import annotations

import os

from likewise.data import clips
from likewise.data.layouts.base import Layout, Source
from likewise.data.layouts.items import items
from likewise.data.records import Records


class ClipFolder(Layout):
    rank = 1

    def detect(self, source: Source) -> int:
        if not source.is_folder:
            return int(source.suffix in clips.FILMS)
        return len(_clips(source)) or len(_frames(source))

    def read(self, source: Source) -> Records:
        if not source.is_folder:
            raise ValueError(f"{source.path}: one clip is not a data set; give the folder of clips")
        if found := _clips(source):
            return items(source.path, sorted(found, key=lambda name: name.split(os.sep)), "video", "clip folder")
        return items(source.path, _frames(source), "video", "folders of frames")


def _clips(source: Source) -> list[str]:
    if source.as_ == "image":
        return []
    return clips.clip_files(source.path, source.names, source.as_ == "video")


def _frames(source: Source) -> list[str]:
    """The folders that hold frames, only if the user wants clips: else they may be folders of classes."""
    return clips.frame_folders(source.names) if source.as_ == "video" else []
