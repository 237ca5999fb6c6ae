"""Condition fields with positions, resized to the target's grid and added to its feature maps.

`condition_encoder` reduces such a field to few vectors, which lose locations. Super-resolution and colourisation need
them at pixel accuracy, so convolutional networks also receive the field at their own resolution (as in SR3, Saharia et
al., 2021, and at every scale of a decoder as in SPADE, Park et al., 2019).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise.backbones.convolutions import conv, fold, sides
from likewise.spaces import Condition, Continuous, Space, fill_up

#: A size, the patch size that is folded into channels, and the number of output channels.
Grid = tuple[tuple[int, ...], int | tuple[int, ...], int]


def is_map(space: Space, positions: tuple[int, ...]) -> bool:
    """Whether a condition field is aligned with the target: as many position dimensions, or an image for a video."""
    own = space.positions if isinstance(space, Continuous) else ()
    return bool(own) and (len(own) == len(positions) or 1 < len(own) < len(positions))


def resize(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """x, shape (B, C, *positions), resized: average pooling where it shrinks, linear interpolation where it grows."""
    fewer = tuple(min(n, m) for n, m in zip(x.shape[2:], size, strict=True))
    if fewer != tuple(x.shape[2:]):
        pool: Any = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[x.dim() - 3]
        x = pool(x, fewer)
    if fewer != size:
        x = F.interpolate(x, size=size, mode=("linear", "bilinear", "trilinear")[x.dim() - 3])
    return x


class Maps(nn.Module):
    """The condition fields that are aligned with the target's positions, as feature maps at given grids.

    Missing values are zeros, and an indicator channel of each field marks them.
    """

    def __init__(self, condition: Condition, positions: tuple[int, ...], grids: list[Grid]) -> None:
        """grids: where maps are needed, each (size, patch, width).

        The fields are resized to `size`, folded by `patch`, and convolved to `width` channels.
        """
        super().__init__()
        fields = {k: v for k, v in condition.items() if isinstance(v, Continuous) and is_map(v, positions)}
        self.fields = list(fields.items())
        self.dims, self.grids = len(positions), grids
        channels = sum(space.channels + 1 for space in fields.values())
        self.convs = nn.ModuleList(
            conv(self.dims, channels * math.prod(sides(patch, self.dims)), width) for _, patch, width in grids
        )

    @staticmethod
    def of(condition: Condition, positions: tuple[int, ...], grids: list[Grid]) -> Maps | None:
        """The maps, or None (and no weights) where no field is aligned with the positions."""
        there = any(is_map(space, positions) for space in condition.values())
        return Maps(condition, positions, grids) if there else None

    def forward(self, c: dict[str, Tensor] | None, like: Tensor) -> list[Tensor]:
        """The maps to add at each grid, shape (B, width, *size / patch); B is 1 where all fields are missing.

        like: any tensor on the batch's device.
        """
        found = [self._field(name, space, c, like) for name, space in self.fields]
        batch = max(x.shape[0] for x in found)
        added = []
        for (size, patch, _), layer in zip(self.grids, self.convs, strict=True):
            parts = [resize(x, size[self.dims - x.dim() + 2 :]) for x in found]
            h = torch.cat([self._spread(x, batch, size) for x in parts], 1)
            added.append(layer(fold(h, patch)))
        return added

    def _spread(self, x: Tensor, batch: int, size: tuple[int, ...]) -> Tensor:
        """Broadcast to the batch, and over time for an image: shape (batch, C, *size)."""
        times = self.dims + 2 - x.dim()
        return x.view(*x.shape[:2], *[1] * times, *x.shape[2:]).expand(batch, x.shape[1], *size)

    def _field(self, name: str, space: Continuous, c: dict[str, Tensor] | None, like: Tensor) -> Tensor:
        """The values, zeros where they are missing, and the indicator: shape (B, channels + 1, *positions)."""
        x = None if c is None else c.get(name)
        if x is None:
            x = torch.full((1, *space.shape), torch.nan, device=like.device)
        x = fill_up(x, space)
        gone = x.isnan().any(1, keepdim=True)
        return torch.cat((x.nan_to_num(0.0), gone.to(x.dtype)), 1)
