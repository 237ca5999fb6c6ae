"""A picture: 8-bit channels as numbers in [-1, 1], or as tokens, one for each patch (Chen et al., iGPT, 2020)."""

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
import torch
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageFilter, ImageOps
from PIL.PngImagePlugin import PngInfo
from pydantic import Field, field_validator
from torch import Tensor

from likewise.data.records import FoundFiles
from likewise.draws import Draws
from likewise.modalities.base import Encoding, Modality, ModalitySettings, Packed, View
from likewise.modalities.frame_names import look_like_frames
from likewise.modalities.image_io import PICTURES, Crop, Mode, bleed, converted, fitted, inline, mode_of, open_picture
from likewise.modalities.palette import main_colours
from likewise.modalities.patches import Patches
from likewise.spaces import Continuous, Space, Tokens, Unfit

#: pixels a side, at most
_LARGEST = 1024
#: pixels a side of what metrics see without a network
_DESCRIBED = 32
#: the colour of what weighs most where a picture is shaded, as the page's --heat-colour
_HEAT = (226, 84, 26)
#: how much smaller the view "small" is, a side
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
    encodings = ("continuous", "tokens")
    item = "picture"
    reads = tuple(sorted(PICTURES))
    forms = ("picture",)
    page_style = "figures"
    suffix = ".png"

    def __init__(
        self,
        size: int | str,
        mode: Mode,
        patch: int,
        codebook: list[list[int]] | None,
        crop: Crop = "centre",
        flip: bool = False,
    ) -> None:
        """size: of a square, or "WIDTHxHEIGHT". codebook: (codes, patch * patch * C) in [0, 255]; None where a token is
        simply a grey level."""
        self.size, self.patch, self.codebook, self.flip = size, patch, codebook, flip
        self.mode: Mode = mode
        self.crop: Crop = crop
        self.width, self.height = _sides(size)
        self.channels = len(mode)
        self.patches = Patches((len(mode), self.height, self.width), (patch, patch), codebook)
        # What is read of a file: with a random crop, a margin around what is seen at a time.
        self._room = (_room(self.width), _room(self.height)) if crop == "random" else (self.width, self.height)

    @classmethod
    def fit(cls, values: Sequence[Any], settings: ImageSettings, seed: int = 0) -> Image:
        chosen = np.linspace(0, len(values) - 1, min(len(values), 500)).astype(int)
        seen, sides, deep = set(), [], False
        for i in chosen:  # one at a time: photographs are large
            picture = open_picture(values[i])
            seen.add(mode_of(picture))
            sides.append(max(picture.size))
            deep = deep or picture.info.get("bits") == 16
        size = settings.size or (min(sides) if min(sides) <= 64 else 64)
        width, height = _sides(size)
        mode = settings.mode or ("RGBA" if "RGBA" in seen else "RGB" if "RGB" in seen else "L")
        patch = settings.patch or (2 if max(width, height) > 16 and width % 2 == height % 2 == 0 else 1)
        found = cls(size, mode, patch, None, settings.crop, settings.flip)
        if patch > 1 or mode != "L":
            codes = found._learned([values[i] for i in chosen], settings.codes, seed)
            found = cls(size, mode, patch, codes, settings.crop, settings.flip)
        if deep:
            found.notes = ("pictures of 16 bits a channel are read as 8 bits",)
        return found

    def _learned(self, values: Sequence[Any], most: int, seed: int) -> list[list[int]]:
        """At most so many patches that stand for all."""
        plain = self._middle(np.stack([self._array(v) for v in values]))
        return self.patches.learn(plain, most, seed)

    def state(self) -> dict[str, Any]:
        state = {"size": self.size, "mode": self.mode, "patch": self.patch, "codebook": self.codebook}
        return {**state, "crop": self.crop, "flip": self.flip}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Image:
        return cls(**state)

    def space(self, encoding: Encoding) -> Space:
        if encoding == "continuous":
            return Continuous((self.channels, self.height, self.width), levels=256)
        if self.flip or self.crop == "random":
            what = "target.flip" if self.flip else "target.crop=random"
            raise Unfit(
                f"{what} changes pixels from step to step, and tokens are made once; flow, gan and vae learn pixels"
            )
        return Tokens(self.patches.count, self.patches.kinds, grid=self.patches.grid)

    def packed_bytes(self, encoding: Encoding) -> int | None:
        if encoding == "continuous" or self.patches.plain:
            return self.channels * self._room[0] * self._room[1]
        return 2 * self.patches.count

    def _array(self, value: Any) -> NDArray[np.uint8]:
        """A raw value as pixels, shape (C, H, W), with the margin of a random crop."""
        picture = converted(open_picture(value, max(self._room)), self.mode)
        seen = (self.width, self.height)
        if self.crop == "random" and picture.size == seen:  # as `read` gives it: its edge is repeated around it
            margins = [(n - m) // 2 for n, m in zip(self._room, seen, strict=True)]
            picture = bleed(picture) if self.mode == "RGBA" else picture
            pixels = np.asarray(picture, np.uint8).reshape(self.height, self.width, -1)
            around = [(m, n - s - m) for m, n, s in zip(margins[::-1], self._room[::-1], seen[::-1], strict=True)]
            return np.pad(pixels, (*around, (0, 0)), mode="edge").transpose(2, 0, 1)
        picture = fitted(picture, self._room, self.crop)
        if self.mode == "RGBA":
            picture = bleed(picture)
        return np.asarray(picture, np.uint8).reshape(*self._room[::-1], -1).transpose(2, 0, 1)

    def _middle(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Of packed pixels, shape (B, C, *room), what is seen where nothing is drawn: (B, C, H, W)."""
        top, left = (self._room[1] - self.height) // 2, (self._room[0] - self.width) // 2
        return pixels[..., top : top + self.height, left : left + self.width]

    def pack(self, values: Sequence[Any], encoding: Encoding) -> Packed:
        pixels = np.stack([self._array(v) for v in values])
        if encoding == "continuous":
            return Packed(pixels)
        return Packed(self.patches.tokens(self._middle(pixels)))

    def encode(self, batch: NDArray[Any], encoding: Encoding, draws: Draws | None = None) -> Tensor:
        if encoding == "tokens":
            return torch.from_numpy(batch.astype(np.int64))
        x = torch.from_numpy(np.ascontiguousarray(self._middle(batch)) if draws is None else batch)
        if draws is not None and (self.flip or self.crop == "random"):
            x = self._augmented(x, draws.branch("aside").to("cpu"))
        return x.float() / 127.5 - 1

    def _augmented(self, x: Tensor, draws: Draws) -> Tensor:
        """Packed pixels, shape (B, C, *room), as training sees them: a window of each, and some of them mirrored.

        The draws are aside from others, so that a condition that is a view of the target is turned as it is.
        """
        turned = (draws.bits() >> 31 if self.flip else torch.zeros(len(x))).tolist()
        down, right = (draws.integers(n - m + 1).tolist() for n, m in zip(
            self._room[::-1], (self.height, self.width), strict=True))  # fmt: skip
        seen = [
            one[:, top : top + self.height, left : left + self.width]
            for one, top, left in zip(x, down, right, strict=True)
        ]
        return torch.stack([one.flip(-1) if flip else one for one, flip in zip(seen, turned, strict=True)])

    def decode(self, x: Tensor, encoding: Encoding, draws: Draws | None = None) -> list[Any]:
        if encoding == "continuous":
            pixels = ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        else:
            pixels = self.patches.pixels(x.cpu().numpy())
        return [_picture(a) for a in pixels]

    def read(self, value: Any) -> Any:
        return _picture(self._middle(self._array(value)))

    @classmethod
    def views(cls) -> dict[str, View]:
        return {
            "small": View("image", f"the picture at a {'quarter' if _SMALLER == 4 else _SMALLER} of its size"),
            "grey": View("image", "the picture without its colours"),
            "palette": View("palette", "its main colours"),
        }

    def view(self, value: Any, name: str) -> Any:
        """small and grey: the picture as it is learned, which the view's own size and mode then change."""
        picture = self.read(value)
        return main_colours(picture) if name == "palette" else picture

    def view_settings(self, name: str) -> dict[str, Any]:
        if name == "palette":
            return {}
        if self.crop == "random":
            raise ValueError(
                f"--given {name}: it is of the middle of a picture, and target.crop=random learns any part"
            )
        if name == "grey":
            return {"size": self.size, "mode": "L", "crop": self.crop, "flip": self.flip, "patch": 1}
        sides = [-(-n // _SMALLER) for n in (self.width, self.height)]
        return {"size": f"{sides[0]}x{sides[1]}", "mode": self.mode, "crop": self.crop, "flip": self.flip, "patch": 1}

    def to_given(self, value: Any) -> Any:
        return inline(_picture(self._array(value)))

    def caption(self, value: Any) -> str:
        return f"a picture, {self.width} by {self.height} pixels"

    @classmethod
    def find_files(cls, folder: Path, names: Sequence[str], asked: bool) -> FoundFiles | None:
        found = super().find_files(folder, names, asked)
        if found is None or not look_like_frames(found.names):
            return found
        note = "each folder holds as many numbered pictures: if they are the frames of a clip, --as video"
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
        if not isinstance(value, PILImage.Image):  # raw, as what was given is
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
        """True where the picture is rather white than black; what is transparent is not white."""
        mask = open_picture(path).convert("RGBA")
        ground = PILImage.new("RGBA", mask.size, "black")
        [levels] = Image(self.size, "L", 1, None)._array(PILImage.alpha_composite(ground, mask))
        return levels >= 128

    def heatmap_html(
        self, x: Tensor, weights: NDArray[np.float64], encoding: Encoding, titles: Sequence[str] = ()
    ) -> str:
        """The picture in pale grey, and over it a colour as dense as the weight."""
        if encoding == "continuous":
            heat = weights.max(0)
        else:
            heat = np.kron(weights.reshape(self.patches.grid), np.ones((self.patch, self.patch)))
        [value] = self.decode(x[None], encoding)
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
        """The size, width and height, at which metrics compare pictures without a network."""
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

    def uncounted(self, encoding: Encoding) -> str | None:
        if encoding == "continuous" or self.codebook is None:
            return None
        return f"of {self.patch}x{self.patch} patches, each as the nearest of {len(self.codebook)}: not of every pixel"

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
    """Pixels a side of which a random crop takes `side`: an eighth more."""
    return side + max(1, side // 8)


def _picture(pixels: NDArray[Any]) -> PILImage.Image:
    """Shape (C, H, W), uint8, as a picture."""
    return PILImage.fromarray(np.ascontiguousarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)))
