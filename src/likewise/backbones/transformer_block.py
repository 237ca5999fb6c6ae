"""A Transformer block: self-attention, cross-attention to the condition, feed-forward."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from likewise.backbones.condition_encoder import Embedded
from likewise.backbones.layers import Cache, CrossAttention, Dropout, FeedForward, SelfAttention, linear, rms_norm


class BlockSizes(Protocol):
    """The settings of a Transformer block: width, heads, query-key norm, dropout, kind of feed-forward."""

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
    """Self-attention, cross-attention if there is a sequence, and feed-forward, each with a residual connection.

    A vector `steer` modulates each branch by scale, shift and gate; with its last layer at zero each block starts as
    the identity (adaLN-zero).
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
            # The gates start at zero; if the output layers did too, neither would get a gradient.
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
        double_backward: bool = False,
    ) -> Tensor:
        """h: shape (B, L, width). given: the condition's keys and mask, from `read`. steer: shape (B, width)."""
        if self.steer is None or steer is None:
            a = self.attention(
                rms_norm(h), table, causal=causal, mask=mask, cache=cache, double_backward=double_backward
            )
            h = h + self.dropout(a)
            h = self._cross_attend(h, given, double_backward)
            return h + self.dropout(self.feed_forward(rms_norm(h)))
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = self.steer(steer).unsqueeze(1).chunk(6, -1)
        a = self.attention(
            torch.addcmul(shift_a, rms_norm(h), 1 + scale_a), table, mask=mask, double_backward=double_backward
        )
        h = torch.addcmul(h, gate_a, self.dropout(a))
        h = self._cross_attend(h, given, double_backward)
        f = self.feed_forward(torch.addcmul(shift_f, rms_norm(h), 1 + scale_f))
        return torch.addcmul(h, gate_f, self.dropout(f))

    def read(self, given: Embedded) -> tuple[tuple[Tensor, Tensor], Tensor] | None:
        """Keys, values and mask of a condition's sequence for `forward`, computed once; None if there is none."""
        if self.cross is None or given.sequence is None or given.mask is None:
            return None
        return self.cross.keys(given.sequence), given.mask

    def _cross_attend(
        self, h: Tensor, given: tuple[tuple[Tensor, Tensor], Tensor] | None, double_backward: bool
    ) -> Tensor:
        return (
            h
            if self.cross is None or given is None
            else h + self.dropout(self.cross(h, *given, double_backward=double_backward))
        )
