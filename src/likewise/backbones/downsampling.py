"""Grids of positions from fine to coarse, and resampling between them, for networks of one to three dimensions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from likewise.backbones.base import Role
from likewise.spaces import Space, Tokens

#: Number of positions along each axis.
Size = tuple[int, ...]


def unfit_pair(name: str, role: Role, space: Space) -> str | None:
    """Why a backbone with only an encoder and a decoder over positions cannot fill `role`, as `Backbone.unfit`."""
    if role not in ("encoder", "decoder"):
        return f"{name} builds an encoder and a decoder, but no {role}"
    if isinstance(space, Tokens):
        return f"{name} needs continuous values with positions and {space} are tokens"
    if not space.positions:
        return f"{name} needs positions and {space} has none"
    return None


def default_patch(positions: Size) -> int:
    """The default patch size, for about 16 positions a side: finer positions cost more than they add."""
    return max(1, round(max(positions) / 16)) if len(positions) > 1 else 1


def default_patches(positions: Size, fine: bool = False) -> Size:
    """The default patch size along each dimension; of three, the first is time, whose patch depends on its own length.

    fine: for images, about 32 positions a side, but at least 2 pixels per patch from 24 pixels on.
    """
    time, space = positions[:-2], positions[-2:]
    side = default_patch(space)
    if fine and len(positions) == 2:
        side = max(min(side, 2), round(max(space) / 32))
    return (*(max(1, round(n / 16)) for n in time), *[side] * len(space))


def patched(positions: Size, patch: Size) -> Size:
    """The number of patches along each dimension, the last one zero-padded."""
    return tuple(-(-n // p) for n, p in zip(positions, patch, strict=True))


def scales(positions: Size, smallest: int = 4, most: int | None = None) -> list[Size]:
    """The sizes from fine to coarse: each halves dimensions above `smallest`, rounding up; at most `most` sizes."""
    sizes = [positions]
    while max(sizes[-1]) > smallest and (most is None or len(sizes) < most):
        sizes.append(tuple(-(-n // 2) if n > smallest else n for n in sizes[-1]))
    return sizes


def shrink(x: Tensor, size: Size) -> Tensor:
    """Average pooling to `size`; x: shape (B, C, *positions)."""
    ratio = [1 if n == m else 2 for n, m in zip(x.shape[2:], size, strict=True)]
    if max(ratio) == 1:
        return x
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[x.dim() - 3]
    return pool(x, ratio, ceil_mode=True, count_include_pad=False)


def grow(x: Tensor, size: Size) -> Tensor:
    """Nearest-neighbour upsampling by 2, cropped to `size`; x: shape (B, C, *positions)."""
    if tuple(x.shape[2:]) == size:
        return x
    return F.interpolate(x, size=size, mode="nearest")
