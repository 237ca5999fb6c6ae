"""Convolutional networks over one to three position dimensions: residual nets without norms, and a U-Net.

Encoder and decoder follow R3GAN's networks (Huang et al., "The GAN is dead; long live the GAN!", 2024,
arXiv:2501.05441); the denoiser is a U-Net (Ronneberger et al., 2015) with ADM's blocks (Dhariwal and Nichol, 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from likewise.backbones.base import Backbone, Role
from likewise.backbones.condition_encoder import ConditionEncoder, Embedded
from likewise.backbones.convolutions import conv, fold, sides, spacetime, unfold
from likewise.backbones.downsampling import default_patch, default_patches, grow, patched, scales, shrink
from likewise.backbones.layers import Dropout, TimeEmbedding, attend, heads_of, linear, rms_norm
from likewise.backbones.spatial_condition import Grid, Maps
from likewise.spaces import Condition, Continuous, Space, Tokens, Unfit

#: constructor of a convolution: (inputs, outputs, groups=, scale=)
Mix = Callable[..., nn.Module]


class Conv(Backbone):
    """Settings of convolutional networks."""

    name: Literal["conv"] = "conv"
    width: int = Field(default=32, ge=8, multiple_of=8, description="channels at the finest scale")
    multipliers: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(1, 2, 4),
        min_length=1,
        description="channels at each scale, as multiples of width; each scale halves the size",
    )
    blocks: int = Field(default=1, ge=1, description="residual blocks at each scale")
    attention: bool = Field(default=True, description="self-attention at the denoiser's coarsest scale")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="in the denoiser's blocks")
    patch: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        default=None,
        description="patch size (positions per side folded into channels), or one per dimension; by default about "
        "size / 16, for the denoiser of an image size / 32",
    )
    factorised: bool = Field(
        default=False, description="video: convolve in space, then in time, instead of a full 3D convolution"
    )

    @classmethod
    def tiny(cls) -> Self:
        return cls(width=8, multipliers=(1, 2))

    def unfit(self, role: Role, space: Space) -> str | None:
        if isinstance(space, Tokens):
            if role == "predictor":
                return "conv has no causal network"
            return f"conv needs continuous values with positions and {space} are tokens"
        if role == "predictor":
            return "conv does not predict tokens"
        if not space.positions:
            return f"conv needs positions and {space} has none"
        return None

    def encoder(self, source: Space, features: int, condition: Condition) -> nn.Module:
        assert isinstance(source, Continuous)
        return _Encoder(self, source, features, condition)

    def decoder(self, features: int, target: Continuous, condition: Condition) -> nn.Module:
        return _Decoder(self, features, target, condition)

    def denoiser(self, space: Continuous, condition: Condition) -> nn.Module:
        return _UNet(self, space, condition)

    def no_tiles(self, space: Continuous) -> str | None:
        roles: tuple[Role, ...] = ("decoder", "denoiser")
        patches = [self.patch_of(space.positions, role) for role in roles]
        grids = [patched(space.positions, patch) for patch in patches]
        ways = scales(grids[0]), scales(grids[1], smallest=2, most=len(self.multipliers))
        even = all(n in (m, 2 * m) for way in ways for sizes in pairwise(way) for n, m in zip(*sizes, strict=True))
        if even and all(n % p == 0 for patch in patches for n, p in zip(space.positions, patch, strict=True)):
            return None
        size = "x".join(map(str, space.positions[::-1]))
        return f"{size} is not divisible by 2 at every scale; train at a size such as 32 or 64 (target.size)"

    def mapper(self, source: Continuous, target: Continuous, condition: Condition) -> nn.Module:
        return _Mapper(self, source, target, condition)

    def patch_of(self, positions: tuple[int, ...], role: Role) -> tuple[int, ...]:
        # Finer patches improve a denoiser, whose input is noisy, although a step takes three times as long.
        return sides(self.patch or default_patches(positions, fine=role == "denoiser"), len(positions))

    def mix(self, dims: int) -> Mix:
        """The convolution over neighbouring positions, as `convolutions.conv` without its first argument."""
        return spacetime if self.factorised and dims == 3 else partial(conv, dims)

    def channels(self, scale: int) -> int:
        """The number of channels at a scale, 0 the finest; beyond the multipliers the last one is used."""
        return self.width * self.multipliers[min(scale, len(self.multipliers) - 1)]

    def widths(self, scales: int, pixels: int) -> list[int]:
        """The number of channels at each scale of an encoder or decoder, the finest first.

        pixels: values per patch. The finest scale has at least as many channels: otherwise an encoder would lose
        information within patches, which a generator could then fill arbitrarily, unseen by its discriminator. The
        increase is limited to four times `width`; beyond that a smaller patch is better.
        """
        found = [self.channels(i) for i in range(scales)]
        return [max(found[0], min(pixels, 4 * found[0])), *found[1:]]


class _Residual(nn.Module):
    """R3GAN's block: 1x1, grouped 3x3, 1x1, no norm; its output starts at zero, as in Fixup (Zhang et al., 2019)."""

    def __init__(self, dims: int, channels: int, mix: Mix, grouped: int = 16) -> None:
        super().__init__()
        hidden = -(-channels // grouped) * grouped
        self.enter = conv(dims, channels, hidden, 1, scale=math.sqrt(2))
        self.mix = mix(hidden, hidden, groups=hidden // grouped, scale=math.sqrt(2))
        self.out = conv(dims, hidden, channels, 1, scale=0.0)

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.enter(x), 0.2)
        return x + self.out(F.leaky_relu(self.mix(h), 0.2))


def _stage(sizes: Conv, dims: int, inputs: int, outputs: int) -> nn.Sequential:
    change = [conv(dims, inputs, outputs, 1)] if inputs != outputs else []
    return nn.Sequential(*change, *(_Residual(dims, outputs, sizes.mix(dims)) for _ in range(sizes.blocks)))


class _Encoder(nn.Module):
    """Positions to features; the condition scales the last layer (projection, Miyato and Koyama, 2018)."""

    def __init__(self, sizes: Conv, source: Continuous, features: int, condition: Condition) -> None:
        super().__init__()
        dims = len(source.positions)
        self.patch = sizes.patch_of(source.positions, "encoder")
        self.sizes = scales(patched(source.positions, self.patch))
        pixels = source.channels * math.prod(self.patch)
        widths = sizes.widths(len(self.sizes), pixels)
        self.embed = conv(dims, pixels, widths[0])
        self.maps = Maps.of(condition, source.positions, [(source.positions, self.patch, widths[0])])
        self.stages = nn.ModuleList(
            _stage(sizes, dims, before, after) for before, after in zip([widths[0], *widths], widths, strict=False)
        )
        self.collect = linear(widths[-1] * math.prod(self.sizes[-1]), 2 * widths[-1], scale=math.sqrt(2))
        self.context = ConditionEncoder(condition, 2 * widths[-1])
        self.given = None if self.context.empty else linear(2 * widths[-1], 4 * widths[-1])
        self.head = linear(2 * widths[-1], features)
        _channels_last(self)

    def forward(self, x: Tensor, c: dict[str, Tensor] | None = None) -> Tensor:
        h = self.embed(fold(x, self.patch))
        if self.maps is not None:
            h = h + self.maps(c, x)[0]
        for size, stage in zip(self.sizes, self.stages, strict=True):
            h = stage(shrink(h, size))
        h = F.leaky_relu(self.collect(h.flatten(1)), 0.2)
        if self.given is not None:
            scale, shift = self.given(self.context(c, x).vector).chunk(2, 1)
            h = torch.addcmul(shift, h, 1 + scale)
        return self.head(h).float()


class _Decoder(nn.Module):
    """Features and the condition's vector to positions."""

    def __init__(self, sizes: Conv, features: int, target: Continuous, condition: Condition) -> None:
        super().__init__()
        dims = len(target.positions)
        self.positions = target.positions
        self.patch = sizes.patch_of(target.positions, "decoder")
        self.sizes = scales(patched(target.positions, self.patch))[::-1]
        pixels = target.channels * math.prod(self.patch)
        widths = sizes.widths(len(self.sizes), pixels)[::-1]
        self.context = ConditionEncoder(condition, 2 * widths[0])
        self.given = None if self.context.empty else linear(2 * widths[0], 2 * widths[0])
        self.latent = linear(features, 2 * widths[0])
        self.spread = linear(2 * widths[0], widths[0] * math.prod(self.sizes[0]), scale=math.sqrt(2))
        self.stages = nn.ModuleList(
            _stage(sizes, dims, before, after) for before, after in zip([widths[0], *widths], widths, strict=False)
        )
        # Every stage receives the spatial condition; the last one at full resolution, folded by the patch.
        entering = [widths[0], *widths]
        grids: list[Grid] = [(size, 1, width) for size, width in zip(self.sizes[:-1], entering, strict=False)]
        grids.append((target.positions, self.patch, entering[len(grids)]))
        self.maps = Maps.of(condition, target.positions, grids)
        self.head = conv(dims, widths[-1], pixels, 3)
        _channels_last(self)

    def forward(self, z: Tensor, c: dict[str, Tensor] | None = None) -> Tensor:
        h = self.latent(z)
        if self.given is not None:
            h = h + self.given(self.context(c, z).vector)
        h = self.spread(F.leaky_relu(h, 0.2))
        h = h.view(z.shape[0], -1, *self.sizes[0])
        maps = self.maps(c, z) if self.maps is not None else []
        for i, (size, stage) in enumerate(zip(self.sizes, self.stages, strict=True)):
            h = grow(h, size)
            h = stage(h + maps[i] if maps else h)
        return unfold(self.head(F.leaky_relu(h, 0.2)), self.patch, self.positions).float()


def halvings(fine: tuple[int, ...], coarse: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The sizes from `fine` to `coarse`, each half of the one before, rounded up. Raises Unfit if it cannot."""
    sizes = [fine]
    while sizes[-1] != coarse:
        sizes.append(tuple(-(-n // 2) if n > m else n for n, m in zip(sizes[-1], coarse, strict=True)))
        if sizes[-1] == sizes[-2]:
            raise Unfit(f"conv halves positions, and {fine} cannot become {coarse} by halving")
    return sizes


class _Mapper(nn.Module):
    """Downsampling or upsampling, scale by scale; the condition modulates the coarser end.

    The networks of VQ-GAN (Esser et al., 2021) without norms and attention, with R3GAN's blocks as in `_Encoder`.
    """

    def __init__(self, sizes: Conv, source: Continuous, target: Continuous, condition: Condition) -> None:
        super().__init__()
        dims = len(source.positions)
        self.finer = target.size // target.channels > source.size // source.channels
        fine, coarse = (target, source) if self.finer else (source, target)
        self.positions, self.sizes = fine.positions, halvings(fine.positions, coarse.positions)
        # The first halvings are done by folding patches; larger patches would lose detail.
        wanted, self.patch = min(sides(sizes.patch or min(2, default_patch(fine.positions)), dims)), 1
        while 2 * self.patch <= wanted and len(self.sizes) > 1 and _all_halved(*self.sizes[:2]):
            self.patch, self.sizes = 2 * self.patch, self.sizes[1:]
        pixels = fine.channels * self.patch**dims
        widths = sizes.widths(len(self.sizes), pixels)
        self.context = ConditionEncoder(condition, 2 * widths[-1])
        self.given = None if self.context.empty else linear(2 * widths[-1], 2 * widths[-1])
        if self.finer:
            self.sizes, widths = self.sizes[::-1], widths[::-1]
            self.embed, self.head = conv(dims, source.channels, widths[0]), conv(dims, widths[-1], pixels)
        else:
            self.embed, self.head = conv(dims, pixels, widths[0]), conv(dims, widths[-1], target.channels)
        self.stages = nn.ModuleList(
            _stage(sizes, dims, before, after) for before, after in zip([widths[0], *widths], widths, strict=False)
        )
        _channels_last(self)

    def forward(self, x: Tensor, c: dict[str, Tensor] | None = None) -> Tensor:
        if self.finer:
            h = self._modulate(self.embed(x), c)
            for size, stage in zip(self.sizes, self.stages, strict=True):
                h = stage(grow(h, size))
            return unfold(self.head(F.leaky_relu(h, 0.2)), self.patch, self.positions).float()
        h = self.embed(fold(x, self.patch))
        for size, stage in zip(self.sizes, self.stages, strict=True):
            h = stage(shrink(h, size))
        return self.head(F.leaky_relu(self._modulate(h, c), 0.2)).float()

    def _modulate(self, h: Tensor, c: dict[str, Tensor] | None) -> Tensor:
        if self.given is None:
            return h
        given = self.given(self.context(c, h).vector).view(len(h), -1, *[1] * (h.dim() - 2))
        scale, shift = given.chunk(2, 1)
        return torch.addcmul(shift, h, 1 + scale)


def _all_halved(size: tuple[int, ...], smaller: tuple[int, ...]) -> bool:
    return all(n > 1 and m == -(-n // 2) for n, m in zip(size, smaller, strict=True))


class _UNet(nn.Module):
    """A U-Net with skip connections; time and condition modulate every block."""

    def __init__(self, sizes: Conv, space: Continuous, condition: Condition) -> None:
        super().__init__()
        dims = len(space.positions)
        self.positions = space.positions
        self.patch = sizes.patch_of(space.positions, "denoiser")
        grid = patched(space.positions, self.patch)
        self.sizes = scales(grid, smallest=2, most=len(sizes.multipliers))
        widths = [sizes.channels(i) for i in range(len(self.sizes))]
        steer = 4 * sizes.width
        self.time = TimeEmbedding(steer)
        self.context = ConditionEncoder(condition, steer)
        pixels = space.channels * math.prod(self.patch)
        self.embed = conv(dims, pixels, widths[0])
        self.maps = Maps.of(condition, space.positions, [(space.positions, self.patch, widths[0])])

        def block(inputs: int, outputs: int) -> _ModulatedBlock:
            return _ModulatedBlock(dims, inputs, outputs, steer, sizes.dropout, sizes.mix(dims))

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, width = [widths[0]], widths[0]
        for after in widths:
            for _ in range(sizes.blocks):
                self.down.append(block(width, after))
                width = after
                skips.append(width)
        coarse = sizes.attention or self.context.has_sequence
        self.middle = nn.ModuleList([block(width, width), block(width, width)])
        self.look = _Attention(width, steer if self.context.has_sequence else None) if coarse else None
        for after in reversed(widths):
            for _ in range(sizes.blocks):
                self.up.append(block(width + skips.pop(), after))
                width = after
        self.last = block(width + skips.pop(), width)
        self.norm = nn.GroupNorm(1, width)
        self.head = conv(dims, width, pixels, scale=0.0)
        # Noise fills all values of a patch, which may outnumber the channels. A skip around the network adds x times a
        # learned factor that depends on the time, so that the channels need to represent only the rest.
        self.past_head = linear(steer, space.channels, scale=0.0)
        self.blocks = sizes.blocks
        _channels_last(self)

    def forward(self, x: Tensor, t: Tensor, c: dict[str, Tensor] | None = None) -> Tensor:
        given = self.context(c, x)
        steer = F.silu(self.time(t) + given.vector)
        h = self.embed(fold(x, self.patch))
        if self.maps is not None:
            h = h + self.maps(c, x)[0]
        skips = [h]
        for i, block in enumerate(self.down):
            h = block(shrink(h, self.sizes[i // self.blocks]), steer)
            skips.append(h)
        h = self.middle[0](h, steer)
        if self.look is not None:
            h = self.look(h, given)
        h = self.middle[1](h, steer)
        for i, block in enumerate(self.up):
            size = self.sizes[-1 - i // self.blocks]
            h = block(torch.cat((grow(h, size), skips.pop()), 1), steer)
        h = self.last(torch.cat((h, skips.pop()), 1), steer)
        past = self.past_head(steer).view(x.shape[0], -1, *[1] * (x.dim() - 2)).float()
        return torch.addcmul(unfold(self.head(F.silu(self.norm(h))), self.patch, self.positions).float(), past, x)


class _ModulatedBlock(nn.Module):
    """ADM's block: norm, SiLU, convolution, twice; time and condition scale and shift the second norm."""

    def __init__(self, dims: int, inputs: int, outputs: int, steer: int, dropout: float, mix: Mix) -> None:
        super().__init__()
        # One group: with more, GroupNorm in bf16 and channels-last is up to 20 times slower on a CPU.
        self.norm_in = nn.GroupNorm(1, inputs)
        self.conv_in = mix(inputs, outputs)
        self.steer = linear(steer, 2 * outputs, scale=0.0)
        self.norm_out = nn.GroupNorm(1, outputs)
        self.dropout = Dropout(dropout)
        self.conv_out = mix(outputs, outputs, scale=0.0)
        self.skip = conv(dims, inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, steer: Tensor) -> Tensor:
        scale, shift = self.steer(steer).view(x.shape[0], -1, *[1] * (x.dim() - 2)).chunk(2, 1)
        h = self.norm_out(self.conv_in(F.silu(self.norm_in(x))))
        h = F.silu(torch.addcmul(shift, h, 1 + scale))
        return self.skip(x) + self.conv_out(self.dropout(h))


class _Attention(nn.Module):
    """Self-attention over positions, and cross-attention to the condition's sequence if there is one (GLIDE, 2021)."""

    def __init__(self, width: int, given: int | None) -> None:
        super().__init__()
        self.heads = heads_of(width, 32)
        self.norm = nn.GroupNorm(1, width)
        self.qkv = linear(width, 3 * width)
        self.given = linear(given, 2 * width) if given is not None else None
        self.out = linear(width, width, scale=0.0)

    def forward(self, x: Tensor, given: Embedded) -> Tensor:
        h = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self._split(self.qkv(h), 3)
        mask = None
        if self.given is not None and given.sequence is not None and given.mask is not None:
            more_k, more_v = self._split(self.given(given.sequence), 2)
            k, v = torch.cat((k, more_k), 2), torch.cat((v, more_v), 2)
            mask = torch.cat((torch.ones(h.shape[:2], dtype=torch.bool, device=x.device), given.mask), 1)
        read = attend(rms_norm(q), rms_norm(k), v, mask=mask).transpose(1, 2).flatten(2)
        return x + self.out(read).transpose(1, 2).view_as(x)

    def _split(self, h: Tensor, parts: int) -> tuple[Tensor, ...]:
        return h.unflatten(2, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def _channels_last(net: nn.Module) -> None:
    """Store convolution weights in channels-last layout, which is the fastest; activations follow it."""
    for kind, layout in ((nn.Conv2d, torch.channels_last), (nn.Conv3d, torch.channels_last_3d)):
        for layer in net.modules():
            if isinstance(layer, kind):
                layer.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
