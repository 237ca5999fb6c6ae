"""The grid of latents or codes: downsampling factors of an item's positions."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator, Field

from likewise.spaces import Continuous, Space

#: Maximum positions of a default grid, which a Transformer over the codes has to read.
_MOST = 256


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError("a stride is a power of two: 1, 2, 4, 8 ...")
    return value


_One = Annotated[int, Field(ge=1), AfterValidator(_power_of_two)]
#: The downsampling factor, of all position dimensions or of each.
Stride = _One | tuple[_One, ...]


def unfit_grid(name: str, target: Space, stride: Stride | None) -> str | None:
    """Why items of `target` have no latent grid, as a clause that begins with the family's name; None if they have."""
    if not isinstance(target, Continuous) or not target.positions:
        return f"{name} needs continuous values with positions, such as an image's, and {target} has none"
    if isinstance(stride, tuple) and len(stride) != len(target.positions):
        return (
            f"{name} has a stride for {len(stride)} positions (family.stride) and {target} has {len(target.positions)}"
        )
    return None


def latent_positions(target: Continuous, stride: Stride | None) -> tuple[int, ...]:
    """The positions of the latent grid of `target`.

    By default a quarter of each side, or half if all sides are below 16, and less until there are at most 256.
    """
    if stride is not None:
        each = stride if isinstance(stride, tuple) else (stride,) * len(target.positions)
        return tuple(-(-n // s) for n, s in zip(target.positions, each, strict=True))
    chosen = 4 if max(target.positions) >= 16 else 2
    while math.prod(grid := tuple(-(-n // chosen) for n in target.positions)) > _MOST:
        chosen *= 2
    return grid
