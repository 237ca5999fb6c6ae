"""A folder of pictures, in folders of their classes or not."""

from __future__ import annotations

from likewise.data.clips import PICTURES, look_like_frames
from likewise.data.layouts.base import Layout, Source
from likewise.data.layouts.items import items
from likewise.data.records import Records


class ImageFolder(Layout):
    rank = 3  # before texts, which may describe the pictures

    def detect(self, source: Source) -> int:
        return source.count(PICTURES)

    def read(self, source: Source) -> Records:
        if not source.is_folder:
            raise ValueError(f"{source.path}: one picture is not a data set; give the folder of pictures")
        names = source.having(PICTURES)
        found = items(source.path, names, "image", "image folder")
        if look_like_frames(names):
            found.notes.append(
                "each folder holds as many numbered pictures: if they are the frames of a clip, --as video"
            )
        return found
