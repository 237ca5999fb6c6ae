"""A block of a Transformer: attention, attention to what is given, feed-forward."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from likewise.backbones.condition_encoder import Embedded
from likewise.backbones.layers import Cache, CrossAttention, Dropout, FeedForward, SelfAttention, linear, rms_norm


class BlockSizes(Protocol):
    """The settings of a Transformer that its blocks read: width and heads, norms, dropout, kind of feed-forward."""

    @property
    def width(self) -> int: ...
    @property
    def qk_norm(self) -> bool: ...
    @property
    def ffn(self) -> str: ...
    @property
    def dropout(self) -> float: ...
    def head_count(self) -> int: ...


class Block(nn.Module):
    """Attention, then (given a sequence) attention to that, then feed-forward, each added to its input.

    A steering vector scales, shifts and gates what is added; with its last layer at zero each block starts as the
    identity (adaLN-zero).
    """

    def __init__(self, sizes: BlockSizes, cross: bool, steered: bool = False) -> None:
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
        a = self.attention(torch.addcmul(shift_a, rms_norm(h), 1 + scale_a), table, mask=mask, twice=twice)
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
        return h if self.cross is None or given is None else h + self.dropout(self.cross(h, *given, twice=twice))
