"""Grids of positions from fine to coarse and back: what convolutional networks of one to three dimensions share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from likewise.backbones.base import Role
from likewise.spaces import Space, Tokens

#: positions along each axis
Size = tuple[int, ...]


def unfit_pair(name: str, role: Role, space: Space) -> str | None:
    """Why a backbone that is an encoder and a decoder over positions does not fill `role`, as `Backbone.unfit`."""
    if role not in ("encoder", "decoder"):
        return f"{name} has an encoder and a decoder, no {role}; conv and transformer fit"
    if isinstance(space, Tokens):
        return f"{name} needs continuous values with positions and {space} are tokens; mlp and transformer fit"
    if not space.positions:
        return f"{name} needs positions and {space} has none; mlp fits"
    return None


def default_patch(positions: Size) -> int:
    """Fine positions are dear and hold little: start from about 16 a side."""
    return max(1, round(max(positions) / 16)) if len(positions) > 1 else 1


def default_patches(positions: Size, fine: bool = False) -> Size:
    """The same for each dimension; of three the first is time, whose patch is by its own length, and space's by its.

    fine: of pictures, about 32 a side, but two pixels become one from 24 pixels on.
    """
    time, space = positions[:-2], positions[-2:]
    side = default_patch(space)
    if fine and len(positions) == 2:
        side = max(min(side, 2), round(max(space) / 32))
    return (*(max(1, round(n / 16)) for n in time), *[side] * len(space))


def patched(positions: Size, patch: Size) -> Size:
    """How many patches there are along each dimension, the last one filled up."""
    return tuple(-(-n // p) for n, p in zip(positions, patch, strict=True))


def scales(positions: Size, smallest: int = 4, most: int | None = None) -> list[Size]:
    """The sizes from fine to coarse: each halves what is above `smallest`, rounding up; at most `most` of them."""
    sizes = [positions]
    while max(sizes[-1]) > smallest and (most is None or len(sizes) < most):
        sizes.append(tuple(-(-n // 2) if n > smallest else n for n in sizes[-1]))
    return sizes


def shrink(x: Tensor, size: Size) -> Tensor:
    """The mean over the positions that become one; x: shape (B, C, *positions)."""
    ratio = [1 if n == m else 2 for n, m in zip(x.shape[2:], size, strict=True)]
    if max(ratio) == 1:
        return x
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[x.dim() - 3]
    return pool(x, ratio, ceil_mode=True, count_include_pad=False)


def grow(x: Tensor, size: Size) -> Tensor:
    """Each position becomes two a side (nearest neighbour), cropped to `size`."""
    if tuple(x.shape[2:]) == size:
        return x
    return F.interpolate(x, size=size, mode="nearest")
