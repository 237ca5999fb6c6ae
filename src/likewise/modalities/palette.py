"""Palettes: one to five main colours, the most frequent first.

As a condition, a palette requests the colours of a brand: `--given palette="#e2541a,#ffffff"`.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PILImage
from torch import Tensor

from likewise.draws import Draws
from likewise.modalities.base import BadValue, Modality, ModalitySettings
from likewise.modalities.encoding import Encoding
from likewise.modalities.packed import Packed
from likewise.spaces import Continuous

#: maximum colours of a palette
MOST = 5
#: side in pixels of the picture in which colours are counted; minimum share of a colour
_COUNTED, _LEAST = 32, 0.02
_Colour = tuple[int, int, int]


class PaletteSettings(ModalitySettings):
    modality: Literal["palette"] = "palette"


def colours(text: Any) -> list[_Colour]:
    """ "#ff0000,#0a0" as [(255, 0, 0), (0, 170, 0)]. Raises BadValue."""
    found: list[_Colour] = []
    for word in str(text).replace(",", " ").split():
        if not re.fullmatch("#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})", word):
            raise BadValue(f"{word!r} is no colour; write red as #ff0000, and several as #ff0000,#ffffff")
        digits = word.removeprefix("#")
        digits = "".join(d * 2 for d in digits) if len(digits) == 3 else digits
        found.append((int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)))
    if not 1 <= len(found) <= MOST:
        raise BadValue(f"{len(found)} colours in {str(text)!r}; a palette has 1 to {MOST}, as #ff0000,#ffffff")
    return found


def written(found: Sequence[_Colour]) -> str:
    return ",".join(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in found)


def main_colours(picture: PILImage.Image) -> str:
    """The main colours of a picture, by median cut (Heckbert, 1982), the most frequent first; white if transparent.

    Their maximum number, 1 to `MOST`, is computed from the pixels, so that a model learns palettes of all lengths.
    """
    # Nearest neighbour: averaging pixels would create colours that a flat picture does not contain.
    small = picture.convert("RGBA").resize((_COUNTED, _COUNTED), PILImage.Resampling.NEAREST)
    pixels = np.asarray(small).reshape(-1, 4)
    seen = pixels[pixels[:, 3] >= 128][:, :3]
    if not len(seen):
        return "#ffffff"
    cut = PILImage.fromarray(np.ascontiguousarray(seen[None])).quantize(MOST, PILImage.Quantize.MEDIANCUT, kmeans=1)
    table = np.array(cut.getpalette()[: 3 * MOST] if cut.getpalette() else [], np.int64).reshape(-1, 3)  # pyright: ignore
    share = np.bincount(np.asarray(cut).ravel(), minlength=len(table))[: len(table)] / len(seen)
    order = [i for i in np.argsort(-share, kind="stable") if share[i] >= _LEAST]
    count = 1 + int(pixels.astype(np.int64).sum()) % MOST
    return written([tuple(table[i].tolist()) for i in order[:count]])


def _packed(values: Sequence[Any]) -> NDArray[np.int16]:
    """Shape (N, 5, 4): RGB in [0, 255] and 1; zeros for unused entries; -1 everywhere for a missing value."""
    out = np.zeros((len(values), MOST, 4), np.int16)
    for place, value in zip(out, values, strict=True):
        if value is None:
            place[:] = -1
            continue
        found = colours(value)
        place[: len(found), :3], place[: len(found), 3] = found, 1
    return out


class Palette(Modality):
    """One to five colours."""

    name = "palette"
    Settings = PaletteSettings
    likelihood_unit = "palette"

    @classmethod
    def examples(cls, count: int = 16) -> list[Any]:
        return [("#ff0000", "#00ff00,#0000ff")[i % 2] for i in range(count)]

    def read(self, value: Any) -> str:
        return written(colours(value))

    def to_html(self, value: Any) -> str:
        text = html.escape(str(value))
        boxes = "".join(
            f'<span style="display:inline-block;width:1em;height:1em;background:{colour}"></span>'
            for colour in written(colours(value)).split(",")
        )
        return f'<span title="{text}">{boxes}</span>'

    def sheet(self, values: Sequence[Any]) -> bytes | None:
        """One row of colours for each palette."""
        rows = [colours(value) for value in values]
        picture = PILImage.new("RGB", (MOST * 16, len(rows) * 16), "white")
        for i, row in enumerate(rows):
            for j, colour in enumerate(row):
                picture.paste(colour, (j * 16, i * 16, j * 16 + 16, i * 16 + 16))
        buffer = io.BytesIO()
        picture.crop((0, 0, 16 * max(map(len, rows)), picture.height)).save(buffer, "PNG")
        return buffer.getvalue()

    def perturbations(self, value: Any, rng: np.random.Generator) -> list[tuple[str, Any]]:
        found = colours(value)
        turned = [((r + 24) % 256, g, b) for r, g, b in found]
        return [("a little redder", written(turned)), ("the other way round", written(found[::-1]))]

    def features(self, values: Sequence[Any]) -> NDArray[np.float64]:
        return _packed(values).reshape(len(values), -1).astype(np.float64) / 255

    def num_units(self, value: Any) -> int:
        return 1

    def describe(self) -> str:
        return f"1 to {MOST} colours"


class PaletteColours(Encoding):
    """A vector, shape (20,), in [-1, 1]: red, green, blue and presence (-1 or 1) of each colour; NaN if missing."""

    modality_name = "palette"
    name = "colours"
    modality: Palette

    @property
    def space(self) -> Continuous:
        return Continuous((4 * MOST,))

    @property
    def packed_bytes(self) -> int:
        return 8 * MOST

    def pack(self, values: Sequence[Any]) -> Packed:
        return Packed(_packed(values))

    def encode(self, batch: NDArray[Any], draws: Draws | None = None) -> Tensor:
        x = torch.from_numpy(batch.astype(np.float32))
        there = x[..., 3:]
        x = torch.cat(((x[..., :3] / 127.5 - 1) * there.clamp(min=0), 2 * there - 1), -1)
        return torch.where(there < 0, torch.nan, x).flatten(1)

    def decode(self, x: Tensor, draws: Draws | None = None) -> list[Any]:
        parts = x.float().view(-1, MOST, 4).cpu().numpy()
        found = []
        for part in parts:
            there = part[:, 3] > 0
            there[0] = True  # a palette has at least one colour
            rgb = ((part[there, :3] + 1) * 127.5).round().clip(0, 255).astype(int)
            found.append(written([tuple(colour) for colour in rgb.tolist()]))
        return found

    def pieces(self, x: Tensor) -> list[str]:
        [value] = self.decode(x[None])
        return value.split(",")

    def heatmap_html(self, x: Tensor, weights: NDArray[np.float64], titles: Sequence[str] = ()) -> str:
        heat = weights.reshape(MOST, 4).max(1)
        parts = zip(self.pieces(x), heat, strict=False)
        return "".join(f'<span class="piece" style="--heat:{h:.2f}">{html.escape(p)} </span>' for p, h in parts)
