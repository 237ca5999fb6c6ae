"""Encodes the condition: one vector, and a sequence for cross-attention from the fields with several positions."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise.backbones.convolutions import conv, fold
from likewise.backbones.layers import Dropout, FeedForward, SelfAttention, heads_of, linear, rms_norm, rotation
from likewise.spaces import Condition, Continuous, Space, Tokens, fill_up, token_mask


class Embedded(NamedTuple):
    """An encoded condition.

    vector: all fields in one vector, shape (B, width); zeros for an unconditional model.
    sequence, mask: the fields with several positions, shape (B, S, width), and True at valid positions, (B, S); None if
        there are none.
    """

    vector: Tensor
    sequence: Tensor | None = None
    mask: Tensor | None = None


class ConditionEncoder(nn.Module):
    """Encodes condition fields as vectors. A missing field is a learned "any" embedding; several fields are added.

    None is read as a condition with all fields missing.
    """

    def __init__(self, condition: Condition, width: int, dropout: float = 0.0) -> None:
        """dropout: rate in the encoders of token sequences."""
        super().__init__()
        self.width = width
        self.names = list(condition)  # not keys of a ModuleDict: names of columns may have dots in them
        self.fields = nn.ModuleList(_field(space, width, dropout) for space in condition.values())
        self.empty = not condition
        self.has_sequence = any(isinstance(field, (_Sequence, _Map)) for field in self.fields)

    def forward(self, c: dict[str, Tensor] | None, like: Tensor) -> Embedded:
        """c: batches by field name, or None. like: any tensor of the same batch size and device, shape (B, ...)."""
        batch = like.shape[0]  # len() would fix the batch of an exported graph
        vector = torch.zeros(batch, self.width, device=like.device)
        sequences: list[Tensor] = []
        masks: list[Tensor] = []
        for name, field in zip(self.names, self.fields, strict=True):
            value = None if c is None else c.get(name)
            # One row is enough for a missing field: it is broadcast.
            found: Embedded = field(field.missing.to(like.device) if value is None else value)
            vector = vector + found.vector
            if found.sequence is not None and found.mask is not None:
                sequences.append(found.sequence.expand(batch, -1, -1))
                masks.append(found.mask.expand(batch, -1))
        if not sequences:
            return Embedded(vector)
        return Embedded(vector, torch.cat(sequences, 1), torch.cat(masks, 1))

    def by_field(self, weights: Tensor, c: dict[str, Tensor] | None) -> dict[str, Tensor]:
        """Split attention weights over the sequence, shape (..., S), by field: (..., S of the field)."""
        found, start = {}, 0
        for name, field in zip(self.names, self.fields, strict=True):
            if not isinstance(field, (_Sequence, _Map)):
                continue
            value = None if c is None else c.get(name)
            stop = start + field.places(field.missing if value is None else value)
            found[name], start = weights[..., start:stop], stop
        return found


def _field(space: Space, width: int, dropout: float) -> nn.Module:
    if isinstance(space, Tokens):
        return _OneToken(space, width) if space.length == 1 else _Sequence(space, width, dropout)
    return _Map(space, width) if space.positions else _Vector(space, width)


class _OneToken(nn.Module):
    """A label: an embedding table with an extra row for "any"."""

    def __init__(self, space: Tokens, width: int) -> None:
        super().__init__()
        self.any_row = space.vocabulary
        self.embed = nn.Embedding(space.vocabulary + 1, width)
        nn.init.normal_(self.embed.weight)
        self.missing = torch.full((1, 1), -1)

    def forward(self, x: Tensor) -> Embedded:
        return Embedded(self.embed(torch.where(x < 0, self.any_row, x))[:, 0])


class _Sequence(nn.Module):
    """A token sequence: embeddings and two self-attention blocks, after a learned "any" that is always valid."""

    def __init__(self, space: Tokens, width: int, dropout: float) -> None:
        super().__init__()
        self.space = space
        self.dropout = Dropout(dropout)
        heads = heads_of(width, 32)
        self.embed = nn.Embedding(space.vocabulary, width)
        nn.init.normal_(self.embed.weight)
        self.embed_any = nn.Parameter(torch.randn(1, 1, width))
        self.embed_place = nn.Parameter(torch.zeros(space.length, width))
        self.attention = nn.ModuleList(SelfAttention(width, heads) for _ in range(2))
        self.feed_forward = nn.ModuleList(FeedForward(width, "relu2") for _ in range(2))
        self.out = linear(width, width)
        self.size = width // heads
        self.missing = torch.full((1, 1), -1)

    def places(self, x: Tensor) -> int:
        """The number of sequence positions that x is encoded to."""
        return 1 + x.shape[1]

    def forward(self, x: Tensor) -> Embedded:
        mask = token_mask(x, self.space)
        h = self.embed(x.clamp(min=0)) + self.embed_place[: x.shape[1]]
        h = self.dropout(torch.cat((self.embed_any.expand(x.shape[0], -1, -1), h), 1))
        mask = F.pad(mask, (1, 0), value=True)
        table = rotation(torch.arange(h.shape[1], device=h.device, dtype=torch.float32)[:, None], self.size)
        for attention, feed_forward in zip(self.attention, self.feed_forward, strict=True):
            h = h + self.dropout(attention(rms_norm(h), table, mask=mask))
            h = h + self.dropout(feed_forward(rms_norm(h)))
        h = rms_norm(h)
        weight = mask.unsqueeze(-1).to(h.dtype)
        return Embedded(self.out((h * weight).sum(1) / weight.sum(1)), h, mask)


class _Vector(nn.Module):
    """Numbers, by an MLP; a NaN is read as 0, with an indicator channel set to 1."""

    def __init__(self, space: Continuous, width: int) -> None:
        super().__init__()
        self.embed = linear(2 * space.channels, width, scale=math.sqrt(2))
        self.out = linear(width, width, scale=math.sqrt(2))
        self.missing = torch.full((1, space.channels), math.nan)

    def forward(self, x: Tensor) -> Embedded:
        gone = x.isnan()
        x = torch.cat((x.masked_fill(gone, 0.0), gone.to(x.dtype)), 1)
        return Embedded(self.out(F.silu(self.embed(x))))


class _Map(nn.Module):
    """Positions, by strided convolutions until few are left: those are the sequence, their mean is the vector."""

    def __init__(self, space: Continuous, width: int, most: int = 64) -> None:
        super().__init__()
        positions = space.positions
        layers: list[nn.Module] = [conv(len(positions), space.channels + 1, width, scale=math.sqrt(2))]
        while math.prod(positions) > most or len(layers) == 1:
            patch = 2 if max(positions) > 1 else 1
            layers += [nn.SiLU(), _Halve(len(positions), width, patch)]
            positions = tuple(-(-n // patch) for n in positions)
        self.space = space
        self.convs = nn.Sequential(*layers)
        self.embed_place = nn.Parameter(torch.randn(math.prod(positions), width))
        self.out = linear(width, width)
        self.missing = torch.full((1, *space.shape), math.nan)

    def places(self, x: Tensor) -> int:
        """The number of sequence positions that x is encoded to."""
        return len(self.embed_place)

    def forward(self, x: Tensor) -> Embedded:
        x = fill_up(x, self.space)
        gone = x.isnan().any(1, keepdim=True)
        x = torch.cat((x.nan_to_num(0.0), gone.to(x.dtype)), 1)
        h = rms_norm(self.convs(x).flatten(2).transpose(1, 2) + self.embed_place)
        return Embedded(self.out(h.mean(1)), h, torch.ones(h.shape[:2], dtype=torch.bool, device=h.device))


class _Halve(nn.Module):
    """Downsampling: each block of `patch` positions a side becomes one."""

    def __init__(self, dims: int, width: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.mix = conv(dims, width * patch**dims, width, 1, scale=math.sqrt(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(fold(x, self.patch))
