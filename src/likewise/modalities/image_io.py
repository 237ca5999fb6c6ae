"""Opens picture files safely, converts their mode and resizes them with antialiasing and correct transparency."""

from __future__ import annotations

import base64
import binascii
import io
import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageOps

from likewise.modalities.base import BadValue

Mode = Literal["L", "RGB", "RGBA"]
Crop = Literal["centre", "random", "pad", "squeeze"]
#: suffixes of picture files
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
#: the only decoders of Pillow that are run on a user's files
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_MOST_PIXELS = 100_000_000
#: opacity, of 255, below which the colour of a pixel is unreliable after 8-bit alpha weighting
_SEEN = 8
#: prefix of a picture in JSON
_INLINE = "data:image/png;base64,"


def open_picture(value: Any, around: int | None = None) -> PILImage.Image:
    """Open a file safely and apply its EXIF rotation. Raises BadValue.

    value: a path, a picture, or the result of `inline`. around: the needed side in pixels; a large JPEG is then decoded
    at a reduced size of about twice that. Pictures with a palette and transparency are converted to RGBA, because
    Pillow otherwise warns at each conversion. Pictures with 16 bits per channel are reduced to 8 bits and have
    info["bits"] = 16.
    """
    if isinstance(value, PILImage.Image):
        return without_palette(value)
    source: Any = value
    if isinstance(value, str) and value.startswith(_INLINE):
        try:
            source = io.BytesIO(base64.b64decode(value.removeprefix(_INLINE), validate=True))
        except binascii.Error as error:
            raise BadValue(f"not a readable picture: {error}") from None
    try:
        with warnings.catch_warnings(), source if isinstance(source, io.BytesIO) else open(source, "rb") as file:
            warnings.simplefilter("ignore", PILImage.DecompressionBombWarning)  # the limit below is lower
            picture = PILImage.open(file, formats=FORMATS)
            if picture.width * picture.height > _MOST_PIXELS:
                raise BadValue(f"{picture.width}x{picture.height} pixels; at most {_MOST_PIXELS:,} are read")
            deep = any(";16" in str(tile[-1]) for tile in getattr(picture, "tile", ()))
            if around is not None:
                picture.draft(None, (2 * around, 2 * around))  # pyright: ignore[reportArgumentType]
            upright = ImageOps.exif_transpose(picture)
            upright.load()
    except BadValue:
        raise
    except (OSError, ValueError, SyntaxError, PILImage.DecompressionBombError) as error:
        raise BadValue(f"not a readable picture: {str(error).splitlines()[0]}") from None
    if upright.mode.startswith(("I", "F")):  # 16 bits: scaled to 8, not truncated
        values = np.asarray(upright, np.float64)
        deep = values.max(initial=0) > 255
        upright = PILImage.fromarray(
            (values / (65535.0 if deep else 255.0) * 255).round().clip(0, 255).astype(np.uint8)
        )
    if deep:
        upright.info["bits"] = 16
    return without_palette(upright)


def without_palette(picture: PILImage.Image) -> PILImage.Image:
    """The picture, converted to RGBA if it has a palette with transparency."""
    return picture.convert("RGBA") if picture.mode == "P" and "transparency" in picture.info else picture


def inline(picture: PILImage.Image) -> str:
    """A picture as a JSON string that `open_picture` accepts, to store a condition with a sample."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return _INLINE + base64.b64encode(buffer.getvalue()).decode()


def mode_of(picture: PILImage.Image) -> Mode:
    """The smallest mode that represents the picture without loss of channels."""
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        return "RGBA"
    return "L" if picture.mode in ("1", "L") else "RGB"


def converted(picture: PILImage.Image, mode: Mode) -> PILImage.Image:
    """The picture in a mode; transparent areas become white if the mode has no transparency."""
    if picture.mode == mode:
        return picture
    if mode != "RGBA" and mode_of(picture) == "RGBA":
        ground = PILImage.new("RGBA", picture.size, "white")
        picture = PILImage.alpha_composite(ground, picture.convert("RGBA"))
    return picture.convert(mode)


def fitted(picture: PILImage.Image, size: tuple[int, int], crop: Crop) -> PILImage.Image:
    """The picture at a size (width, height).

    centre, random: the largest centre crop of that aspect ratio. pad: all of it, on white or transparent ground.
    squeeze: all of it, distorted. Colours are weighted by opacity, as Pillow's resize does for RGBA.
    """
    if picture.size == size:
        return picture
    if crop == "squeeze":
        return picture.resize(size, PILImage.Resampling.LANCZOS)
    if crop == "pad":
        ground = (255, 255, 255, 0) if picture.mode == "RGBA" else "white"
        return ImageOps.pad(picture, size, PILImage.Resampling.LANCZOS, ground)
    return ImageOps.fit(picture, size, PILImage.Resampling.LANCZOS)


def bleed(picture: PILImage.Image) -> PILImage.Image:
    """Fill the colours of (nearly) transparent pixels of an RGBA picture from visible pixels nearby.

    Most files store transparent pixels as black. Models blur edges slightly, which would then become dark.
    """
    pixels = np.array(picture)
    gone = pixels[..., 3] < _SEEN
    if not gone.any() or gone.all():
        return picture
    # Pull-push (Gortler et al., "The lumigraph", 1996, section 3.5): means of visible pixels over blocks of side 2, 4,
    # 8, ...; a transparent pixel takes the mean of its smallest block that has visible pixels.
    weight = np.where(gone, 0, pixels[..., 3])[..., None].astype(np.float64)
    levels = [(pixels[..., :3] * weight, weight)]
    while max(levels[-1][0].shape[:2]) > 1:
        colour, weight = levels[-1]
        levels.append((_blocks(colour), _blocks(weight)))
    found = levels[-1][0] / levels[-1][1]
    for colour, weight in reversed(levels[:-1]):
        above = found.repeat(2, 0).repeat(2, 1)[: len(colour), : colour.shape[1]]
        found = np.where(weight > 0, colour / np.maximum(weight, 1), above)
    pixels[gone, :3] = found[gone].round()
    return PILImage.fromarray(pixels)


def _blocks(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over blocks of 2x2, with zero padding."""
    x = np.pad(x, ((0, len(x) % 2), (0, x.shape[1] % 2), (0, 0)))
    return x.reshape(len(x) // 2, 2, x.shape[1] // 2, 2, -1).sum((1, 3))
