"""Transformers (Vaswani et al., 2017): causal over tokens as in Llama, and over patches as in DiT.

Pre-norm RMSNorm, rotary positions, SwiGLU, no biases (Touvron et al., 2023); norms have no gains, as the following
linear layer can learn them. Times and latents modulate the blocks by adaLN-zero (Peebles and Xie, 2023).
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from likewise.backbones.base import Backbone, Predictor, Role
from likewise.backbones.causal_transformer import Causal
from likewise.backbones.condition_encoder import ConditionEncoder, Embedded
from likewise.backbones.convolutions import fold, sides, unfold
from likewise.backbones.downsampling import patched
from likewise.backbones.layers import TimeEmbedding, coordinates, heads_of, linear, rms_norm, rotation
from likewise.backbones.transformer_block import Block
from likewise.spaces import Condition, Continuous, Space, Tokens, token_mask


class Transformer(Backbone):
    """Settings of Transformers."""

    ragged: ClassVar[bool] = True
    name: Literal["transformer"] = "transformer"
    width: int = Field(default=256, ge=8, multiple_of=8, description="channels of each token")
    depth: int = Field(default=6, ge=1, description="blocks")
    heads: int | None = Field(default=None, ge=1, description="attention heads; by default about 64 channels per head")
    ffn: Literal["swiglu", "relu2"] = Field(default="swiglu", description="feed-forward layer")
    qk_norm: bool = Field(default=True, description="normalise queries and keys (QK norm)")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    patch: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        default=None,
        description="patch size (positions per side), or one per dimension; by default at most 256 patches",
    )
    given: Literal["cross", "prefix"] = Field(
        default="cross",
        description="how the predictor reads condition texts: cross-attention to an encoder, or as a prefix",
    )
    tie_embeddings: bool = Field(default=False, description="share the input and output embeddings")

    @model_validator(mode="after")
    def _divides(self) -> Transformer:
        if self.heads is not None and self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of twice the {self.heads} heads")
        return self

    @classmethod
    def tiny(cls) -> Self:
        return cls(width=16, depth=1)

    def unfit(self, role: Role, space: Space) -> str | None:
        if role == "predictor" and isinstance(space, Continuous):
            return "transformer predicts tokens, not continuous values"
        if role == "mapper":
            return "transformer keeps every position, so it cannot downsample or upsample them"
        if role in ("decoder", "denoiser") and isinstance(space, Tokens):
            return f"transformer's {role} outputs continuous values; its predictor outputs tokens"
        return None

    def encoder(self, source: Space, features: int, condition: Condition) -> nn.Module:
        return _Encoder(self, source, features, condition)

    def decoder(self, features: int, target: Continuous, condition: Condition) -> nn.Module:
        return _Decoder(self, features, target, condition)

    def denoiser(self, space: Continuous, condition: Condition) -> nn.Module:
        return _Denoiser(self, space, condition)

    def predictor(self, space: Tokens, condition: Condition) -> Predictor:
        return Causal(self, space, condition)

    def head_count(self) -> int:
        return self.heads or heads_of(self.width)


def default_patch(positions: tuple[int, ...], most: int = 256) -> int:
    """The smallest patch size with at most `most` patches."""
    patch = 1
    while math.prod(-(-n // patch) for n in positions) > most:
        patch += 1
    return patch


def default_patches(positions: tuple[int, ...], most: int = 512) -> tuple[int, ...]:
    """The default patch size along each dimension; for three dimensions, the first is time, and at most `most` patches.

    Neighbouring frames differ more than neighbouring pixels: a patch is at most a quarter as long as it is wide.
    """
    if len(positions) != 3:
        return (default_patch(positions),) * len(positions)
    side = 1
    while math.prod(patched(positions, patch := (max(1, side // 4), side, side))) > most:
        side += 1
    return patch


class _Patches(nn.Module):
    """Patch embedding and its inverse; without positions each channel, or one-hot group, is a token."""

    def __init__(
        self, space: Continuous, sizes: Transformer, needs_embed: bool = True, needs_head: bool = True
    ) -> None:
        super().__init__()
        self.space = space
        if space.positions:
            self.patch = sides(sizes.patch or default_patches(space.positions), len(space.positions))
            grid = patched(space.positions, self.patch)
            inputs = space.channels * math.prod(self.patch)
            self.embed = linear(inputs, sizes.width) if needs_embed else None
            self.head = linear(sizes.width, inputs) if needs_head else None
        else:
            group = torch.arange(space.channels)
            for start, stop in space.choices:
                group[start:stop] = start
            group = group.unique(return_inverse=True)[1]
            self.register_buffer("group", group, persistent=False)
            grid = (int(group.max()) + 1,)
            # One row for each channel: the vector that its value scales, and the one that predicts it.
            self.embed = (
                linear(sizes.width, space.channels, bias=False, scale=sizes.width**0.5) if needs_embed else None
            )
            self.head = linear(sizes.width, space.channels) if needs_head else None
        self.grid, self.count = grid, math.prod(grid)
        self.embed_place = nn.Parameter(torch.randn(self.count, sizes.width))
        table = rotation(coordinates(grid), sizes.width // sizes.head_count())
        self.register_buffer("table", table, persistent=False)

    def patchify(self, x: Tensor) -> Tensor:
        """x: shape (B, *shape). Returns token embeddings, shape (B, N, width)."""
        assert self.embed is not None
        if self.space.positions:
            tokens = self.embed(fold(x, self.patch).flatten(2).transpose(1, 2))
            return tokens + (self.embed_place[: tokens.shape[1]] if self.space.ragged else self.embed_place)
        each = x[:, :, None] * self.embed.weight
        tokens = torch.zeros(x.shape[0], self.count, each.shape[2], dtype=each.dtype, device=x.device)
        return tokens.index_add(1, self.get_buffer("group"), each) + self.embed_place

    def mask(self, x: Tensor) -> Tensor | None:
        """True for patches that overlap a ragged item, shape (B, N); None where all are valid."""
        return fold(x[:, -1:], self.patch).amax(1).flatten(1) > 0 if self.space.ragged else None

    def places(self, tokens: Tensor) -> Tensor:
        """The rotation table of tokens, shape (B, N, width); N is smaller for a truncated batch of ragged items."""
        table = self.get_buffer("table")
        return table[:, : tokens.shape[1]] if self.space.ragged else table

    def unpatchify(self, h: Tensor, positions: tuple[int, ...] | None = None) -> Tensor:
        """h: tokens, shape (B, N, width). positions: of truncated ragged items. Returns shape (B, *shape)."""
        assert self.head is not None
        if self.space.positions:
            positions = positions or self.space.positions
            h = self.head(h).transpose(1, 2).unflatten(2, patched(positions, self.patch))
            return unfold(h, self.patch, positions).float()
        return (torch.linalg.vecdot(h[:, self.get_buffer("group")], self.head.weight) + self.head.bias).float()


class _AdaLNBlocks(nn.Module):
    """Blocks modulated by a vector (adaLN-zero), and a final modulated norm."""

    def __init__(self, sizes: Transformer, cross: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(sizes, cross, steered=True) for _ in range(sizes.depth))
        self.steer = linear(sizes.width, 2 * sizes.width, scale=0.0)

    def forward(self, h: Tensor, table: Tensor, steer: Tensor, given: Embedded, mask: Tensor | None = None) -> Tensor:
        """mask: True at valid tokens, shape (B, N); None if all are."""
        steer = F.silu(steer)
        for block in self.blocks:
            assert isinstance(block, Block)
            h = block(h, table, mask=mask, steer=steer, given=block.read(given))
        shift, scale = self.steer(steer).unsqueeze(1).chunk(2, -1)
        return torch.addcmul(shift, rms_norm(h), 1 + scale)


class _Denoiser(nn.Module):
    def __init__(self, sizes: Transformer, space: Continuous, condition: Condition) -> None:
        super().__init__()
        self.patches = _Patches(space, sizes)
        self.time = TimeEmbedding(sizes.width)
        self.context = ConditionEncoder(condition, sizes.width)
        self.body = _AdaLNBlocks(sizes, self.context.has_sequence)
        assert self.patches.head is not None
        nn.init.zeros_(self.patches.head.weight)

    def forward(self, x: Tensor, t: Tensor, c: dict[str, Tensor] | None = None) -> Tensor:
        given = self.context(c, x)
        h = self.patches.patchify(x)
        h = self.body(h, self.patches.places(h), self.time(t) + given.vector, given, self.patches.mask(x))
        return self.patches.unpatchify(h, x.shape[2:] if self.patches.space.ragged else None)


class _Decoder(nn.Module):
    def __init__(self, sizes: Transformer, features: int, target: Continuous, condition: Condition) -> None:
        super().__init__()
        self.patches = _Patches(target, sizes, needs_embed=False)
        self.latent = linear(features, sizes.width)
        self.context = ConditionEncoder(condition, sizes.width)
        self.body = _AdaLNBlocks(sizes, self.context.has_sequence)

    def forward(self, z: Tensor, c: dict[str, Tensor] | None = None) -> Tensor:
        given = self.context(c, z)
        latent = self.latent(z) + given.vector
        return self.patches.unpatchify(
            self.body(self.patches.embed_place + latent[:, None], self.patches.get_buffer("table"), latent, given)
        )


class _Encoder(nn.Module):
    """A bidirectional encoder; the output is the mean over valid tokens."""

    def __init__(self, sizes: Transformer, source: Space, features: int, condition: Condition) -> None:
        super().__init__()
        self.source = source
        self.context = ConditionEncoder(condition, sizes.width)
        if isinstance(source, Tokens):
            self.embed = nn.Embedding(source.vocabulary, sizes.width)
            nn.init.normal_(self.embed.weight)
            self.embed_place = nn.Parameter(torch.randn(source.length, sizes.width)) if source.end is None else None
            grid = source.grid if source.grid and math.prod(source.grid) == source.length else (source.length,)
            table = rotation(coordinates(grid), sizes.width // sizes.head_count())
            self.register_buffer("table", table, persistent=False)
        else:
            self.patches = _Patches(source, sizes, needs_head=False)
        self.blocks = nn.ModuleList(Block(sizes, self.context.has_sequence) for _ in range(sizes.depth))
        self.head = linear(sizes.width, features)

    def forward(self, x: Tensor, c: dict[str, Tensor] | None = None) -> Tensor:
        given = self.context(c, x)
        mask = None
        if isinstance(self.source, Tokens):
            mask = token_mask(x, self.source) if self.source.end is not None else None
            h, table = self.embed(x.clamp(min=0)), self.get_buffer("table")[:, : x.shape[1]]
            if self.embed_place is not None:
                h = h + self.embed_place[: x.shape[1]]
        else:
            h, mask = self.patches.patchify(x), self.patches.mask(x)
            table = self.patches.places(h)
        h = h + given.vector[:, None]
        # An input that requires a gradient may be under a gradient penalty, which differentiates twice.
        double_backward = x.requires_grad
        for block in self.blocks:
            assert isinstance(block, Block)
            h = block(h, table, mask=mask, given=block.read(given), double_backward=double_backward)
        h = rms_norm(h)
        if mask is None:
            return self.head(h.mean(1)).float()
        weight = mask.unsqueeze(-1).to(h.dtype)
        return self.head((h * weight).sum(1) / weight.sum(1)).float()
