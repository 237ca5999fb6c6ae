"""The causal Transformer over tokens (Llama's layout), with a full forward pass and cached decoding."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise.backbones.base import Attention, Predictor
from likewise.backbones.condition_encoder import ConditionEncoder
from likewise.backbones.decode_kernels import (
    BlockStep,
    Product,
    in_packed_precision,
    norm,
    pad_rows,
    read_per_row,
    take,
)
from likewise.backbones.layers import Dropout, coordinates, kept_rows, linear, record_attention, rms_norm, rotation
from likewise.backbones.prefix import Prefix, is_text, visible
from likewise.backbones.transformer_block import Block, BlockSizes
from likewise.spaces import MISSING_TOKEN, Condition, Tokens


class CausalSizes(BlockSizes, Protocol):
    """The settings of a causal Transformer: those of its blocks, depth, conditioning and weight tying."""

    @property
    def depth(self) -> int: ...
    @property
    def given(self) -> str: ...
    @property
    def tie_embeddings(self) -> bool: ...


class Causal(Predictor):
    """The condition's vector is added at every position; its sequence is read by cross-attention, or as a prefix."""

    def __init__(self, sizes: CausalSizes, space: Tokens, condition: Condition) -> None:
        super().__init__()
        self.length, self.heads, self.size = space.length, sizes.head_count(), sizes.width // sizes.head_count()
        before = {k: v for k, v in condition.items() if sizes.given == "prefix" and is_text(v)}
        self.prefix = Prefix(before, sizes.width) if before else None
        self.context = ConditionEncoder(
            {k: v for k, v in condition.items() if k not in before}, sizes.width, sizes.dropout
        )
        self.embed = nn.Embedding(space.vocabulary, sizes.width)
        self.embed_start = nn.Parameter(torch.randn(sizes.width))
        # Items of fixed length (pixels, columns) have position-specific meaning: they get absolute position embeddings.
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
        if self.prefix is not None:  # negative positions are those of the prefix
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
        h = self._embed_inputs(torch.cat((start, self.embed(x[:, :-1]) * self.scale), 1), 0, given.vector)
        mask, prefix_length = None, 0
        if self.prefix is not None:
            read, counts, _ = self.prefix(c, x)
            h, prefix_length = torch.cat((self.dropout(read), h), 1), read.shape[1]
            mask = visible(counts, x.shape[1])
        table = self._places(-prefix_length, x.shape[1])
        for block in self.blocks:
            assert isinstance(block, Block)
            h = block(h, table, causal=mask is None, mask=mask, given=block.read(given))
        return self.head(rms_norm(h[:, prefix_length:])).float()

    def attention(self, x: Tensor, c: dict[str, Tensor] | None = None) -> Attention:
        blocks = [block for block in self.blocks if isinstance(block, Block)]
        own = record_attention([block.attention for block in blocks], lambda: self(x, c))
        crosses = [block.cross for block in blocks if block.cross is not None]
        given = self.context.by_field(record_attention(crosses, lambda: self(x, c)), c) if crosses else {}
        if self.prefix is None:
            return Attention(own, given)
        _, _, order = self.prefix(c, x)
        own, to_prefix = own[..., order.shape[1] :, order.shape[1] :], own[..., order.shape[1] :, : order.shape[1]]
        place = order[:, None, None, None].expand_as(to_prefix)
        parts = torch.zeros_like(to_prefix).scatter(-1, place, to_prefix).split(self.prefix.places(c), -1)
        # A prefix has no "any" position, which is the first one where a field is read by an encoder.
        given |= {name: F.pad(part, (1, 0)) for name, part in zip(self.prefix.names, parts, strict=True)}
        return Attention(own, given)

    def start(self, batch: int, c: dict[str, Tensor] | None = None) -> Any:
        device = self.embed_start.device
        rows = pad_rows(torch.arange(batch, device=device))
        vector, reads, mask, first = read_per_row(self._read, batch, c, device)
        before = 0 if mask is None else mask.shape[1]
        shape = (batch, self.heads, before + self.length, self.size)
        memory = [(vector.new_empty(shape), vector.new_empty(shape)) for _ in self.blocks]
        if mask is not None:
            for (keys, values), (read_keys, read_values) in zip(memory, first, strict=True):
                keys[:, :, :before], values[:, :, :before] = read_keys, read_values
            mask = F.pad(mask, (0, self.length), value=True)
        return _State(batch, rows, 0, before, vector[rows], memory, reads, mask, _StepWeights(self))

    def _read(self, batch: int, c: dict[str, Tensor] | None) -> tuple[Any, ...]:
        """The condition as `step` needs it: vector, keys of each block, the prefix's mask and its cache."""
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

    @in_packed_precision
    def step(self, token: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        assert isinstance(state, _State)
        if token is None:
            before = self.embed_start.expand(len(state.rows), -1)
        else:
            before = self.embed(token if len(state.rows) == state.batch else token[state.rows]) * self.scale
        place = state.place
        h = self._embed_inputs(before[:, None], place, state.vector)[:, 0]
        key_mask = None if state.mask is None else state.mask[:, : state.filled + 1]
        rotary_index = self.get_buffer("table").shape[1] - self.length + place
        for block, (keys, values), read in zip(state.net.blocks, state.memory, state.reads, strict=True):
            h = block(h, state.rows, rotary_index, (keys, values, state.filled), key_mask, read)
        return state.net.head(norm(h))[: state.batch].float(), state._replace(place=place + 1, filled=state.filled + 1)

    def reorder(self, state: Any, index: Tensor) -> Any:
        assert isinstance(state, _State)
        memory = [tuple(kept_rows(kept, index, state.filled) for kept in both) for both in state.memory]
        reads, mask = take((state.reads, state.mask), index)
        rows = pad_rows(torch.arange(len(index), device=index.device))
        vector = state.vector[index][rows]
        return state._replace(batch=len(index), rows=rows, vector=vector, memory=memory, reads=reads, mask=mask)

    def _places(self, start: int, stop: int) -> Tensor:
        """The rotation table of positions `start` to `stop`; positions of the prefix are negative."""
        table = self.get_buffer("table")
        first = table.shape[1] - self.length
        return table[:, first + start : first + stop]

    def _embed_inputs(self, before: Tensor, place: int, vector: Tensor) -> Tensor:
        h = before + vector[:, None] if not self.context.empty else before
        if self.embed_place is not None:
            h = h + self.embed_place[place : place + h.shape[1]]
        return self.dropout(h)


class _StepWeights:
    """A predictor's current weights, packed for decoding steps."""

    def __init__(self, net: Causal) -> None:
        table = net.get_buffer("table")
        self.blocks = [
            BlockStep(block.attention, block.cross, block.feed_forward, table)
            for block in net.blocks
            if isinstance(block, Block)
        ]
        self.head = Product(net.head.weight)


class _State(NamedTuple):
    """The decoding state: `batch` items, computed as the padded `rows` of `pad_rows`."""

    batch: int
    rows: Tensor
    place: int
    filled: int  # cached positions: the prefix and `place`
    vector: Tensor
    memory: Any  # keys and values of each block, without the padding rows
    reads: Any
    mask: Tensor | None
    net: _StepWeights
