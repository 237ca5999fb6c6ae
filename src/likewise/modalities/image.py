"""A picture: 8-bit channels as numbers in [-1, 1], or as tokens, one for each patch (Chen et al., iGPT, 2020)."""

from __future__ import annotations

import base64
import html
import io
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageFilter, ImageOps
from PIL.PngImagePlugin import PngInfo
from pydantic import Field
from torch import Tensor

from likewise.draws import Draws
from likewise.modalities.base import BadValue, Encoding, Modality, ModalitySettings, Packed
from likewise.spaces import Continuous, Space, Tokens

#: only these decoders are ever run on a user's files
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_MOST_PIXELS = 100_000_000
#: pixels a side of what metrics see without a network
_DESCRIBED = 32
#: the colour of what weighs most where a picture is shaded, as the page's --heat-colour
_HEAT = (226, 84, 26)


class ImageSettings(ModalitySettings):
    modality: Literal["image"] = "image"
    size: int | None = Field(
        default=None, ge=1, le=1024, description="height and width; default: the data's, at most 64"
    )
    mode: Literal["L", "RGB", "RGBA"] | None = None
    patch: int | None = Field(default=None, ge=1, le=8, description="pixels a side of a token")
    codes: int = Field(default=256, ge=2, le=4096, description="kinds of patch tokens")


def open_picture(value: Any) -> Pillow.Image:
    """Open a file safely and turn it upright. Raises BadValue."""
    if isinstance(value, Pillow.Image):
        return value
    try:
        with open(value, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)  # the limit here is lower and an error
            picture = Pillow.open(file, formats=FORMATS)
            if picture.width * picture.height > _MOST_PIXELS:
                raise BadValue(f"{picture.width}x{picture.height} pixels; at most {_MOST_PIXELS:,} are read")
            upright = ImageOps.exif_transpose(picture)
            upright.load()
    except BadValue:
        raise
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise BadValue(f"not a readable picture: {str(error).splitlines()[0]}") from None
    if upright.mode.startswith(("I", "F")):  # 16 bits: scaled to 8, not cut off
        values = np.asarray(upright, np.float64)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        return Pillow.fromarray((values / top * 255).round().clip(0, 255).astype(np.uint8))
    return upright


def _mode(picture: Pillow.Image) -> Literal["L", "RGB", "RGBA"]:
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        return "RGBA"
    return "L" if picture.mode in ("1", "L") else "RGB"


class Image(Modality):
    """Pictures of one size and mode."""

    name = "image"
    Settings = ImageSettings
    encodings = ("continuous", "tokens")
    suffix = ".png"

    def __init__(self, size: int, mode: str, patch: int, codebook: list[list[int]] | None) -> None:
        """codebook: (codes, patch * patch * C) in [0, 255]; None where a token is simply a grey level."""
        self.size, self.mode, self.patch, self.codebook = size, mode, patch, codebook
        self.channels = len(mode)
        self._codes = None if codebook is None else np.array(codebook, np.float32)

    @classmethod
    def fit(cls, values: Sequence[Any], settings: ImageSettings, seed: int = 0) -> Image:
        some = [open_picture(values[i]) for i in np.linspace(0, len(values) - 1, min(len(values), 500)).astype(int)]
        side = min(max(p.size) for p in some)
        size = settings.size or (side if side <= 64 else 64)
        seen = {_mode(p) for p in some}
        mode = settings.mode or ("RGBA" if "RGBA" in seen else "RGB" if "RGB" in seen else "L")
        patch = settings.patch or (2 if size > 16 and size % 2 == 0 else 1)
        if size % patch:
            raise ValueError(f"patch {patch} does not divide the size {size}")
        plain = cls(size, mode, patch, None)
        if patch == 1 and mode == "L":
            return plain
        pixels = plain.patches(np.stack([plain._array(v) for v in some])).reshape(-1, patch * patch * len(mode))
        from sklearn.cluster import MiniBatchKMeans

        distinct = len(np.unique(pixels, axis=0))
        codes = min(settings.codes, distinct)
        found = MiniBatchKMeans(codes, batch_size=4096, n_init=1, random_state=seed, max_iter=30)  # pyright: ignore
        found.fit(pixels)
        return cls(size, mode, patch, np.asarray(found.cluster_centers_).round().astype(int).tolist())

    def state(self) -> dict[str, Any]:
        return {"size": self.size, "mode": self.mode, "patch": self.patch, "codebook": self.codebook}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Image:
        return cls(**state)

    def space(self, encoding: Encoding) -> Space:
        if encoding == "continuous":
            return Continuous((self.channels, self.size, self.size), levels=256)
        side = self.size // self.patch
        return Tokens(side * side, 256 if self.codebook is None else len(self.codebook), grid=(side, side))

    def packed_bytes(self, encoding: Encoding) -> int | None:
        if encoding == "continuous" or self._codes is None:
            return self.channels * self.size**2
        return 2 * (self.size // self.patch) ** 2

    def patches(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """(N, C, H, W) as (N, H/p * W/p, C * p * p)."""
        p, side = self.patch, self.size // self.patch
        cut = pixels.reshape(-1, self.channels, side, p, side, p).transpose(0, 2, 4, 1, 3, 5)
        return cut.reshape(len(pixels), side * side, -1)

    def _array(self, value: Any) -> NDArray[np.uint8]:
        picture = open_picture(value)
        if picture.mode != self.mode:
            if self.mode != "RGBA" and _mode(picture) == "RGBA":  # what was transparent becomes white
                ground = Pillow.new("RGBA", picture.size, "white")
                picture = Pillow.alpha_composite(ground, picture.convert("RGBA"))
            picture = picture.convert(self.mode)
        if picture.size != (self.size, self.size):
            picture = ImageOps.fit(picture, (self.size, self.size), Pillow.Resampling.LANCZOS)
        return np.asarray(picture, np.uint8).reshape(self.size, self.size, -1).transpose(2, 0, 1)

    def pack(self, values: Sequence[Any], encoding: Encoding) -> Packed:
        pixels = np.stack([self._array(v) for v in values])
        if encoding == "continuous":
            return Packed(pixels)
        if self._codes is None:
            return Packed(pixels.reshape(len(pixels), -1))
        codes = []
        squares = (self._codes**2).sum(1)
        for part in np.array_split(pixels, -(-len(pixels) // 256)):
            flat = self.patches(part).astype(np.float32)
            codes.append((squares - 2 * flat @ self._codes.T).argmin(-1).astype(np.int16))
        return Packed(np.concatenate(codes))

    def encode(self, batch: NDArray[Any], encoding: Encoding, draws: Draws | None = None) -> Tensor:
        if encoding == "tokens":
            return torch.from_numpy(batch.astype(np.int64))
        return torch.from_numpy(batch).float() / 127.5 - 1

    def decode(self, x: Tensor, encoding: Encoding, draws: Draws | None = None) -> list[Any]:
        if encoding == "continuous":
            pixels = ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        elif self._codes is None:
            pixels = x.cpu().numpy().astype(np.uint8).reshape(-1, 1, self.size, self.size)
        else:
            p, side = self.patch, self.size // self.patch
            flat = self._codes[x.cpu().numpy()].astype(np.uint8).reshape(-1, side, side, self.channels, p, p)
            pixels = flat.transpose(0, 3, 1, 4, 2, 5).reshape(-1, self.channels, self.size, self.size)
        return [Pillow.fromarray(a[0] if len(a) == 1 else np.ascontiguousarray(a.transpose(1, 2, 0))) for a in pixels]

    def read(self, value: Any) -> Any:
        return Pillow.fromarray(
            a[0] if len(a := self._array(value)) == 1 else np.ascontiguousarray(a.transpose(1, 2, 0))
        )

    def write(self, value: Any, path: Path, provenance: dict[str, Any]) -> None:
        info = PngInfo()
        info.add_itxt("likewise", json.dumps(provenance, sort_keys=True))
        value.save(path, "PNG", pnginfo=info)

    @classmethod
    def read_provenance(cls, path: Path) -> dict[str, Any] | None:
        with Pillow.open(path, formats=["PNG"]) as picture:
            text = getattr(picture, "text", {}).get("likewise")
        return None if text is None else json.loads(text)

    def show(self, value: Any) -> str:
        buffer = io.BytesIO()
        value.save(buffer, "PNG")
        data = base64.b64encode(buffer.getvalue()).decode()
        alt = html.escape(f"picture, {self.size} by {self.size} pixels")
        return f'<img alt="{alt}" style="image-rendering:pixelated" src="data:image/png;base64,{data}">'

    def read_file(self, path: Path) -> Any:
        return self.read(path)

    def read_mask(self, path: Path) -> NDArray[np.bool_]:
        """True where the picture is rather white than black; what is transparent is not white."""
        mask = open_picture(path).convert("RGBA")
        ground = Pillow.new("RGBA", mask.size, "black")
        [levels] = Image(self.size, "L", 1, None)._array(Pillow.alpha_composite(ground, mask))
        return levels >= 128

    def shade(self, x: Tensor, weights: NDArray[np.float64], encoding: Encoding, titles: Sequence[str] = ()) -> str:
        """The picture in pale grey, and over it a colour as dense as the weight."""
        if encoding == "continuous":
            heat = weights.max(0)
        else:
            side, patch = self.size // self.patch, self.patch
            heat = np.kron(weights.reshape(side, side), np.ones((patch, patch)))
        [value] = self.decode(x[None], encoding)
        if self.mode == "RGBA":
            value = Pillow.alpha_composite(Pillow.new("RGBA", value.size, "white"), value)
        grey = 96 + 0.6 * np.asarray(value.convert("L"), np.float64)[..., None]
        mixed = grey + 0.9 * heat[..., None] * (np.array(_HEAT) - grey)
        return self.show(Pillow.fromarray(mixed.round().clip(0, 255).astype(np.uint8)))

    def slips(self, value: Any, rng: np.random.Generator) -> list[tuple[str, Any]]:
        pixels = np.asarray(value, np.float64)
        step = max(1, self.size // 8)
        noisy = (pixels + 32 * rng.standard_normal(pixels.shape)).round().clip(0, 255).astype(np.uint8)
        bands = value.split()
        turned = [ImageOps.invert(band) if i < 3 else band for i, band in enumerate(bands)]
        return [
            ("noise on it", Pillow.fromarray(noisy)),
            ("moved to the right", Pillow.fromarray(np.roll(np.asarray(value), step, 1))),
            ("blurred", value.filter(ImageFilter.GaussianBlur(max(0.7, self.size / 24)))),
            ("upside down", value.transpose(Pillow.Transpose.FLIP_TOP_BOTTOM)),
            ("as a negative", Pillow.merge(value.mode, turned)),
        ]

    def sheet(self, values: Sequence[Any]) -> bytes | None:
        columns = max(1, min(16, round(len(values) ** 0.5)))
        rows = -(-len(values) // columns)
        zoom = max(1, 48 // self.size)
        cell = self.size * zoom + 2
        ground = Pillow.new("RGBA" if self.mode == "RGBA" else "RGB", (columns * cell, rows * cell), "white")
        for i, value in enumerate(values):
            large = value.resize((self.size * zoom, self.size * zoom), Pillow.Resampling.NEAREST)
            ground.paste(large, (i % columns * cell + 1, i // columns * cell + 1))
        buffer = io.BytesIO()
        ground.save(buffer, "PNG")
        return buffer.getvalue()

    @property
    def resize(self) -> str:
        return "none" if self.size <= _DESCRIBED else f"PIL box to {_DESCRIBED}x{_DESCRIBED}"

    def properties(self, values: Sequence[Any]) -> dict[str, Callable[[Any], bool]]:
        middle = float(np.median([_brightness(v) for v in values]))
        return {"brighter than most": lambda value: _brightness(value) > middle}

    def features(self, values: Sequence[Any]) -> NDArray[np.float64]:
        side = min(self.size, _DESCRIBED)
        small = [v if v.size == (side, side) else v.resize((side, side), Pillow.Resampling.BOX) for v in values]
        return np.stack([np.asarray(v, np.float64).ravel() / 255 for v in small])

    def amount(self, value: Any) -> int:
        return self.channels * self.size * self.size

    def uncounted(self, encoding: Encoding) -> str | None:
        if encoding == "continuous" or self.codebook is None:
            return None
        return f"of {self.patch}x{self.patch} patches, each as the nearest of {len(self.codebook)}: not of every pixel"

    def task(self, given: Sequence[str]) -> str | None:
        return "text-to-image" if "text" in given else "unconditional-image-generation"

    def describe(self) -> str:
        return (
            f"{self.size}x{self.size} {({'L': 'grey', 'RGB': 'colour', 'RGBA': 'colour with transparency'})[self.mode]}"
        )


def _brightness(value: Any) -> float:
    return float(np.asarray(value.convert("L"), np.float64).mean())
