"""DCGAN's networks: strided convolutions down, transposed ones up, batch normalisation between them.

Radford et al., "Unsupervised representation learning with deep convolutional generative adversarial networks" (2016),
over one to three position dimensions of any size; conditions as in Reed et al., "Generative adversarial text to image
synthesis" (2016, section 4.1): beside the noise in the decoder, beside every coarse position in the encoder.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from likewise.backbones.base import Backbone, Role
from likewise.backbones.condition_encoder import ConditionEncoder
from likewise.backbones.convolutions import Conv3d, ConvTranspose3d
from likewise.backbones.downsampling import Size, scales, unfit_pair
from likewise.spaces import Condition, Continuous, Space


class DCGAN(Backbone):
    """Settings of DCGAN's networks."""

    name: Literal["dcgan"] = "dcgan"
    width: int = Field(
        default=32, ge=1, description="channels after the first halving; each further halving doubles them"
    )
    most: int = Field(default=8, ge=1, description="maximum channels at a scale, as a multiple of width")
    norm: Literal["batch", "none"] = Field(default="batch", description="normalisation between the layers")
    given: int = Field(default=128, ge=1, description="width of the encoded condition")

    @classmethod
    def tiny(cls) -> Self:
        return cls(width=8)

    def unfit(self, role: Role, space: Space) -> str | None:
        return unfit_pair(self.name, role, space)

    def encoder(self, source: Space, features: int, condition: Condition) -> nn.Module:
        assert isinstance(source, Continuous)
        return _Encoder(self, source, features, condition)

    def decoder(self, features: int, target: Continuous, condition: Condition) -> nn.Module:
        return _Decoder(self, features, target, condition)

    def widths(self, halvings: int) -> list[int]:
        """Channels after each halving, the finest first."""
        return [self.width * min(2**i, self.most) for i in range(halvings)]


def _steps(positions: Size) -> tuple[list[Size], list[tuple[Size, Size]]]:
    """The sizes from fine to coarse, at least two (equal where nothing can be halved), and pairs of neighbours."""
    sizes = scales(positions)
    sizes = sizes if len(sizes) > 1 else sizes * 2
    return sizes, list(pairwise(sizes))


class _Encoder(nn.Module):
    """Each halving is a 4-wide convolution with stride 2; the first has no normalisation, as in the paper."""

    def __init__(self, sizes: DCGAN, source: Continuous, features: int, condition: Condition) -> None:
        super().__init__()
        dims = len(source.positions)
        grid, steps = _steps(source.positions)
        widths = sizes.widths(len(steps))
        self.odd = [[n % 2 if n != m else 0 for n, m in zip(*step, strict=True)] for step in steps]
        self.layers = nn.ModuleList(
            _layer(dims, before, after, step, norm=sizes.norm if i else "none")
            for i, (before, after, step) in enumerate(zip([source.channels, *widths], widths, steps, strict=False))
        )
        self.context = ConditionEncoder(condition, sizes.given)
        self.mix = None
        if not self.context.empty:
            kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
            self.mix = kind(widths[-1] + sizes.given, widths[-1], 1)
        self.head = nn.Linear(widths[-1] * math.prod(grid[-1]), features)
        _initialise(self)

    def forward(self, x: Tensor, c: dict[str, Tensor] | None = None) -> Tensor:
        h = x
        for odd, layer in zip(self.odd, self.layers, strict=True):
            h = F.pad(h, [n for size in reversed(odd) for n in (0, size)])  # rounds sizes up
            h = F.leaky_relu(layer(h), 0.2)
        if self.mix is not None:
            given = self.context(c, x).vector.to(h.dtype).view(h.shape[0], -1, *[1] * (h.dim() - 2))
            h = F.leaky_relu(self.mix(torch.cat((h, given.expand(-1, -1, *h.shape[2:])), 1)), 0.2)
        return self.head(h.flatten(1)).float()


class _Decoder(nn.Module):
    """The reverse of the encoder: transposed convolutions; the output of the last one is the item."""

    def __init__(self, sizes: DCGAN, features: int, target: Continuous, condition: Condition) -> None:
        super().__init__()
        dims = len(target.positions)
        grid, steps = _steps(target.positions)
        self.sizes = grid[::-1]
        widths = sizes.widths(len(steps))[::-1]
        self.context = ConditionEncoder(condition, sizes.given)
        inputs = features + (0 if self.context.empty else sizes.given)
        self.spread = nn.Linear(inputs, widths[0] * math.prod(self.sizes[0]))
        self.norm = _norm(dims, widths[0], sizes.norm)
        self.layers = nn.ModuleList(
            _layer(dims, before, after, step, up=True, norm="none" if i == len(steps) - 1 else sizes.norm)
            for i, (before, after, step) in enumerate(
                zip(widths, [*widths[1:], target.channels], reversed(steps), strict=True)
            )
        )
        _initialise(self)

    def forward(self, z: Tensor, c: dict[str, Tensor] | None = None) -> Tensor:
        if not self.context.empty:
            z = torch.cat((z, self.context(c, z).vector.to(z.dtype)), 1)
        h = self.norm(self.spread(z).view(z.shape[0], -1, *self.sizes[0]))
        for size, layer in zip(self.sizes[1:], self.layers, strict=True):
            h = layer(F.relu(h))[(..., *(slice(n) for n in size))]
        return h.float()


def _layer(dims: int, inputs: int, outputs: int, step: tuple[Size, Size], *, norm: str, up: bool = False) -> nn.Module:
    """A convolution that halves (or doubles) the axes in which the two sizes of `step` differ."""
    kinds = (nn.ConvTranspose1d, nn.ConvTranspose2d, ConvTranspose3d) if up else (nn.Conv1d, nn.Conv2d, Conv3d)
    changes = [n != m for n, m in zip(*step, strict=True)]
    kernel, stride = tuple(4 if change else 3 for change in changes), tuple(2 if change else 1 for change in changes)
    return nn.Sequential(kinds[dims - 1](inputs, outputs, kernel, stride, 1), _norm(dims, outputs, norm))  # pyright: ignore


def _norm(dims: int, channels: int, norm: str) -> nn.Module:
    if norm == "none":
        return nn.Identity()
    return (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1](channels)


def _initialise(net: nn.Module) -> None:
    """Weights from N(0, 0.02), gains from N(1, 0.02) (section 4), except in the condition encoder."""
    own = [m for name, m in net.named_modules() if not name.startswith("context")]
    for layer in own:
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(layer.weight, 1.0, 0.02)
        elif isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd)):
            nn.init.normal_(layer.weight, std=0.02)  # pyright: ignore[reportArgumentType]
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
