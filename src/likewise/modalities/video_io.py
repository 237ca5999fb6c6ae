"""Reads and writes clips: films by PyAV, animated GIF, WebP and PNG by Pillow, and folders of numbered frames.

The demuxer is chosen by the suffix and never detected from the content: playlist formats could otherwise open other
files or addresses.
"""

from __future__ import annotations

import base64
import contextlib
import html
import io
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from likewise.modalities.base import BadValue
from likewise.modalities.image_io import open_picture, without_palette

#: suffixes of films, and their demuxers
FILMS = {".mp4": "mov", ".m4v": "mov", ".mov": "mov", ".webm": "matroska", ".mkv": "matroska", ".avi": "avi"}
ANIMATED = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".apng": "PNG"}
#: formats in which clips are written
WRITTEN = ("mp4", "webm", "gif", "webp")
#: maximum pixels of one frame; maximum pixels of all frames of an animated picture; maximum frames of a film
_MOST_PIXELS, _MOST_ANIMATED, _MOST_FRAMES = 2**25, 2**30, 200_000
#: maximum frames of an animated picture, where a frame with a longer duration counts several times
_MOST_SHOWN = 10_000
#: frames per second if a file does not specify them
FPS = 10.0
_EXIF_DESCRIPTION = 0x010E
#: minimum shorter side of a film in pixels, reached by integer scaling, because players blur small pictures
_LARGE = 256


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames, shape (T, H, W, C), uint8, with C of 1 (grey), 3 (colour) or 4 (with transparency), and their rate."""

    frames: NDArray[np.uint8]
    fps: float = FPS

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Clip) and np.array_equal(self.frames, other.frames)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.frames.shape

    def tobytes(self) -> bytes:
        return self.frames.tobytes()

    def picture(self, index: int) -> PILImage.Image:
        """One frame; -1 is the last."""
        frame = self.frames[index]
        return PILImage.fromarray(frame[..., 0] if frame.shape[-1] == 1 else np.ascontiguousarray(frame))

    def pictures(self, zoom: int = 1, mode: str | None = None) -> list[PILImage.Image]:
        """Each frame, enlarged by the integer `zoom`; mode "RGB" composites transparent frames on white."""
        out = []
        for i in range(len(self)):
            picture = self.picture(i)
            if mode == "RGB" and picture.mode == "RGBA":
                picture = PILImage.alpha_composite(PILImage.new("RGBA", picture.size, "white"), picture)
            picture = picture.convert(mode) if mode and picture.mode != mode else picture
            size = (picture.width * zoom, picture.height * zoom)
            out.append(picture if zoom == 1 else picture.resize(size, PILImage.Resampling.NEAREST))
        return out


@dataclass(frozen=True)
class About:
    """Size, mode, number of frames and frame rate of a clip file."""

    width: int
    height: int
    mode: str  #: L, RGB or RGBA
    frames: int
    fps: float

    def __str__(self) -> str:
        return f"{self.width}x{self.height} {self.mode}, {self.frames} frames"


def about(value: Any) -> About:
    """Describe a raw value: a file, a folder of frames, or a Clip. Raises BadValue."""
    if isinstance(value, Clip):
        _, height, width, channels = value.shape
        return About(width, height, ("L", "", "RGB", "RGBA")[channels - 1], len(value), value.fps)
    path = Path(value)
    with _readable(path):
        if path.is_dir():
            files = frame_files(path)
            first = open_picture(files[0])
            return About(first.width, first.height, _mode([first]), len(files), FPS)
        if path.suffix.lower() in FILMS:
            return _about_film(path)
        shown, fps = _animated(path)
        return About(shown[0].width, shown[0].height, _mode(shown), len(shown), fps)


def pictures(value: Any, wanted: range) -> list[PILImage.Image]:
    """The frames `wanted`, fewer if the file ends before. Raises BadValue if there are none."""
    if isinstance(value, Clip):
        return [value.picture(i) for i in wanted if i < len(value)]
    path = Path(value)
    with _readable(path):
        if path.is_dir():
            found = [open_picture(file) for file in frame_files(path)[wanted.start : wanted.stop : wanted.step]]
            if len({picture.size for picture in found}) > 1:
                raise BadValue("its frames are not all of one size")
        elif path.suffix.lower() in FILMS:
            found = list(_film(path, wanted))
        else:
            found = _animated(path)[0][wanted.start : wanted.stop : wanted.step]
    if not found:
        raise BadValue(f"none of its frames {wanted.start} to {wanted.stop - 1} can be read")
    return found


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Convert reading errors to BadValue with a message of one line."""
    errors: tuple[type[Exception], ...] = (
        OSError, EOFError, ValueError, SyntaxError, PILImage.DecompressionBombError,
    )  # fmt: skip
    if path.suffix.lower() in FILMS:
        errors = (*errors, _pyav(path.suffix).FFmpegError)
    try:
        yield
    except BadValue:
        raise
    except errors as error:
        raise BadValue(f"not a readable clip: {(str(error) or type(error).__name__).splitlines()[0]}") from None


def _pyav(suffix: str) -> Any:
    try:
        import av
    except ImportError:
        raise NeedsPyAV(f"{suffix} files are read and written by PyAV: pip install 'likewise[video]'") from None
    return av


class NeedsPyAV(ValueError):
    """PyAV is not installed; the file itself may be valid."""


def _fits(width: int, height: int, most: int = _MOST_PIXELS) -> None:
    if width * height > most:
        raise BadValue(f"frames of {width}x{height} pixels; at most {most:,} pixels are read")


# Folders of frames.


def numbers(names: Sequence[str]) -> list[int] | None:
    """The number at the end of each name's stem; None if one is missing or occurs twice."""
    found = [re.search(r"(\d+)$", name.rpartition(".")[0]) for name in names]
    values = [int(hit.group(1)) for hit in found if hit]
    return values if len(set(values)) == len(names) else None


def frame_files(folder: Path) -> list[Path]:
    """The frames in a folder, by their numbers. Raises BadValue."""
    files = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    order = numbers([f.name for f in files])
    if not files or order is None:
        raise BadValue("a folder of frames holds pictures only, each with a number of its own at the end of its name")
    if len(files) > _MOST_FRAMES:
        raise BadValue(f"{len(files):,} frames; at most {_MOST_FRAMES:,} are read")
    return [file for _, file in sorted(zip(order, files, strict=True))]


# Animated pictures.


def _animated(path: Path) -> tuple[list[PILImage.Image], float]:
    """All frames, and frames per second; a frame with a longer duration is repeated."""
    kind = ANIMATED.get(path.suffix.lower())
    if kind is None:
        known = ", ".join(sorted({*FILMS, *ANIMATED}))
        raise BadValue(f"{path.suffix or 'a file without an end to its name'} is no clip; {known} and folders are")
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", PILImage.DecompressionBombWarning)  # the limits below are lower
        whole = PILImage.open(file, formats=[kind])
        _fits(*whole.size)
        count = getattr(whole, "n_frames", 1)
        _fits(whole.width * count, whole.height, _MOST_ANIMATED)
        frames, holds = [], []
        for i in range(count):
            whole.seek(i)
            whole.load()
            frames.append(without_palette(whole.copy()))
            holds.append(float(whole.info.get("duration") or 0))
    order, fps = timeline(holds)
    mode = _mode(frames)
    frames = [frame if frame.mode == mode else frame.convert(mode) for frame in frames]
    return [frames[i] for i in order], fps


def timeline(holds: Sequence[float]) -> tuple[list[int], float]:
    """The index of the frame at each tick of a uniform clock, and ticks per second. holds: milliseconds of each frame.

    A tick is the shortest duration. The last frame counts once: its duration is often a pause before the loop restarts.
    """
    known = [hold if hold >= 20 else 1000 / FPS for hold in holds]  # as browsers treat very short durations
    tick = min(known[:-1] or known)
    counts = [max(1, round(hold / tick)) for hold in known[:-1]] + [1]
    if sum(counts) > _MOST_SHOWN:
        raise BadValue(f"{sum(counts):,} frames of {tick:g} ms; at most {_MOST_SHOWN:,} are read")
    return [i for i, count in enumerate(counts) for _ in range(count)], 1000 / tick


def _mode(frames: Sequence[PILImage.Image]) -> str:
    """RGBA only if a composited frame is transparent: animations also use alpha for unchanged areas."""
    for frame in frames:
        see_through = frame.mode in ("RGBA", "LA", "PA") or "transparency" in frame.info
        if see_through and np.asarray(frame.convert("RGBA"))[..., 3].min() < 255:
            return "RGBA"
    return "L" if all(frame.mode in ("1", "L") for frame in frames) else "RGB"


# Films.


def _about_film(path: Path) -> About:
    with _opened(path) as (container, stream):
        count = stream.frames or sum(1 for packet in container.demux(stream) if packet.size)
        first = next(_film(path, range(1)), None)
        if first is None:
            raise BadValue("not a readable clip: it has no frame")
        fps = float(stream.average_rate or stream.guessed_rate or FPS)
        return About(first.width, first.height, first.mode, min(count, _MOST_FRAMES), fps)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    av = _pyav(path.suffix)
    with path.open("rb") as file, av.open(file, format=FILMS[path.suffix.lower()]) as container:
        if not container.streams.video:
            raise BadValue("it has no pictures in it, only sound or nothing")
        stream = container.streams.video[0]
        _fits(stream.codec_context.width, stream.codec_context.height)
        stream.thread_type = "NONE"  # several files are read in parallel
        yield container, stream


def _film(path: Path, wanted: range) -> Iterator[PILImage.Image]:
    """Yields the existing frames among `wanted`, rotated upright."""
    with _opened(path) as (container, stream):
        grey = str(stream.codec_context.pix_fmt).startswith("gray")
        for i, frame in enumerate(container.decode(stream)):
            if i >= min(wanted.stop, _MOST_FRAMES):
                return
            if i in wanted:
                _fits(frame.width, frame.height)  # the size may change within a film
                picture = PILImage.fromarray(frame.to_ndarray(format="gray" if grey else "rgb24"))
                yield picture.rotate(frame.rotation, expand=True) if frame.rotation else picture


# Writing.


def write(clip: Clip, path: Path, provenance: dict[str, Any]) -> None:
    """Write a clip with its provenance, in the format of the suffix of `path`, one of WRITTEN."""
    note = json.dumps({"likewise": provenance}, sort_keys=True)
    if path.suffix in (".mp4", ".webm"):
        _write_film(clip, path, note)
    elif path.suffix == ".gif":
        path.write_bytes(animation(clip.pictures(), clip.fps, note))
    else:
        exif = PILImage.Exif()
        exif[_EXIF_DESCRIPTION] = note
        path.write_bytes(_webp(clip.pictures(), clip.fps, lossless=True, method=4, exif=exif.tobytes()))


def read_provenance(path: Path) -> dict[str, Any] | None:
    """The provenance stored by `write`; None if the file has none."""
    with _readable(path):
        if path.suffix in FILMS:
            with _opened(path) as (container, _):
                tags = {key.lower(): value for key, value in container.metadata.items()}
                text = tags.get("comment")
        else:
            with PILImage.open(path, formats=["GIF", "WEBP"]) as picture:
                text = picture.info.get("comment") or picture.getexif().get(_EXIF_DESCRIPTION)
    try:
        return json.loads(text or "null")["likewise"]
    except (ValueError, TypeError, KeyError):  # a comment by another program
        return None


def animation(frames: Sequence[PILImage.Image], fps: float, note: str = "") -> bytes:
    """Frames as an animated GIF with a palette per frame; partial transparency becomes full or none."""
    if frames[0].mode == "RGBA":
        frames = [_hard(frame) for frame in frames]
    elif frames[0].mode == "RGB":
        frames = [frame.quantize(256, PILImage.Quantize.MEDIANCUT, dither=PILImage.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=frames[1:], duration=_hold(fps, 10), loop=0, disposal=2,
        comment=note.encode(), optimize=False,
    )  # fmt: skip
    return buffer.getvalue()


def _hard(frame: PILImage.Image) -> PILImage.Image:
    """The frame with binary transparency, as GIF requires."""
    pixels = np.array(frame)
    seen = pixels[..., 3:] >= 128
    return PILImage.fromarray(
        np.where(seen, np.concatenate([pixels[..., :3], np.full_like(pixels[..., 3:], 255)], 2), 0)
    )


def _webp(frames: Sequence[PILImage.Image], fps: float, **options: Any) -> bytes:
    frames = [frame.convert("RGB") if frame.mode == "L" else frame for frame in frames]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], duration=_hold(fps), loop=0, **options)
    return buffer.getvalue()


def _hold(fps: float, least: int = 1) -> int:
    """Duration of a frame in milliseconds, a multiple of `least`, at least 20 because browsers slow shorter ones."""
    return max(20, round(1000 / fps / least) * least)


def _write_film(clip: Clip, path: Path, note: str) -> None:
    """Write H.264 or VP9, enlarged by an even integer, because 4:2:0 halves the resolution of colours."""
    av = _pyav(path.suffix)
    zoom = max(2, -(-_LARGE // min(clip.shape[1:3])))
    zoom += zoom % 2
    codec, options = "libvpx-vp9", {"crf": "18", "b": "0", "deadline": "good", "cpu-used": "4"}
    if path.suffix == ".mp4":  # H.264 has the widest support; MPEG-4 if FFmpeg lacks it
        codec, options = ("libx264", {"crf": "14"}) if "libx264" in av.codecs_available else ("mpeg4", {"b": "8M"})
    # Without dates and random identifiers, and with one thread, equal clips give equal files.
    rules = {"fflags": "+bitexact", **({"movflags": "+faststart"} if path.suffix == ".mp4" else {})}
    with av.open(str(path), "w", format=path.suffix[1:], container_options=rules) as container:
        container.metadata["comment"] = note
        stream = container.add_stream(codec, rate=Fraction(clip.fps).limit_denominator(1001), options=options)
        stream.width, stream.height = clip.shape[2] * zoom, clip.shape[1] * zoom
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in clip.pictures(zoom, "RGB"):
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))


# Pages and sheets.


def to_html(clip: Clip, alt: str) -> str:
    """A clip as an animated picture in HTML."""
    zoom = max(1, 64 // max(clip.shape[1:3]))
    data = base64.b64encode(_webp(clip.pictures(zoom), clip.fps, quality=85, method=2)).decode()
    return f'<img alt="{html.escape(alt)}" style="image-rendering:pixelated" src="data:image/webp;base64,{data}">'


def strips(clips: Sequence[Clip], most: int = 16) -> bytes:
    """A PNG with one row for each clip: its frames from left to right, at most `most` at even intervals."""
    length, height, width, channels = clips[0].shape
    zoom = max(1, 48 // max(height, width))
    chosen = np.linspace(0, length - 1, min(length, most)).round().astype(int)
    cell = (width * zoom + 1, height * zoom + 4)
    size = (len(chosen) * cell[0], len(clips) * cell[1])
    ground = PILImage.new("RGBA" if channels == 4 else "RGB", size, "white")
    for row, clip in enumerate(clips):
        frames = Clip(clip.frames[chosen]).pictures(zoom)
        for column, frame in enumerate(frames):
            ground.paste(frame, (column * cell[0], row * cell[1]))
    buffer = io.BytesIO()
    ground.save(buffer, "PNG")
    return buffer.getvalue()


def moving_sheet(clips: Sequence[Clip]) -> bytes:
    """All clips side by side as one animated GIF."""
    length, height, width, _ = clips[0].shape
    columns = max(1, min(16, round(len(clips) ** 0.5)))
    zoom = max(1, 48 // max(height, width))
    cell = (width * zoom + 2, height * zoom + 2)
    size = (columns * cell[0], -(-len(clips) // columns) * cell[1])
    grounds = [PILImage.new("RGB", size, "white") for _ in range(length)]
    for i, clip in enumerate(clips):
        for ground, frame in zip(grounds, clip.pictures(zoom, "RGB"), strict=True):
            ground.paste(frame, (i % columns * cell[0] + 1, i // columns * cell[1] + 1))
    return animation(grounds, clips[0].fps)
