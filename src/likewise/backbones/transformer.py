"""Transformers (Vaswani et al., 2017): causal over tokens in Llama's layout, and over patches as in DiT.

Pre-norm RMSNorm, rotary positions, SwiGLU, no biases (Touvron et al., 2023), but no gains: the linear layer after a
norm can learn them. adaLN-zero where a time or a latent steers the blocks (Peebles and Xie, 2023).
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from likewise.backbones.base import Attention, Backbone, Predictor, Role
from likewise.backbones.context import Context, Embedded
from likewise.backbones.layers import (
    Cache,
    CrossAttention,
    Dropout,
    FeedForward,
    SelfAttention,
    TimeEmbedding,
    coordinates,
    fold,
    heads_of,
    linear,
    rms_norm,
    rotation,
    unfold,
    watch,
)
from likewise.backbones.prefix import Prefix, is_text, visible
from likewise.backbones.rows import BlockRows, Product, filled_up, norm, read_alone, take
from likewise.spaces import MISSING_TOKEN, Condition, Continuous, Space, Tokens, token_mask


class Transformer(Backbone):
    """Sizes of Transformers."""

    name: Literal["transformer"] = "transformer"
    width: int = Field(default=256, ge=8, multiple_of=8, description="channels of each token")
    depth: int = Field(default=6, ge=1, description="blocks")
    heads: int | None = Field(default=None, ge=1, description="attention heads; by default 64 channels each")
    ffn: Literal["swiglu", "relu2"] = Field(default="swiglu", description="feed-forward layer")
    qk_norm: bool = Field(default=True, description="normalise queries and keys")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    patch: int | None = Field(
        default=None, ge=1, description="positions per patch side; by default at most 256 patches"
    )
    given: Literal["cross", "prefix"] = Field(
        default="cross",
        description="how its predictor reads given texts: by attention to an encoder, or in front of the target",
    )
    tie_embeddings: bool = Field(default=False, description="the same table reads tokens and predicts them")

    @model_validator(mode="after")
    def _divides(self) -> Transformer:
        if self.heads is not None and self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of twice the {self.heads} heads")
        return self

    def unfit(self, role: Role, space: Space) -> str | None:
        if role == "predictor" and isinstance(space, Continuous):
            return "transformer predicts tokens, not continuous values"
        if role in ("decoder", "denoiser") and isinstance(space, Tokens):
            return f"transformer's {role} makes continuous values; its predictor makes tokens"
        return None

    def encoder(self, source: Space, features: int, condition: Condition) -> nn.Module:
        return _Encoder(self, source, features, condition)

    def decoder(self, features: int, target: Continuous, condition: Condition) -> nn.Module:
        return _Decoder(self, features, target, condition)

    def denoiser(self, space: Continuous, condition: Condition) -> nn.Module:
        return _Denoiser(self, space, condition)

    def predictor(self, space: Tokens, condition: Condition) -> Predictor:
        return _Predictor(self, space, condition)

    def head_count(self) -> int:
        return self.heads or heads_of(self.width)


class Block(nn.Module):
    """Attention, then (given a sequence) attention to that, then feed-forward, each added to its input.

    A steering vector scales, shifts and gates what is added; with its last layer at zero each block starts as the
    identity (adaLN-zero).
    """

    def __init__(self, sizes: Transformer, cross: bool, steered: bool = False) -> None:
        super().__init__()
        width, heads = sizes.width, sizes.head_count()
        self.attention = SelfAttention(width, heads, sizes.qk_norm)
        self.cross = CrossAttention(width, heads) if cross else None
        self.feed_forward = FeedForward(width, sizes.ffn)
        self.steer = linear(width, 6 * width, scale=0.0) if steered else None
        self.dropout = Dropout(sizes.dropout)
        if steered:
            # The gates start at zero already; zero behind zero would never learn.
            for layer in (self.attention.out, self.feed_forward.out):
                nn.init.normal_(layer.weight, std=layer.in_features**-0.5)

    def forward(
        self,
        h: Tensor,
        table: Tensor,
        *,
        causal: bool = False,
        mask: Tensor | None = None,
        given: tuple[tuple[Tensor, Tensor], Tensor] | None = None,
        steer: Tensor | None = None,
        cache: Cache | None = None,
        twice: bool = False,
    ) -> Tensor:
        """h: shape (B, L, width). given: the condition's keys and mask, from `read`. steer: shape (B, width)."""
        if self.steer is None or steer is None:
            a = self.attention(rms_norm(h), table, causal=causal, mask=mask, cache=cache, twice=twice)
            h = h + self.dropout(a)
            h = self._look(h, given, twice)
            return h + self.dropout(self.feed_forward(rms_norm(h)))
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = self.steer(steer).unsqueeze(1).chunk(6, -1)
        a = self.attention(torch.addcmul(shift_a, rms_norm(h), 1 + scale_a), table, twice=twice)
        h = torch.addcmul(h, gate_a, self.dropout(a))
        h = self._look(h, given, twice)
        f = self.feed_forward(torch.addcmul(shift_f, rms_norm(h), 1 + scale_f))
        return torch.addcmul(h, gate_f, self.dropout(f))

    def read(self, given: Embedded) -> tuple[tuple[Tensor, Tensor], Tensor] | None:
        """What `forward` needs of a condition's sequence, computed once; None if there is none."""
        if self.cross is None or given.sequence is None or given.mask is None:
            return None
        return self.cross.keys(given.sequence), given.mask

    def _look(self, h: Tensor, given: tuple[tuple[Tensor, Tensor], Tensor] | None, twice: bool) -> Tensor:
        return h if self.cross is None or given is None else h + self.cross(h, *given, twice=twice)


class _Predictor(Predictor):
    """The condition's vector is added at every position; its sequence is read by cross-attention, or as a prefix."""

    def __init__(self, sizes: Transformer, space: Tokens, condition: Condition) -> None:
        super().__init__()
        self.length, self.heads, self.size = space.length, sizes.head_count(), sizes.width // sizes.head_count()
        before = {k: v for k, v in condition.items() if sizes.given == "prefix" and is_text(v)}
        self.prefix = Prefix(before, sizes.width) if before else None
        self.context = Context({k: v for k, v in condition.items() if k not in before}, sizes.width)
        self.embed = nn.Embedding(space.vocabulary, sizes.width)
        self.embed_start = nn.Parameter(torch.randn(sizes.width))
        # Items that all have one length (pixels, columns) are about places: say which place comes next.
        self.embed_place = nn.Parameter(torch.randn(space.length, sizes.width)) if space.end is None else None
        self.blocks = nn.ModuleList(Block(sizes, self.context.has_sequence) for _ in range(sizes.depth))
        self.dropout = Dropout(sizes.dropout)
        self.head = linear(sizes.width, space.vocabulary, bias=False)
        nn.init.normal_(self.embed.weight)
        self.scale = 1.0
        if sizes.tie_embeddings:
            nn.init.normal_(self.embed.weight, std=sizes.width**-0.5)
            self.head.weight = self.embed.weight
            self.scale = sizes.width**0.5
        grid = space.grid if space.grid and math.prod(space.grid) == space.length else (space.length,)
        places = coordinates(grid)
        if self.prefix is not None:  # the prefix, if it is full, stands before the first place
            most = sum(v.length for v in self.prefix.spaces)
            line = torch.arange(-most, 0, dtype=torch.float32)[:, None].expand(-1, places.shape[1])
            places = torch.cat((line, places))
        self.register_buffer("table", rotation(places, self.size), persistent=False)

    def forward(self, x: Tensor, c: dict[str, Tensor] | None = None, before: Tensor | None = None) -> Tensor:
        given = self.context(c, x)
        start = self.embed_start.expand(len(x), 1, -1)
        if before is not None:
            known = self.embed(before.clamp(min=0)) * self.scale
            start = torch.where((before == MISSING_TOKEN)[:, None], self.embed_start, known)[:, None]
        h = self._enter(torch.cat((start, self.embed(x[:, :-1]) * self.scale), 1), 0, given.vector)
        mask, given_places = None, 0
        if self.prefix is not None:
            read, counts, _ = self.prefix(c, x)
            h, given_places = torch.cat((self.dropout(read), h), 1), read.shape[1]
            mask = visible(counts, x.shape[1])
        table = self._places(-given_places, x.shape[1])
        for block in self.blocks:
            assert isinstance(block, Block)
            h = block(h, table, causal=mask is None, mask=mask, given=block.read(given))
        return self.head(rms_norm(h[:, given_places:])).float()

    def attention(self, x: Tensor, c: dict[str, Tensor] | None = None) -> Attention:
        blocks = [block for block in self.blocks if isinstance(block, Block)]
        own = watch([block.attention for block in blocks], lambda: self(x, c))
        crosses = [block.cross for block in blocks if block.cross is not None]
        given = self.context.by_field(watch(crosses, lambda: self(x, c)), c) if crosses else {}
        if self.prefix is None:
            return Attention(own, given)
        _, _, order = self.prefix(c, x)
        own, seen = own[..., order.shape[1] :, order.shape[1] :], own[..., order.shape[1] :, : order.shape[1]]
        place = order[:, None, None, None].expand_as(seen)
        parts = torch.zeros_like(seen).scatter(-1, place, seen).split(self.prefix.places(c), -1)
        # no place of a prefix stands for "any", which is the first one where a field is read by an encoder
        given |= {name: F.pad(part, (1, 0)) for name, part in zip(self.prefix.names, parts, strict=True)}
        return Attention(own, given)

    def start(self, batch: int, c: dict[str, Tensor] | None = None) -> Any:
        device = self.embed_start.device
        rows = filled_up(torch.arange(batch, device=device))
        vector, reads, mask, first = read_alone(self._read, batch, c, device)
        before = 0 if mask is None else mask.shape[1]
        shape = (batch, self.heads, before + self.length, self.size)
        memory = [(vector.new_empty(shape), vector.new_empty(shape)) for _ in self.blocks]
        if mask is not None:
            for (keys, values), (read_keys, read_values) in zip(memory, first, strict=True):
                keys[:, :, :before], values[:, :, :before] = read_keys, read_values
            mask = F.pad(mask, (0, self.length), value=True)
        return _State(batch, rows, 0, before, vector[rows], memory, reads, mask, _Rows(self))

    def _read(self, batch: int, c: dict[str, Tensor] | None) -> tuple[Any, ...]:
        """What steps need of the condition: its vector, keys for each block, and the prefix's mask and memory."""
        like = self.embed_start.expand(batch, -1)
        given = self.context(c, like)
        reads = tuple(block.read(given) for block in self.blocks if isinstance(block, Block))
        if self.prefix is None:
            return given.vector, reads, None, None
        read, mask, _ = self.prefix(c, like)
        shape = (batch, self.heads, read.shape[1], self.size)
        memory = tuple((like.new_empty(shape), like.new_empty(shape)) for _ in self.blocks)
        table = self._places(-read.shape[1], 0)
        for block, (keys, values), own in zip(self.blocks, memory, reads, strict=True):
            read = block(read, table, mask=visible(mask, 0), given=own, cache=(keys, values, 0))
        return given.vector, reads, mask, memory

    def step(self, token: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        assert isinstance(state, _State)
        if token is None:
            before = self.embed_start.expand(len(state.rows), -1)
        else:
            before = self.embed(token if len(state.rows) == state.batch else token[state.rows]) * self.scale
        place = state.place
        h = self._enter(before[:, None], place, state.vector)[:, 0]
        seen = None if state.mask is None else state.mask[:, : state.filled + 1]
        turned = self.get_buffer("table").shape[1] - self.length + place
        for block, (keys, values), read in zip(state.net.blocks, state.memory, state.reads, strict=True):
            h = block(h, state.rows, turned, (keys, values, state.filled), seen, read)
        return state.net.head(norm(h))[: state.batch].float(), state._replace(place=place + 1, filled=state.filled + 1)

    def reorder(self, state: Any, index: Tensor) -> Any:
        assert isinstance(state, _State)
        memory = [tuple(_kept(kept, index, state.filled) for kept in both) for both in state.memory]
        reads, mask = take((state.reads, state.mask), index)
        rows = filled_up(torch.arange(len(index), device=index.device))
        vector = state.vector[index][rows]
        return state._replace(batch=len(index), rows=rows, vector=vector, memory=memory, reads=reads, mask=mask)

    def _places(self, start: int, stop: int) -> Tensor:
        """The rotation of the places from `start`, below 0 in the prefix, up to `stop`."""
        table = self.get_buffer("table")
        first = table.shape[1] - self.length
        return table[:, first + start : first + stop]

    def _enter(self, before: Tensor, place: int, vector: Tensor) -> Tensor:
        h = before + vector[:, None] if not self.context.empty else before
        if self.embed_place is not None:
            h = h + self.embed_place[place : place + h.shape[1]]
        return self.dropout(h)


class _Rows:
    """A predictor's weights for steps, as they are now."""

    def __init__(self, net: _Predictor) -> None:
        table = net.get_buffer("table")
        self.blocks = [
            BlockRows(block.attention, block.cross, block.feed_forward, table)
            for block in net.blocks
            if isinstance(block, Block)
        ]
        self.head = Product(net.head.weight)


class _State(NamedTuple):
    """Where `step` stands: `batch` items, computed as the more `rows` that `filled_up` makes of them."""

    batch: int
    rows: Tensor
    place: int
    filled: int  # of the memory: the prefix and `place`
    vector: Tensor
    memory: Any  # keys and values of each block, of the items alone
    reads: Any
    mask: Tensor | None
    net: _Rows


def _kept(memory: Tensor, index: Tensor, place: int) -> Tensor:
    """The rows `index` of a cache, as long as it; only what stands before `place` is written yet."""
    out = memory.new_empty(len(index), *memory.shape[1:])
    out[:, :, :place] = memory[index, :, :place]
    return out


def default_patch(positions: tuple[int, ...], most: int = 256) -> int:
    """The smallest patch that makes at most `most` patches."""
    patch = 1
    while math.prod(-(-n // patch) for n in positions) > most:
        patch += 1
    return patch


class _Patches(nn.Module):
    """Continuous values as tokens and back: patches of positions; without positions, channels (one-hots together)."""

    def __init__(self, space: Continuous, sizes: Transformer, enters: bool = True, leaves: bool = True) -> None:
        super().__init__()
        self.space = space
        self.patch = sizes.patch or default_patch(space.positions)
        if space.positions:
            grid = tuple(-(-n // self.patch) for n in space.positions)
            inputs = space.channels * self.patch ** len(grid)
            self.embed = linear(inputs, sizes.width) if enters else None
            self.head = linear(sizes.width, inputs) if leaves else None
        else:
            group = torch.arange(space.channels)
            for start, stop in space.choices:
                group[start:stop] = start
            group = group.unique(return_inverse=True)[1]
            self.register_buffer("group", group, persistent=False)
            grid = (int(group.max()) + 1,)
            # One row for each channel: what its number is multiplied by, and what it is read with.
            self.embed = linear(sizes.width, space.channels, bias=False, scale=sizes.width**0.5) if enters else None
            self.head = linear(sizes.width, space.channels) if leaves else None
        self.grid, self.count = grid, math.prod(grid)
        self.embed_place = nn.Parameter(torch.randn(self.count, sizes.width))
        table = rotation(coordinates(grid), sizes.width // sizes.head_count())
        self.register_buffer("table", table, persistent=False)

    def enter(self, x: Tensor) -> Tensor:
        """x: shape (B, *shape). Returns tokens, shape (B, N, width)."""
        assert self.embed is not None
        if self.space.positions:
            return self.embed(fold(x, self.patch).flatten(2).transpose(1, 2)) + self.embed_place
        each = x[:, :, None] * self.embed.weight
        tokens = torch.zeros(len(x), self.count, each.shape[2], dtype=each.dtype, device=x.device)
        return tokens.index_add(1, self.get_buffer("group"), each) + self.embed_place

    def leave(self, h: Tensor) -> Tensor:
        """h: tokens, shape (B, N, width). Returns shape (B, *shape)."""
        assert self.head is not None
        if self.space.positions:
            h = self.head(h).transpose(1, 2).unflatten(2, self.grid)
            return unfold(h, self.patch, self.space.positions).float()
        return (torch.linalg.vecdot(h[:, self.get_buffer("group")], self.head.weight) + self.head.bias).float()


class _Steered(nn.Module):
    """Blocks over tokens, steered by a vector, ending in a steered norm."""

    def __init__(self, sizes: Transformer, cross: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(sizes, cross, steered=True) for _ in range(sizes.depth))
        self.steer = linear(sizes.width, 2 * sizes.width, scale=0.0)

    def forward(self, h: Tensor, table: Tensor, steer: Tensor, given: Embedded) -> Tensor:
        steer = F.silu(steer)
        for block in self.blocks:
            assert isinstance(block, Block)
            h = block(h, table, steer=steer, given=block.read(given))
        shift, scale = self.steer(steer).unsqueeze(1).chunk(2, -1)
        return torch.addcmul(shift, rms_norm(h), 1 + scale)


class _Denoiser(nn.Module):
    def __init__(self, sizes: Transformer, space: Continuous, condition: Condition) -> None:
        super().__init__()
        self.patches = _Patches(space, sizes)
        self.time = TimeEmbedding(sizes.width)
        self.context = Context(condition, sizes.width)
        self.body = _Steered(sizes, self.context.has_sequence)
        assert self.patches.head is not None
        nn.init.zeros_(self.patches.head.weight)

    def forward(self, x: Tensor, t: Tensor, c: dict[str, Tensor] | None = None) -> Tensor:
        given = self.context(c, x)
        h = self.body(self.patches.enter(x), self.patches.get_buffer("table"), self.time(t) + given.vector, given)
        return self.patches.leave(h)


class _Decoder(nn.Module):
    def __init__(self, sizes: Transformer, features: int, target: Continuous, condition: Condition) -> None:
        super().__init__()
        self.patches = _Patches(target, sizes, enters=False)
        self.latent = linear(features, sizes.width)
        self.context = Context(condition, sizes.width)
        self.body = _Steered(sizes, self.context.has_sequence)

    def forward(self, z: Tensor, c: dict[str, Tensor] | None = None) -> Tensor:
        given = self.context(c, z)
        latent = self.latent(z) + given.vector
        return self.patches.leave(
            self.body(self.patches.embed_place + latent[:, None], self.patches.get_buffer("table"), latent, given)
        )


class _Encoder(nn.Module):
    """Both directions are read; the mean over what counts is the answer."""

    def __init__(self, sizes: Transformer, source: Space, features: int, condition: Condition) -> None:
        super().__init__()
        self.source = source
        self.context = Context(condition, sizes.width)
        if isinstance(source, Tokens):
            self.embed = nn.Embedding(source.vocabulary, sizes.width)
            nn.init.normal_(self.embed.weight)
            self.embed_place = nn.Parameter(torch.randn(source.length, sizes.width)) if source.end is None else None
            grid = source.grid if source.grid and math.prod(source.grid) == source.length else (source.length,)
            table = rotation(coordinates(grid), sizes.width // sizes.head_count())
            self.register_buffer("table", table, persistent=False)
        else:
            self.patches = _Patches(source, sizes, leaves=False)
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
            h, table = self.patches.enter(x), self.patches.get_buffer("table")
        h = h + given.vector[:, None]
        # An input whose gradient is wanted may be under a gradient penalty, which differentiates twice.
        twice = x.requires_grad
        for block in self.blocks:
            assert isinstance(block, Block)
            h = block(h, table, mask=mask, given=block.read(given), twice=twice)
        h = rms_norm(h)
        if mask is None:
            return self.head(h.mean(1)).float()
        weight = mask.unsqueeze(-1).to(h.dtype)
        return self.head((h * weight).sum(1) / weight.sum(1)).float()
