"""Pictures with 8-bit channels, of one size and mode."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageFilter, ImageOps
from PIL.PngImagePlugin import PngInfo
from pydantic import Field, field_validator

from likewise.data.records import FoundFiles
from likewise.errors import Message, Setting, UserError
from likewise.modalities.base import Modality, ModalitySettings, View, spread
from likewise.modalities.frame_names import look_like_frames
from likewise.modalities.image_io import PICTURES, Crop, Mode, bleed, converted, fitted, inline, mode_of, open_picture
from likewise.modalities.palette import main_colours

#: maximum side in pixels
_LARGEST = 1024
#: maximum side in pixels of the pictures in `features`
_DESCRIBED = 32
#: the colour of weight 1 in a heat map; equals --heat-colour of the page
_HEAT = (226, 84, 26)
#: maximum pictures from which the size and the codebook are estimated
LOOKED_AT = 500
#: factor by which the view "small" is smaller, per side
_SMALLER = 4


class ImageSettings(ModalitySettings):
    modality: Literal["image"] = "image"
    size: int | str | None = Field(
        default=None, description="height and width, or WIDTHxHEIGHT, as in 64x48; default: the data's, at most 64"
    )
    mode: Mode | None = None
    crop: Crop = Field(
        default="centre",
        description="what of a picture of another shape is taken: the middle; in training random, any part nearly as "
        "large; or all of it: pad (on white or transparent ground), squeeze",
    )
    flip: bool = Field(default=False, description="in training, each picture is mirrored half of the time")
    patch: int | None = Field(default=None, ge=1, le=8, description="pixels a side of a token")
    codes: int = Field(default=256, ge=2, le=4096, description="kinds of patch tokens")

    @field_validator("size", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, bool) or not re.fullmatch(r"\d+(x\d+)?", str(value)):
            raise ValueError('a size is a number of pixels, or width and height as in "64x48"')
        sides = [int(n) for n in str(value).split("x")]
        if not all(1 <= n <= _LARGEST for n in sides):
            raise ValueError(f"a side has 1 to {_LARGEST} pixels")
        return sides[0] if len(set(sides)) == 1 else str(value)


class Image(Modality):
    """Pictures of one size and mode."""

    name = "image"
    Settings = ImageSettings
    item = "picture"
    reads = tuple(sorted(PICTURES))
    forms = ("picture",)
    page_style = "figures"
    storage = "pixels"
    suffix = ".png"

    def __init__(self, size: int | str, mode: Mode, crop: Crop = "centre", flip: bool = False) -> None:
        """size: side of a square, or "WIDTHxHEIGHT". crop, flip: augmentation in training."""
        self.size, self.flip = size, flip
        self.mode: Mode = mode
        self.crop: Crop = crop
        self.width, self.height = _sides(size)
        self.channels = len(mode)
        #: width and height in pixels to which files are resized; with a random crop, larger than the crop by a margin
        self.room = (_room(self.width), _room(self.height)) if crop == "random" else (self.width, self.height)

    @classmethod
    def examples(cls, count: int = 16) -> list[Any]:
        pixels = np.random.default_rng(1).integers(0, 256, (count, 8, 8), np.uint8)
        return [PILImage.fromarray(each) for each in pixels]

    @classmethod
    def fit(cls, values: Sequence[Any], settings: ImageSettings, seed: int = 0) -> Image:
        seen, sides, deep = set(), [], False
        for value in spread(values, LOOKED_AT):  # one at a time, because photographs are large
            picture = open_picture(value)
            seen.add(mode_of(picture))
            sides.append(max(picture.size))
            deep = deep or picture.info.get("bits") == 16
        size = settings.size or (min(sides) if min(sides) <= 64 else 64)
        mode = settings.mode or ("RGBA" if "RGBA" in seen else "RGB" if "RGB" in seen else "L")
        found = cls(size, mode, settings.crop, settings.flip)
        if deep:
            found.notes = ("pictures of 16 bits a channel are read as 8 bits",)
        return found

    def state(self) -> dict[str, Any]:
        return {"size": self.size, "mode": self.mode, "crop": self.crop, "flip": self.flip}

    def array(self, value: Any) -> NDArray[np.uint8]:
        """A raw value as pixels, shape (C, *room[::-1]), uint8: with the margin of a random crop."""
        picture = converted(open_picture(value, max(self.room)), self.mode)
        seen = (self.width, self.height)
        if self.crop == "random" and picture.size == seen:  # from `read`: pad by repeating its edge
            margins = [(n - m) // 2 for n, m in zip(self.room, seen, strict=True)]
            picture = bleed(picture) if self.mode == "RGBA" else picture
            pixels = np.asarray(picture, np.uint8).reshape(self.height, self.width, -1)
            around = [(m, n - s - m) for m, n, s in zip(margins[::-1], self.room[::-1], seen[::-1], strict=True)]
            return np.pad(pixels, (*around, (0, 0)), mode="edge").transpose(2, 0, 1)
        picture = fitted(picture, self.room, self.crop)
        if self.mode == "RGBA":
            picture = bleed(picture)
        return np.asarray(picture, np.uint8).reshape(*self.room[::-1], -1).transpose(2, 0, 1)

    def middle(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """The centre crop, (B, C, H, W), of packed pixels, (B, C, *room[::-1]); used where no crop is drawn."""
        top, left = (self.room[1] - self.height) // 2, (self.room[0] - self.width) // 2
        return pixels[..., top : top + self.height, left : left + self.width]

    def read(self, value: Any) -> Any:
        return to_picture(self.middle(self.array(value)))

    @classmethod
    def views(cls) -> dict[str, View]:
        return {
            "small": View("image", f"the picture at a {'quarter' if _SMALLER == 4 else _SMALLER} of its size"),
            "grey": View("image", "the picture without its colours"),
            "palette": View("palette", "its main colours"),
        }

    def view(self, value: Any, name: str) -> Any:
        """small and grey: the picture as in training; the view's own settings then change size and mode."""
        picture = self.read(value)
        return main_colours(picture) if name == "palette" else picture

    def view_settings(self, name: str) -> dict[str, Any]:
        if name == "palette":
            return {}
        if self.crop == "random":
            raise UserError(
                "it is of the middle of a picture, and target.crop=random learns any part", setting="given", value=name
            )
        if name == "grey":
            return {"size": self.size, "mode": "L", "crop": self.crop, "flip": self.flip}
        sides = [-(-n // _SMALLER) for n in (self.width, self.height)]
        return {"size": f"{sides[0]}x{sides[1]}", "mode": self.mode, "crop": self.crop, "flip": self.flip}

    def to_given(self, value: Any) -> Any:
        return inline(to_picture(self.array(value)))

    def caption(self, value: Any) -> str:
        return f"a picture, {self.width} by {self.height} pixels"

    @classmethod
    def find_files(cls, folder: Path, names: Sequence[str], asked: bool) -> FoundFiles | None:
        found = super().find_files(folder, names, asked)
        if found is None or not look_like_frames(found.names):
            return found
        note = Message(
            "each folder holds as many numbered pictures: if they are the frames of a clip, give ",
            Setting("as_", "video"),
        )
        return replace(found, notes=(note,))

    @classmethod
    def thumbnail(cls, path: Path) -> tuple[str, PILImage.Image]:
        picture = open_picture(path)
        return f"{picture.width}x{picture.height} {picture.mode}", picture

    def write(self, value: Any, path: Path, provenance: dict[str, Any]) -> None:
        info = PngInfo()
        info.add_itxt("likewise", json.dumps(provenance, sort_keys=True))
        value.save(path, "PNG", pnginfo=info)

    @classmethod
    def read_provenance(cls, path: Path) -> dict[str, Any] | None:
        with PILImage.open(path, formats=["PNG"]) as picture:
            text = getattr(picture, "text", {}).get("likewise")
        return None if text is None else json.loads(text)

    def to_html(self, value: Any) -> str:
        if not isinstance(value, PILImage.Image):  # a raw value, such as a condition
            value = self.read(value)
        buffer = io.BytesIO()
        value.save(buffer, "PNG")
        data = base64.b64encode(buffer.getvalue()).decode()
        alt = html.escape(f"picture, {self.width} by {self.height} pixels")
        return f'<img alt="{alt}" style="image-rendering:pixelated" src="data:image/png;base64,{data}">'

    def picture_of(self, value: Any) -> PILImage.Image:
        return value

    def still(self, value: Any) -> PILImage.Image:
        return value

    def content(self, value: Any) -> bytes:
        return repr((value.size, value.mode)).encode() + value.tobytes()

    def read_file(self, path: Path) -> Any:
        return self.read(path)

    def read_mask(self, path: Path) -> NDArray[np.bool_]:
        """True where the picture on black ground has a grey level of at least 128; shape (H, W)."""
        mask = open_picture(path).convert("RGBA")
        ground = PILImage.new("RGBA", mask.size, "black")
        [levels] = Image(self.size, "L").array(PILImage.alpha_composite(ground, mask))
        return levels >= 128

    def shaded(self, value: Any, heat: NDArray[np.float64]) -> str:
        """The picture in pale grey, overlaid with a colour whose opacity is `heat`, shape (H, W), in [0, 1]."""
        if self.mode == "RGBA":
            value = PILImage.alpha_composite(PILImage.new("RGBA", value.size, "white"), value)
        grey = 96 + 0.6 * np.asarray(value.convert("L"), np.float64)[..., None]
        mixed = grey + 0.9 * heat[..., None] * (np.array(_HEAT) - grey)
        return self.to_html(PILImage.fromarray(mixed.round().clip(0, 255).astype(np.uint8)))

    def perturbations(self, value: Any, rng: np.random.Generator) -> list[tuple[str, Any]]:
        pixels = np.asarray(value, np.float64)
        step = max(1, self.width // 8)
        noisy = (pixels + 32 * rng.standard_normal(pixels.shape)).round().clip(0, 255).astype(np.uint8)
        bands = value.split()
        turned = [ImageOps.invert(band) if i < 3 else band for i, band in enumerate(bands)]
        return [
            ("noise on it", PILImage.fromarray(noisy)),
            ("moved to the right", PILImage.fromarray(np.roll(np.asarray(value), step, 1))),
            ("blurred", value.filter(ImageFilter.GaussianBlur(max(0.7, self.width / 24)))),
            ("upside down", value.transpose(PILImage.Transpose.FLIP_TOP_BOTTOM)),
            ("as a negative", PILImage.merge(value.mode, turned)),
        ]

    def sheet(self, values: Sequence[Any]) -> bytes | None:
        columns = max(1, min(16, round(len(values) ** 0.5)))
        rows = -(-len(values) // columns)
        zoom = max(1, 48 // max(self.width, self.height))
        wide, high = self.width * zoom + 2, self.height * zoom + 2
        ground = PILImage.new("RGBA" if self.mode == "RGBA" else "RGB", (columns * wide, rows * high), "white")
        for i, value in enumerate(values):
            large = value.resize((self.width * zoom, self.height * zoom), PILImage.Resampling.NEAREST)
            ground.paste(large, (i % columns * wide + 1, i // columns * high + 1))
        buffer = io.BytesIO()
        ground.save(buffer, "PNG")
        return buffer.getvalue()

    @property
    def resize(self) -> str:
        small = self._described
        return "none" if small == (self.width, self.height) else f"PIL box to {small[0]}x{small[1]}"

    @property
    def _described(self) -> tuple[int, int]:
        """Width and height in pixels of the pictures in `features`."""
        return min(self.width, _DESCRIBED), min(self.height, _DESCRIBED)

    def properties(self, values: Sequence[Any]) -> dict[str, Callable[[Any], bool]]:
        middle = float(np.median([_brightness(v) for v in values]))
        return {"brighter than most": lambda value: _brightness(value) > middle}

    def features(self, values: Sequence[Any]) -> NDArray[np.float64]:
        size = self._described
        small = [v if v.size == size else v.resize(size, PILImage.Resampling.BOX) for v in values]
        return np.stack([np.asarray(v, np.float64).ravel() / 255 for v in small])

    def num_units(self, value: Any) -> int:
        return self.channels * self.width * self.height

    def task(self, given: Sequence[str]) -> str | None:
        return "text-to-image" if "text" in given else "unconditional-image-generation"

    def describe(self) -> str:
        how = {"L": "grey", "RGB": "colour", "RGBA": "colour with transparency"}[self.mode]
        crop = {"centre": "", "random": ", cropped at random", "pad": ", padded", "squeeze": ", squeezed"}[self.crop]
        return f"{self.width}x{self.height} {how}{crop}{', mirrored half of the time' if self.flip else ''}"


def _brightness(value: Any) -> float:
    return float(np.asarray(value.convert("L"), np.float64).mean())


def _sides(size: int | str) -> tuple[int, int]:
    """Width and height."""
    wide, _, high = str(size).partition("x")
    return int(wide), int(high or wide)


def _room(side: int) -> int:
    """The side in pixels of the area for a random crop of `side`: about an eighth larger."""
    return side + max(1, side // 8)


def to_picture(pixels: NDArray[Any]) -> PILImage.Image:
    """Convert pixels, shape (C, H, W), uint8, to a picture."""
    return PILImage.fromarray(np.ascontiguousarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)))
