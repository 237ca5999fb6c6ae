"""Convolutions over one to three position dimensions, and folding of patches into channels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Sequence[int] | int = 1,
    padding: Sequence[int] | None = None,
    groups: int = 1,
) -> Tensor:
    """A convolution, by default of the same output size, with a workaround for two frames in the time dimension.

    There oneDNN's bf16 gradient reads uninitialised memory if the kernel is longer than the input (seen with torch
    2.13, channels-last or not). With three frames, or with explicit zero padding, the result is correct.
    """
    dims = x.dim() - 2
    function = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]
    around = [n // 2 for n in weight.shape[2:]] if padding is None else [*padding]
    if dims == 3 and x.shape[2] == 2 and around[0]:
        x, around = F.pad(x, (0, 0, 0, 0, around[0], around[0])), [0, *around[1:]]
    return function(x, weight, bias, stride, around, 1, groups)  # pyright: ignore[reportArgumentType]


class Conv3d(nn.Conv3d):
    """As torch's, computed by `convolve` with zero padding."""

    def forward(self, input: Tensor) -> Tensor:
        if self.padding_mode != "zeros":  # circular, for tiling
            return super().forward(input)
        own = {"stride": self.stride, "padding": [int(n) for n in self.padding], "groups": self.groups}
        return convolve(input, self.weight, self.bias, **own)


class ConvTranspose3d(nn.ConvTranspose3d):
    """As torch's; with two frames the padding in time is cropped afterwards, see `convolve`."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        assert output_size is None
        most = int(self.padding[0])
        if input.shape[2] != 2 or not most:
            return super().forward(input)
        around = (0, *(int(n) for n in self.padding[1:]))
        more = F.conv_transpose3d(input, self.weight, self.bias, self.stride, around)  # pyright: ignore
        return more[:, :, most:-most]


def conv(
    dims: int, inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, groups: int = 1, scale: float = 1.0
) -> nn.Module:
    """A convolution over `dims` (1 to 3) position dimensions, initialised like `layers.linear`; its bias starts at 0.

    The size is kept, or divided by the stride.
    """
    kind = (nn.Conv1d, nn.Conv2d, Conv3d)[dims - 1]
    layer = kind(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups)
    nn.init.normal_(layer.weight, std=scale / math.sqrt(inputs // groups * kernel**dims))
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def spacetime(inputs: int, outputs: int, *, groups: int = 1, scale: float = 1.0) -> nn.Module:
    """A factorised convolution over time, height and width: 3x3 in space, then 3 in time (R(2+1)D, Tran et al., 2018).

    12 products per pair of channels instead of 27. The temporal layer starts as the identity. It is never grouped: in
    oneDNN a depthwise convolution in time is slower than a dense one.
    """
    space = nn.Conv3d(inputs, outputs, (1, 3, 3), padding=(0, 1, 1), groups=groups)
    time = Conv3d(outputs, outputs, (3, 1, 1), padding=(1, 0, 0))
    nn.init.normal_(space.weight, std=scale / math.sqrt(inputs // groups * 9))
    nn.init.dirac_(time.weight)
    for layer in (space, time):
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
    return nn.Sequential(space, time)


def sides(patch: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """The patch size along each dimension, from one number or one for each. Raises ValueError if the count is wrong."""
    found = (patch,) * dims if isinstance(patch, int) else tuple(patch)
    if len(found) != dims:
        raise ValueError(f"backbone.patch: {len(found)} numbers for {dims} dimensions of positions")
    return found


def fold(x: Tensor, patch: int | Sequence[int]) -> Tensor:
    """Fold patches of positions into channels, after zero padding at the end.

    x: shape (B, C, *positions). Returns shape (B, C * prod(patch), *ceil(positions / patch)).
    """
    dims = x.dim() - 2
    patch = sides(patch, dims)
    x = F.pad(x, [n for size, p in reversed([*zip(x.shape[2:], patch, strict=True)]) for n in (0, -size % p)])
    small = [size // p for size, p in zip(x.shape[2:], patch, strict=True)]
    x = x.view(*x.shape[:2], *(n for pair in zip(small, patch, strict=True) for n in pair))
    order = [0, 1, *range(3, 3 + 2 * dims, 2), *range(2, 2 + 2 * dims, 2)]
    return x.permute(order).reshape(x.shape[0], -1, *small)


def unfold(x: Tensor, patch: int | Sequence[int], positions: tuple[int, ...]) -> Tensor:
    """The inverse of `fold`, cropped to `positions`: shape (B, C, *positions)."""
    dims = x.dim() - 2
    patch, small = sides(patch, dims), x.shape[2:]
    x = x.reshape(x.shape[0], -1, *patch, *small)
    order = [0, 1, *(axis for d in range(dims) for axis in (2 + dims + d, 2 + d))]
    x = x.permute(order).reshape(x.shape[0], -1, *(n * p for n, p in zip(small, patch, strict=True)))
    return x[(..., *(slice(n) for n in positions))]
