"""Fully connected networks: for rows of numbers, short token sequences and small images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from likewise.backbones.base import Backbone, Role
from likewise.backbones.condition_encoder import ConditionEncoder
from likewise.backbones.layers import Dropout, TimeEmbedding, linear, rms_norm
from likewise.spaces import Condition, Continuous, Space, Tokens, fill_up, token_mask

Activation = Literal["silu", "relu", "leaky_relu", "gelu"]
Norm = Literal["none", "layer", "batch"]
Widths = tuple[Annotated[int, Field(ge=1)], ...]

_ACTIVATIONS = {"silu": nn.SiLU, "relu": nn.ReLU, "leaky_relu": lambda: nn.LeakyReLU(0.2), "gelu": nn.GELU}
_NORMS = {"layer": nn.LayerNorm, "batch": nn.BatchNorm1d}


class MLP(Backbone):
    """Settings of fully connected networks."""

    ragged: ClassVar[bool] = True
    name: Literal["mlp"] = "mlp"
    width: int = Field(default=256, ge=8, multiple_of=8, description="units of each hidden layer")
    depth: int = Field(default=3, ge=1, description="hidden layers, or residual blocks of the denoiser")
    encoder_hidden: Widths | None = Field(
        default=None, description="the encoder's hidden layers, instead of width and depth"
    )
    decoder_hidden: Widths | None = Field(
        default=None, description="the decoder's hidden layers, instead of width and depth"
    )
    activation: Activation = "silu"
    norm: Norm = Field(default="none", description="after each hidden layer of encoder and decoder")
    decoder_norm: Norm | None = Field(default=None, description="the decoder's norm, if different")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    encoder_dropout: float | None = Field(
        default=None, ge=0, lt=1, description="the encoder's dropout rate, if different"
    )

    @classmethod
    def tiny(cls) -> Self:
        return cls(width=16)

    def unfit(self, role: Role, space: Space) -> str | None:
        if role == "predictor":
            return "mlp is not causal, so it cannot predict the next token"
        if role == "mapper":
            return "mlp ignores positions, so it cannot downsample or upsample them"
        if role != "encoder" and isinstance(space, Tokens):
            return f"mlp's {role} outputs continuous values, not tokens"
        return None

    def encoder(self, source: Space, features: int, condition: Condition) -> nn.Module:
        hidden = self.encoder_hidden if self.encoder_hidden is not None else (self.width,) * self.depth
        rate = self.dropout if self.encoder_dropout is None else self.encoder_dropout
        return _Encoder(source, features, condition, self, hidden, rate)

    def decoder(self, features: int, target: Continuous, condition: Condition) -> nn.Module:
        hidden = self.decoder_hidden if self.decoder_hidden is not None else (self.width,) * self.depth
        return _Decoder(features, target, condition, self, hidden)

    def denoiser(self, space: Continuous, condition: Condition) -> nn.Module:
        return _Denoiser(space, condition, self)


def stack(sizes: Sequence[int], activation: Activation, norm: Norm, dropout: float) -> nn.Sequential:
    """Linear layers of widths `sizes`, each but the last followed by norm, activation and dropout."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes[:-1]):
        layers.append(linear(inputs, outputs, scale=math.sqrt(2)))
        if norm != "none":
            layers.append(_NORMS[norm](outputs))
        layers.append(_ACTIVATIONS[activation]())
        if dropout:
            layers.append(Dropout(dropout))
    return nn.Sequential(*layers, linear(sizes[-2], sizes[-1]))


class _Encoder(nn.Module):
    def __init__(
        self, source: Space, features: int, condition: Condition, sizes: MLP, hidden: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.source = source
        self.context = ConditionEncoder(condition, sizes.width)
        if isinstance(source, Tokens):
            each = min(32, sizes.width)
            self.embed = nn.Embedding(source.vocabulary + 1, each)  # the last row is for positions after the end
            nn.init.normal_(self.embed.weight)
            inputs = source.length * each
        else:
            inputs = source.size
        inputs += 0 if self.context.empty else sizes.width
        self.net = stack((inputs, *hidden, features), sizes.activation, sizes.norm, dropout)

    def forward(self, x: Tensor, c: dict[str, Tensor] | None = None) -> Tensor:
        if isinstance(self.source, Tokens):
            x = torch.where(token_mask(x, self.source), x, self.source.vocabulary)
            x = self.embed(F.pad(x, (0, self.source.length - x.shape[1]), value=self.source.vocabulary))
        else:
            x = fill_up(x, self.source)
        x = x.flatten(1)
        if not self.context.empty:
            x = torch.cat((x, self.context(c, x).vector), 1)
        return self.net(x).float()


class _Decoder(nn.Module):
    def __init__(
        self, features: int, target: Continuous, condition: Condition, sizes: MLP, hidden: Sequence[int]
    ) -> None:
        super().__init__()
        self.shape = target.shape
        self.context = ConditionEncoder(condition, sizes.width)
        inputs = features + (0 if self.context.empty else sizes.width)
        norm = sizes.norm if sizes.decoder_norm is None else sizes.decoder_norm
        self.net = stack((inputs, *hidden, target.size), sizes.activation, norm, sizes.dropout)

    def forward(self, z: Tensor, c: dict[str, Tensor] | None = None) -> Tensor:
        if not self.context.empty:
            z = torch.cat((z, self.context(c, z).vector), 1)
        return self.net(z).float().view(-1, *self.shape)


class _Denoiser(nn.Module):
    """Residual blocks modulated by time and condition (as in DiT, Peebles and Xie, 2023)."""

    def __init__(self, space: Continuous, condition: Condition, sizes: MLP) -> None:
        super().__init__()
        self.space = space
        self.time = TimeEmbedding(sizes.width)
        self.context = ConditionEncoder(condition, sizes.width)
        self.waves = _Waves(space)
        self.embed = linear(self.waves.size, sizes.width)
        self.blocks = nn.ModuleList(_Block(sizes) for _ in range(sizes.depth))
        self.head = linear(sizes.width, space.size, scale=0.0)

    def forward(self, x: Tensor, t: Tensor, c: dict[str, Tensor] | None = None) -> Tensor:
        given = F.silu(self.time(t) + self.context(c, x).vector)
        h = self.embed(self.waves(fill_up(x, self.space).flatten(1)))
        for block in self.blocks:
            h = block(h, given)
        output = self.head(rms_norm(h)).float().view(-1, *self.space.shape)
        return output[:, :, : x.shape[2]] if self.space.ragged else output


class _Waves(nn.Module):
    """Adds Fourier features of each number, without which an MLP blurs edges (Tancik et al., 2020).

    Not for one-hot channels, and not for more than `most` numbers, where the linear features suffice.
    """

    def __init__(self, space: Continuous, count: int = 8, most: int = 64) -> None:
        super().__init__()
        plain = torch.ones(space.size, dtype=torch.bool)
        for start, stop in space.choices:
            plain[start:stop] = False
        waving = plain.nonzero()[:, 0] if plain.sum() <= most else torch.arange(0)
        self.size = space.size + 2 * count * len(waving)
        self.register_buffer("waving", waving, persistent=False)
        # Periods from 4 down to about 1/2, for values of unit scale.
        self.register_buffer("frequency", math.pi / 2 * 8.0 ** (torch.arange(count) / count), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: shape (B, N). Returns shape (B, size)."""
        angle = (x[:, self.get_buffer("waving"), None].float() * self.get_buffer("frequency")).flatten(1)
        return torch.cat((x, angle.sin(), angle.cos()), 1)


class _Block(nn.Module):
    def __init__(self, sizes: MLP) -> None:
        super().__init__()
        self.modulation = linear(sizes.width, 2 * sizes.width, scale=0.0)
        self.up = linear(sizes.width, 2 * sizes.width, scale=math.sqrt(2))
        self.activation = _ACTIVATIONS[sizes.activation]()
        self.dropout = Dropout(sizes.dropout)
        self.out = linear(2 * sizes.width, sizes.width, scale=0.0)

    def forward(self, h: Tensor, given: Tensor) -> Tensor:
        scale, shift = self.modulation(given).chunk(2, 1)
        u = self.up(torch.addcmul(shift, rms_norm(h), 1 + scale))
        return h + self.out(self.dropout(self.activation(u)))
