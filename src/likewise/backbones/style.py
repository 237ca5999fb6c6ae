"""A small StyleGAN2: a mapping network turns noise into a style, which modulates the convolutions of the decoder.

Karras et al., "Analyzing and improving the image quality of StyleGAN" (2020): mapping network, modulated convolutions
with demodulation, skip connections to the output in the decoder, residual blocks in the encoder. Left out are
per-position noise (an item must be a pure function of the decoder's input) and the minibatch standard deviation in the
encoder (an item must be judged independently). One to three position dimensions.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from likewise.backbones.base import Backbone, Role
from likewise.backbones.condition_encoder import ConditionEncoder
from likewise.backbones.convolutions import conv, convolve, fold, unfold
from likewise.backbones.downsampling import default_patch, grow, scales, shrink, unfit_pair
from likewise.backbones.layers import linear, rms_norm
from likewise.spaces import Condition, Continuous, Space

#: Learning rate multiplier of the mapping network (StyleGAN, Karras et al., 2019, appendix C).
_SLOW = 0.01


class Style(Backbone):
    """Settings of a small StyleGAN2."""

    name: Literal["style"] = "style"
    width: int = Field(default=32, ge=8, multiple_of=8, description="channels at the finest scale")
    multipliers: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(1, 2, 4),
        min_length=1,
        description="channels at each scale, as multiples of width; each scale halves the size",
    )
    style: int = Field(default=128, ge=1, description="width of the style vector")
    mapping: int = Field(default=4, ge=1, description="layers of the mapping network")
    patch: int | None = Field(
        default=None,
        ge=1,
        description="patch size (positions per side folded into channels); by default about size / 16",
    )

    @classmethod
    def tiny(cls) -> Self:
        return cls(width=8, multipliers=(1, 2), style=16)

    def unfit(self, role: Role, space: Space) -> str | None:
        return unfit_pair(self.name, role, space)

    def encoder(self, source: Space, features: int, condition: Condition) -> nn.Module:
        assert isinstance(source, Continuous)
        return _Encoder(self, source, features, condition)

    def decoder(self, features: int, target: Continuous, condition: Condition) -> nn.Module:
        return _Decoder(self, features, target, condition)

    def grid(self, positions: tuple[int, ...]) -> tuple[int, list[tuple[int, ...]], list[int]]:
        """The patch size, the sizes from fine to coarse, and the channels at each size."""
        patch = self.patch or default_patch(positions)
        sizes = scales(tuple(-(-n // patch) for n in positions))
        last = len(self.multipliers) - 1
        return patch, sizes, [self.width * self.multipliers[min(i, last)] for i in range(len(sizes))]


class _Slow(nn.Module):
    """A linear layer with unit output variance and a learning rate multiplied by `_SLOW`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / _SLOW)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * (_SLOW / math.sqrt(self.weight.shape[1])), self.bias * _SLOW)


class _Modulated(nn.Module):
    """A convolution whose input channels are scaled by the style, and whose outputs are demodulated to unit variance.

    Scaling the activations is equal to scaling the weights (equations 1 and 3), without one convolution per item.
    """

    def __init__(self, dims: int, inputs: int, outputs: int, style: int, kernel: int = 3, demodulate: bool = True):
        super().__init__()
        self.mix = conv(dims, inputs, outputs, kernel)
        self.style = linear(style, inputs)
        nn.init.ones_(self.style.bias)
        self.demodulate = demodulate

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        after = [1] * (x.dim() - 2)
        scale = self.style(style)
        h = x * scale.view(*scale.shape, *after)
        if not self.demodulate:
            return self.mix(h)
        weight, bias = self.mix.weight, self.mix.bias
        assert isinstance(weight, Tensor)
        assert isinstance(bias, Tensor)
        with torch.autocast(x.device.type, enabled=False):  # a sum of many squares needs float32
            norm = (scale.float().square() @ weight.float().square().flatten(2).sum(2).T + 1e-8).rsqrt()
        h = convolve(h, weight)
        return h * norm.to(h.dtype).view(*norm.shape, *after) + bias.view(-1, *after)


class _Decoder(nn.Module):
    """A learned constant, upsampled scale by scale; the outputs of all scales are added."""

    def __init__(self, sizes: Style, features: int, target: Continuous, condition: Condition) -> None:
        super().__init__()
        dims = len(target.positions)
        self.positions = target.positions
        self.patch, grid, widths = sizes.grid(target.positions)
        self.sizes, widths = grid[::-1], widths[::-1]
        self.context = ConditionEncoder(condition, sizes.style)
        inputs = features + (0 if self.context.empty else sizes.style)
        self.mapping = nn.ModuleList(
            _Slow(inputs if i == 0 else sizes.style, sizes.style) for i in range(sizes.mapping)
        )
        self.start = nn.Parameter(torch.randn(1, widths[0], *self.sizes[0]))
        pairs = list(zip([widths[0], *widths], widths, strict=False))
        self.first = nn.ModuleList(_Modulated(dims, a, b, sizes.style) for a, b in pairs)
        self.second = nn.ModuleList(_Modulated(dims, b, b, sizes.style) for _, b in pairs)
        last = len(widths) - 1
        self.show = nn.ModuleList(
            _Modulated(dims, b, target.channels * (self.patch**dims if i == last else 1), sizes.style, 1, False)
            for i, b in enumerate(widths)
        )

    def forward(self, z: Tensor, c: dict[str, Tensor] | None = None) -> Tensor:
        w = rms_norm(z)
        if not self.context.empty:
            w = torch.cat((w, rms_norm(self.context(c, z).vector).to(w.dtype)), 1)
        for layer in self.mapping:
            w = _active(layer(w))
        h = self.start.expand(z.shape[0], *self.start.shape[1:])  # len() would fix the batch of an exported graph
        coarse = None
        for i, size in enumerate(self.sizes):
            h = _active(self.first[i](grow(h, size), w))
            h = _active(self.second[i](h, w))
            shown = self.show[i](h, w)
            if i == len(self.sizes) - 1:
                shown = unfold(shown, self.patch, self.positions)
                size = self.positions
            coarse = shown if coarse is None else grow(coarse, size) + shown
        assert coarse is not None
        return coarse.float()


class _Block(nn.Module):
    """Two convolutions and downsampling, with a 1x1 convolution as skip connection (StyleGAN2, figure 7c)."""

    def __init__(self, dims: int, inputs: int, outputs: int, size: tuple[int, ...]) -> None:
        super().__init__()
        self.size = size
        self.first = conv(dims, inputs, inputs)
        self.second = conv(dims, inputs, outputs)
        self.skip = conv(dims, inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = _active(self.second(shrink(_active(self.first(x)), self.size)))
        return (h + self.skip(shrink(x, self.size))) / math.sqrt(2)


class _Encoder(nn.Module):
    """Positions to features; the condition scales the last layer (projection, Miyato and Koyama, 2018)."""

    def __init__(self, sizes: Style, source: Continuous, features: int, condition: Condition) -> None:
        super().__init__()
        dims = len(source.positions)
        self.patch, grid, widths = sizes.grid(source.positions)
        self.embed = conv(dims, source.channels * self.patch**dims, widths[0], 1)
        self.blocks = nn.ModuleList(
            _Block(dims, before, after, size) for before, after, size in zip(widths, widths[1:], grid[1:], strict=False)
        )
        self.mix = conv(dims, widths[-1], widths[-1])
        self.collect = linear(widths[-1] * math.prod(grid[-1]), 2 * widths[-1])
        self.context = ConditionEncoder(condition, 2 * widths[-1])
        self.given = None if self.context.empty else linear(2 * widths[-1], 4 * widths[-1])
        self.head = linear(2 * widths[-1], features)

    def forward(self, x: Tensor, c: dict[str, Tensor] | None = None) -> Tensor:
        h = _active(self.embed(fold(x, self.patch)))
        for block in self.blocks:
            h = block(h)
        h = _active(self.collect(_active(self.mix(h)).flatten(1)))
        if self.given is not None:
            scale, shift = self.given(self.context(c, x).vector).chunk(2, 1)
            h = torch.addcmul(shift, h, 1 + scale)
        return self.head(h).float()


def _active(x: Tensor) -> Tensor:
    """A leaky ReLU that preserves the variance."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)
