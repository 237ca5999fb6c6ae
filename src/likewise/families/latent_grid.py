"""Coarser grids: how many positions of an item become one position of its latent, or of its codes."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator, Field

from likewise.spaces import Continuous, Space

#: most positions of a grid that nobody has chosen: a Transformer over codes then reads no more than this
_MOST = 256


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError("a stride is 1, 2, 4, 8 ...: scales halve")
    return value


_One = Annotated[int, Field(ge=1), AfterValidator(_power_of_two)]
#: positions that become one, of every position dimension or of each
Stride = _One | tuple[_One, ...]


def why_no_grid(name: str, target: Space, stride: Stride | None) -> str | None:
    """Why items of `target` have no coarser grid, as a clause that begins with the family's name; None if they have."""
    if not isinstance(target, Continuous) or not target.positions:
        return (
            f"{name} needs continuous values with positions, such as a picture's, and {target} has none; a plain "
            "vae fits"
        )
    if isinstance(stride, tuple) and len(stride) != len(target.positions):
        return (
            f"{name} has a stride for {len(stride)} positions (family.stride) and {target} has {len(target.positions)}"
        )
    return None


def coarser(target: Continuous, stride: Stride | None) -> tuple[int, ...]:
    """The positions of the coarser grid of `target`.

    By default a quarter of a side (half of what is small: 8x8 becomes 4x4), and less until there are at most 256.
    """
    if stride is not None:
        each = stride if isinstance(stride, tuple) else (stride,) * len(target.positions)
        return tuple(-(-n // s) for n, s in zip(target.positions, each, strict=True))
    chosen = 4 if max(target.positions) >= 16 else 2
    while math.prod(grid := tuple(-(-n // chosen) for n in target.positions)) > _MOST:
        chosen *= 2
    return grid
