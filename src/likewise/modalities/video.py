"""Clips: frames with 8-bit channels, of one size, length and mode."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageOps
from pydantic import Field

from likewise.data.records import FoundFiles
from likewise.errors import Message, Setting, UserError
from likewise.modalities import video_io
from likewise.modalities.base import Modality, ModalitySettings, View, spread
from likewise.modalities.clip_files import clip_files, frame_folders
from likewise.modalities.video_io import About, Clip

#: maximum files from which size, length and codebook are estimated
LOOKED_AT = 200
#: of `features`: maximum frames, maximum side of frames, and maximum side of the grid of changes
_SEEN_FRAMES, _SEEN_SIDE, _CHANGE_SIDE = 8, 8, 4
#: the colour of weight 1 in a heat map; equals --heat-colour of the page
_HEAT = (226, 84, 26)

_Side = Annotated[int, Field(ge=1, le=512)]


class VideoSettings(ModalitySettings):
    modality: Literal["video"] = "video"
    size: _Side | tuple[_Side, _Side] | None = Field(
        default=None, description="pixels a side, or [height, width]; default: the data's shape, at most 64 a side"
    )
    frames: int | None = Field(
        default=None, ge=2, le=256, description="frames of a clip; default: the data's usual number, at most 16"
    )
    stride: int = Field(default=1, ge=1, description="every how many frames one is taken")
    fps: float | None = Field(
        default=None, gt=0, le=240, description="frames a second of what is written; default: the data's"
    )
    mode: Literal["L", "RGB", "RGBA"] | None = None
    format: Literal["mp4", "webm", "gif", "webp"] | None = Field(
        default=None, description="what samples are written as; default: as the data are, webp for folders of frames"
    )
    patch: int | None = Field(default=None, ge=1, le=16, description="pixels a side of a token's block")
    patch_frames: int | None = Field(default=None, ge=1, le=8, description="frames of a token's block")
    codes: int = Field(default=512, ge=2, le=4096, description="kinds of block tokens")


class Video(Modality):
    """Clips of one size, length and mode."""

    name = "video"
    Settings = VideoSettings
    item = "clip"
    reads = tuple(video_io.FILMS)
    forms = ("frames",)
    page_style = "figures"
    storage = "frames"
    suffixes = tuple(f".{kind}" for kind in video_io.WRITTEN)

    def __init__(self, size: Sequence[int], frames: int, stride: int, mode: str, fps: float, format: str) -> None:
        """size: (height, width)."""
        self.height, self.width = size
        self.frames, self.stride, self.mode, self.fps, self.format = frames, stride, mode, fps, format
        self.shape = (len(mode), frames, *size)
        self.suffix = f".{format}"

    @classmethod
    def examples(cls, count: int = 16) -> list[Any]:
        frames = np.random.default_rng(1).integers(0, 256, (count, 2, 4, 4, 1), np.uint8)
        return [Clip(each) for each in frames]

    @classmethod
    def fit(cls, values: Sequence[Any], settings: VideoSettings, seed: int = 0) -> Video:
        some = [*spread(values, LOOKED_AT)]
        seen = [video_io.about(value) for value in some]
        lengths = sorted(-(-each.frames // settings.stride) for each in seen)
        usual = Counter(lengths).most_common(1)[0]
        # the most common length if more than half of the clips have it, else the median
        usual = usual[0] if usual[1] > len(seen) / 2 else lengths[(len(seen) - 1) // 2]
        if settings.frames is None and usual < 2:
            raise UserError(
                "most of the clips have one frame only: nothing moves",
                fix=Message(Setting("as_", "image"), " learns pictures"),
            )
        frames = settings.frames or min(usual, 16)
        size = _size(seen, settings.size)
        modes = {each.mode for each in seen}
        mode = settings.mode or next(m for m in ("RGBA", "RGB", "L") if m in modes)
        fps = settings.fps or float(np.median([each.fps for each in seen])) / settings.stride
        format_ = settings.format or _format(some)
        made = cls(size, frames, settings.stride, mode, round(fps, 3), format_)
        made.notes = _notes(lengths, frames, settings.stride)
        return made

    def state(self) -> dict[str, Any]:
        return {
            "size": [self.height, self.width], "frames": self.frames, "stride": self.stride, "mode": self.mode,
            "fps": self.fps, "format": self.format,
        }  # fmt: skip

    def written(self, changes: Mapping[str, Any]) -> Video:
        allowed = VideoSettings.model_fields.keys() & {"format", "fps"}
        if unknown := changes.keys() - allowed:
            raise ValueError(f"target.{min(unknown)}: of how clips are written there are target.format and target.fps")
        chosen = VideoSettings.model_validate(dict(changes))
        state = self.state()
        return Video(**{**state, "format": chosen.format or self.format, "fps": chosen.fps or self.fps})

    def array(self, value: Any) -> NDArray[np.uint8]:
        """The frames of a raw value that are used, shape (C, T, H, W), uint8; the last is repeated if it is short."""
        if isinstance(value, Clip) and self._fits(value):
            return value.frames.transpose(3, 0, 1, 2)
        span = (self.frames - 1) * self.stride + 1
        first = max(0, (video_io.about(value).frames - span) // 2)
        found = video_io.pictures(value, range(first, first + span, self.stride))
        found += found[-1:] * (self.frames - len(found))
        return np.stack([self._frame(picture) for picture in found]).transpose(3, 0, 1, 2)

    def _fits(self, clip: Clip) -> bool:
        channels, frames, *size = self.shape
        return self.stride == 1 and clip.shape == (frames, *size, channels)

    def _frame(self, picture: PILImage.Image) -> NDArray[np.uint8]:
        """One frame at the fitted size and mode: centre crop, antialiased; shape (H, W, C), uint8."""
        if picture.mode != self.mode:
            if self.mode != "RGBA" and (picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info):
                ground = PILImage.new("RGBA", picture.size, "white")  # transparent areas become white
                picture = PILImage.alpha_composite(ground, picture.convert("RGBA"))
            picture = picture.convert(self.mode)
        if picture.size != (self.width, self.height):
            picture = ImageOps.fit(picture, (self.width, self.height), PILImage.Resampling.LANCZOS)
        return np.asarray(picture, np.uint8).reshape(self.height, self.width, -1)

    def clip(self, array: NDArray[np.uint8]) -> Clip:
        """Convert frames, shape (C, T, H, W), uint8, to a clip."""
        return Clip(np.ascontiguousarray(array.transpose(1, 2, 3, 0)), self.fps)

    def read(self, value: Any) -> Any:
        return self.clip(self.array(value))

    def frames_of(self, value: Any) -> NDArray[np.uint8]:
        return value.frames

    def still(self, value: Any) -> PILImage.Image:
        """The middle frame."""
        return value.picture(len(value) // 2)

    def content(self, value: Any) -> bytes:
        return repr(value.shape).encode() + value.tobytes()

    def read_file(self, path: Path) -> Any:
        return self.read(path)

    @classmethod
    def views(cls) -> dict[str, View]:
        return {"first": View("image", "its first frame"), "last": View("image", "its last frame")}

    def view(self, value: Any, name: str) -> Any:
        """The first or last frame of the part of the clip that is used, not of the whole file."""
        return self.read(value).picture(0 if name == "first" else -1)

    def view_settings(self, name: str) -> dict[str, Any]:
        return {"size": f"{self.width}x{self.height}", "mode": self.mode}

    @classmethod
    def find_files(cls, folder: Path, names: Sequence[str], asked: bool) -> FoundFiles | None:
        """Films, animated pictures, or folders of frames; the last only if `asked`, or if `names` are folders."""
        if found := clip_files(folder, names, asked):
            return FoundFiles(sorted(found, key=lambda name: name.split(os.sep)), "clip folder")
        folders = list(names) if names and (folder / names[0]).is_dir() else frame_folders(names) if asked else []
        return FoundFiles(folders, "folders of frames") if folders else None

    @classmethod
    def thumbnail(cls, path: Path) -> tuple[str, PILImage.Image]:
        """The preview shows the first, the middle and the last frame in a row."""
        seen = video_io.about(path)
        places = [0, seen.frames // 2, seen.frames - 1]
        shown = [video_io.pictures(path, range(i, i + 1))[0] for i in dict.fromkeys(places)]
        row = PILImage.new("RGB", (seen.width * len(shown), seen.height), "white")
        for i, picture in enumerate(shown):
            see_through = picture.mode in ("RGBA", "LA", "PA")
            row.paste(picture, (i * seen.width, 0), picture.convert("RGBA") if see_through else None)
        return str(seen), row

    def write(self, value: Any, path: Path, provenance: dict[str, Any]) -> None:
        video_io.write(Clip(value.frames, self.fps), path, provenance)

    @classmethod
    def read_provenance(cls, path: Path) -> dict[str, Any] | None:
        return video_io.read_provenance(path)

    def to_html(self, value: Any) -> str:
        return video_io.to_html(value, f"clip, {len(value.frames)} frames of {self.width} by {self.height} pixels")

    def sheet(self, values: Sequence[Any]) -> bytes | None:
        return video_io.strips(values)

    def moving_sheet(self, values: Sequence[Any]) -> bytes | None:
        return video_io.moving_sheet(values)

    def shaded(self, clip: Clip, heat: NDArray[np.float64]) -> str:
        """The clip in pale grey, overlaid with a colour whose opacity is `heat`, shape (T, H, W), in [0, 1]."""
        grey = np.stack([np.asarray(p.convert("L"), np.float64) for p in clip.pictures(mode="RGB")])[..., None]
        pale = 96 + 0.6 * grey
        mixed = pale + 0.9 * heat[..., None] * (np.array(_HEAT) - pale)
        return self.to_html(Clip(mixed.round().clip(0, 255).astype(np.uint8), self.fps))

    def perturbations(self, value: Any, rng: np.random.Generator) -> list[tuple[str, Any]]:
        frames = value.frames
        noisy = (frames + 32 * rng.standard_normal(frames.shape)).round().clip(0, 255).astype(np.uint8)
        return [
            ("noise on it", Clip(noisy, self.fps)),
            ("backwards", Clip(frames[::-1].copy(), self.fps)),
            ("its frames shuffled", Clip(frames[rng.permutation(len(frames))], self.fps)),
            ("frozen at its first frame", Clip(np.repeat(frames[:1], len(frames), 0), self.fps)),
            ("upside down", Clip(frames[:, ::-1].copy(), self.fps)),
        ]

    def properties(self, values: Sequence[Any]) -> dict[str, Callable[[Any], bool]]:
        moves = float(np.median([_motion(v) for v in values]))
        bright = float(np.median([v.frames.mean() for v in values]))
        return {
            "moves more than most": lambda value: _motion(value) > moves,
            "brighter than most": lambda value: float(value.frames.mean()) > bright,
        }

    @property
    def resize(self) -> str:
        return f"mean over cells, {_SEEN_FRAMES} frames of {_SEEN_SIDE}x{_SEEN_SIDE}, and how neighbours differ"

    def features(self, values: Sequence[Any]) -> NDArray[np.float64]:
        """Downsampled frames, and the absolute differences of successive frames in the cells of a coarse grid."""
        chosen = np.linspace(0, self.frames - 1, min(self.frames, _SEEN_FRAMES)).round().astype(int)
        rows = []
        for value in values:
            frames = value.frames.astype(np.float32) / 255
            small = _cells(frames[chosen], _SEEN_SIDE)
            # Differences at full resolution, so that small moving objects count.
            changes = _cells(np.abs(np.diff(frames, axis=0)).mean(-1, keepdims=True), _CHANGE_SIDE)
            rows.append(np.concatenate([small.ravel(), changes.ravel()]))
        return np.stack(rows).astype(np.float64)

    def num_units(self, value: Any) -> int:
        return int(np.prod(self.shape))

    def task(self, given: Sequence[str]) -> str | None:
        return "text-to-video" if "text" in given else "image-to-video" if "image" in given else None

    def describe(self) -> str:
        mode = {"L": "grey", "RGB": "colour", "RGBA": "colour with transparency"}[self.mode]
        every = f", every {self.stride}. one" if self.stride > 1 else ""
        return f"{self.frames} frames of {self.width}x{self.height} {mode}{every}, {self.fps:g} fps, as {self.format}"


def _size(seen: Sequence[About], asked: int | tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) in pixels: the setting, else the data's shape (square if it varies) at most 64 a side."""
    if asked is not None:
        return asked if isinstance(asked, tuple) else (asked, asked)
    height, width = (int(np.median([getattr(each, side) for each in seen])) for side in ("height", "width"))
    if any(abs(each.height * width - each.width * height) > 0.02 * each.width * height for each in seen):
        height = width = min(max(each.height, each.width) for each in seen)
    if max(height, width) <= 64:
        return height, width
    scale = 64 / max(height, width)
    return max(2, 2 * round(height * scale / 2)), max(2, 2 * round(width * scale / 2))


def _format(some: Sequence[Any]) -> str:
    kinds = Counter(Path(v).suffix.lower() for v in some if not isinstance(v, Clip))
    usual = kinds.most_common(1)[0][0] if kinds else ""
    if usual in video_io.FILMS:
        return "webm" if usual == ".webm" else "mp4"
    return "gif" if usual == ".gif" else "webp"


def _notes(lengths: Sequence[int], frames: int, stride: int) -> tuple[str, ...]:
    """Notes on clips that are longer or shorter than `frames`."""
    every = f", of every {stride}. one," if stride > 1 else ""
    many = f"of the {len(lengths):,} clips looked at"
    longer, shorter = (sum(sign * n > sign * frames for n in lengths) for sign in (1, -1))
    said = []
    if longer:
        said.append(f"{longer:,} {many} are longer than {frames} frames{every}: the middle of each is learned")
    if shorter:
        said.append(f"{shorter:,} {many} are shorter than {frames} frames{every}: their last frame is held")
    if said:
        said[-1] += " (target.frames and target.stride change that)"
    return tuple(said)


def _motion(clip: Clip) -> float:
    return float(np.abs(np.diff(clip.frames.astype(np.float32), axis=0)).mean())


def _cells(frames: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Means over a grid of at most side x side cells. frames: shape (T, H, W, C)."""
    for axis in (1, 2):
        count = min(side, frames.shape[axis])
        starts = np.arange(count) * frames.shape[axis] // count
        sizes = np.diff(np.append(starts, frames.shape[axis]))
        shape = [1, 1, 1, 1]
        shape[axis] = count
        frames = (np.add.reduceat(frames, starts, axis) / sizes.reshape(shape)).astype(np.float32)
    return frames
