"""The U-Net of DDPM (Ho et al., 2020, appendix B; Song et al., 2021), in the layout of `UNet2DModel` of diffusers.

The U-Net of `conv` is faster: patches, one group per norm, modulation by scale and shift. This one is compatible with
diffusers, so that its weights can be exported: `export --to diffusers`.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from likewise.backbones.base import Backbone, Role
from likewise.backbones.condition_encoder import ConditionEncoder
from likewise.backbones.convolutions import conv
from likewise.backbones.group_norm import GroupNorm
from likewise.backbones.layers import Dropout, attend, linear
from likewise.backbones.spatial_condition import Maps
from likewise.spaces import Condition, Continuous, Space, Tokens

#: Number of noise levels, as in diffusers: level 999 is pure noise, and -1 would be the data.
LEVELS = 1000
#: Epsilon of every norm.
EPSILON = 1e-5


class UNet(Backbone):
    """Settings of a U-Net."""

    name: Literal["unet"] = "unet"
    width: int = Field(default=32, ge=8, multiple_of=8, description="base number of channels")
    multipliers: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(1, 2, 4),
        min_length=1,
        description="channels at each scale, as multiples of width; each scale halves the size",
    )
    blocks: int = Field(
        default=1, ge=1, description="residual blocks at each downsampling scale; one more when upsampling"
    )
    attention: int = Field(
        default=1,
        ge=0,
        description="number of the coarsest scales with self-attention; 0: none, also not in the middle",
    )
    head: int | None = Field(
        default=None, ge=1, description="channels per attention head; by default one head with all channels"
    )
    groups: int = Field(default=8, ge=1, description="groups of the group normalisation")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="in the blocks")

    @model_validator(mode="after")
    def _divided(self) -> UNet:
        if self.attention > len(self.multipliers):
            raise ValueError(f"attention {self.attention}: there are {len(self.multipliers)} scales (multipliers)")
        for channels in self.widths():
            if channels % self.groups:
                raise ValueError(f"groups {self.groups}: {channels} channels are not divisible by it; set 8")
        for channels in self.widths()[len(self.multipliers) - self.attention :]:
            if channels % (self.head or 1):
                raise ValueError(f"head {self.head}: {channels} channels are not divisible by it; leave it unset")
        return self

    def widths(self) -> list[int]:
        """The number of channels at each scale, the finest first."""
        return [self.width * multiplier for multiplier in self.multipliers]

    @classmethod
    def tiny(cls) -> Self:
        return cls(width=8, multipliers=(1, 2), groups=4)

    def unfit(self, role: Role, space: Space) -> str | None:
        if role != "denoiser":
            return f"unet builds a denoiser, but no {role}"
        if isinstance(space, Tokens):
            return f"unet needs continuous values with positions and {space} are tokens"
        if len(space.positions) != 2:
            return f"unet needs two dimensions of positions and {space} has {len(space.positions)}"
        halved = 2 ** (len(self.multipliers) - 1)
        if any(n % halved for n in space.positions):
            nearest = "x".join(str(max(1, round(n / halved)) * halved) for n in reversed(space.positions))
            return (
                f"unet halves positions {len(self.multipliers) - 1} times and those of {space} are not multiples of "
                f"{halved}; take target.size={nearest}, or fewer backbone.multipliers"
            )
        return None

    def no_tiles(self, space: Continuous) -> str | None:
        return None  # `unfit` requires sides that can be halved

    def denoiser(self, space: Continuous, condition: Condition) -> nn.Module:
        return _UNet(self, space, condition)


class _UNet(nn.Module):
    """A U-Net with skip connections; time and condition are added in every block."""

    def __init__(self, sizes: UNet, space: Continuous, condition: Condition) -> None:
        super().__init__()
        widths = sizes.widths()
        steer = 4 * widths[0]
        attends = [len(widths) - i <= sizes.attention for i in range(len(widths))]
        self.time = _Time(widths[0], steer)
        self.context = ConditionEncoder(condition, steer)
        self.embed = conv(2, space.channels, widths[0])
        self.maps = Maps.of(condition, space.positions, [(space.positions, 1, widths[0])])
        # The channels of each skip connection: of the input layer, each block and each downsampling.
        self.down, skips = nn.ModuleList(), [widths[0]]
        for i, width in enumerate(widths):
            last = i == len(widths) - 1
            entering = [skips[-1], *[width] * (sizes.blocks - 1)]
            change = None if last else conv(2, width, width, stride=2)
            self.down.append(_Stage(sizes, entering, width, steer, sizes.blocks * attends[i], change))
            skips += [width] * (sizes.blocks + (not last))
        coarsest = widths[-1]
        self.middle = _Stage(sizes, [coarsest] * 2, coarsest, steer, int(sizes.attention > 0))
        self.up, before = nn.ModuleList(), coarsest
        for i, width in reversed([*enumerate(widths)]):
            entering = [before + skips.pop(), *(width + skips.pop() for _ in range(sizes.blocks))]
            change = conv(2, width, width) if i else None
            self.up.append(_Stage(sizes, entering, width, steer, (sizes.blocks + 1) * attends[i], change))
            before = width
        self.norm = GroupNorm(sizes.groups, widths[0], EPSILON)
        self.head = conv(2, widths[0], space.channels, scale=0.0)

    def forward(self, x: Tensor, t: Tensor, c: dict[str, Tensor] | None = None) -> Tensor:
        steer = F.silu(self.time(t) + self.context(c, x).vector)
        h = self.embed(x)
        if self.maps is not None:
            h = h + self.maps(c, x)[0]
        skips = [h]
        for stage in self.down:
            skips += stage(skips[-1], steer)
        h = self.middle(skips[-1], steer)[-1]
        for stage in self.up:
            h = stage(h, steer, skips)[-1]
        return self.head(F.silu(self.norm(h))).float()


class _Time(nn.Module):
    """Embeds times in [0, 1], shape (B,), to shape (B, outputs): sinusoids of the noise level, then a small MLP."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        half = width // 2
        self.register_buffer("frequency", 10_000.0 ** (-torch.arange(half) / half), persistent=False)
        self.hidden = linear(width, outputs, scale=math.sqrt(2))
        self.out = linear(outputs, outputs, scale=math.sqrt(2))

    def forward(self, t: Tensor) -> Tensor:
        level = LEVELS * (1 - t.float()) - 1
        angle = level[:, None] * self.get_buffer("frequency").float()
        return self.out(F.silu(self.hidden(torch.cat((angle.sin(), angle.cos()), 1))))


class _Stage(nn.Module):
    """One scale: residual blocks, each optionally followed by attention, then down- or upsampling."""

    def __init__(
        self, sizes: UNet, entering: list[int], width: int, steer: int, attentions: int, change: nn.Module | None = None
    ) -> None:
        """entering: input channels of each block. attentions: number of blocks followed by attention."""
        super().__init__()
        self.blocks = nn.ModuleList(_Block(inputs, width, steer, sizes) for inputs in entering)
        self.looks = nn.ModuleList(_Attention(width, sizes) for _ in range(attentions))
        self.change = change

    def forward(self, x: Tensor, steer: Tensor, skips: list[Tensor] | None = None) -> list[Tensor]:
        """The outputs of each block, and of the down- or upsampling.

        skips: when upsampling, the outputs of the downsampling path; each block pops the last one.
        """
        made = []
        for i, block in enumerate(self.blocks):
            x = block(x if skips is None else torch.cat((x, skips.pop()), 1), steer)
            if i < len(self.looks):
                x = self.looks[i](x)
            made.append(x)
        if self.change is not None:
            made.append(self.change(x if skips is None else F.interpolate(x, scale_factor=2.0)))
        return made


class _Block(nn.Module):
    """Norm, SiLU, convolution, twice; the embedding of time and condition is added between them."""

    def __init__(self, inputs: int, outputs: int, steer: int, sizes: UNet) -> None:
        super().__init__()
        self.norm_in = GroupNorm(sizes.groups, inputs, EPSILON)
        self.conv_in = conv(2, inputs, outputs)
        self.steer = linear(steer, outputs)
        self.norm_out = GroupNorm(sizes.groups, outputs, EPSILON)
        self.dropout = Dropout(sizes.dropout)
        self.conv_out = conv(2, outputs, outputs, scale=0.0)
        self.skip = conv(2, inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, steer: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        h = h + self.steer(steer)[:, :, None, None]
        return self.skip(x) + self.conv_out(self.dropout(F.silu(self.norm_out(h))))


class _Attention(nn.Module):
    """Self-attention over all positions."""

    def __init__(self, width: int, sizes: UNet) -> None:
        super().__init__()
        self.heads = width // (sizes.head or width)
        self.norm = GroupNorm(sizes.groups, width, EPSILON)
        self.query, self.key, self.value = (linear(width, width) for _ in range(3))
        self.out = linear(width, width, scale=0.0)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = (f(h).unflatten(2, (self.heads, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        found = self.out(attend(q, k, v).transpose(1, 2).flatten(2))
        return x + found.transpose(1, 2).unflatten(2, x.shape[2:])
