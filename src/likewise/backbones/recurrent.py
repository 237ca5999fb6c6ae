"""Recurrent networks: LSTM (Hochreiter and Schmidhuber, 1997) and GRU (Cho et al., 2014)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from likewise.backbones.base import Attention, Backbone, Predictor, Role
from likewise.backbones.condition_encoder import ConditionEncoder
from likewise.backbones.decode_kernels import (
    CrossAttentionStep,
    Product,
    in_packed_precision,
    pad_rows,
    read_per_row,
    take,
)
from likewise.backbones.layers import CrossAttention, Dropout, heads_of, linear, record_attention
from likewise.spaces import MISSING_TOKEN, Condition, Continuous, Space, Tokens, Unfit, token_mask

Cell = Literal["lstm", "gru"]


class _Recurrent(Backbone):
    """Settings of recurrent networks."""

    cell: ClassVar[Cell]
    width: int = Field(default=512, ge=8, multiple_of=8, description="units of each layer")
    depth: int = Field(default=2, ge=1, description="layers")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="between layers and before the last one")
    bidirectional: bool = Field(default=True, description="encoders are bidirectional")

    @classmethod
    def tiny(cls) -> Self:
        return cls(width=16, depth=1)

    def unfit(self, role: Role, space: Space) -> str | None:
        if role == "encoder" and isinstance(space, Continuous) and not space.positions:
            return f"{self.cell} reads positions one after another and {space} has none"
        if role in ("decoder", "denoiser"):
            return f"{self.cell} outputs tokens one by one, not continuous values"
        if role == "mapper":
            return f"{self.cell} reads a sequence and cannot downsample or upsample positions"
        if role == "predictor" and isinstance(space, Continuous):
            return f"{self.cell} predicts tokens, not continuous values"
        return None

    def encoder(self, source: Space, features: int, condition: Condition) -> nn.Module:
        return _Encoder(self, source, features, condition)

    def predictor(self, space: Tokens, condition: Condition) -> Predictor:
        return _Predictor(self, space, condition)


class LSTM(_Recurrent):
    """Settings of LSTM networks."""

    cell: ClassVar[Cell] = "lstm"
    name: Literal["lstm"] = "lstm"


class GRU(_Recurrent):
    """Settings of GRU networks."""

    cell: ClassVar[Cell] = "gru"
    name: Literal["gru"] = "gru"


def core(sizes: _Recurrent) -> nn.LSTM | nn.GRU:
    """The recurrent layers: orthogonal recurrence (Saxe et al., 2014), forget gate bias 1 (Jozefowicz et al., 2015)."""
    kind = nn.LSTM if sizes.cell == "lstm" else nn.GRU
    between = sizes.dropout if sizes.depth > 1 else 0.0
    net = kind(sizes.width, sizes.width, sizes.depth, batch_first=True, dropout=between)
    for name, parameter in net.named_parameters():
        if name.startswith("weight_hh"):
            for gate in parameter.data.split(sizes.width):
                nn.init.orthogonal_(gate)
        elif name.startswith("weight_ih"):
            nn.init.normal_(parameter, std=sizes.width**-0.5)
        else:
            nn.init.zeros_(parameter)
            if name.startswith("bias_ih") and sizes.cell == "lstm":
                parameter.data[sizes.width : 2 * sizes.width] = 1.0
    return net


class _Predictor(Predictor):
    """The condition is added at every step, and read by attention after the last layer (Luong et al., 2015)."""

    endless = True

    def __init__(self, sizes: _Recurrent, space: Tokens, condition: Condition) -> None:
        super().__init__()
        self.context = ConditionEncoder(condition, sizes.width)
        self.embed = nn.Embedding(space.vocabulary, sizes.width)
        nn.init.normal_(self.embed.weight)
        self.embed_start = nn.Parameter(torch.randn(sizes.width))
        # Items of fixed length (pixels, columns) have position-specific meaning: they get absolute position embeddings.
        self.embed_place = nn.Parameter(torch.randn(space.length, sizes.width)) if space.end is None else None
        self.core = core(sizes)
        self.first = None if self.context.empty else linear(sizes.width, sizes.depth * sizes.width)
        self.cross = CrossAttention(sizes.width, heads_of(sizes.width)) if self.context.has_sequence else None
        self.dropout = Dropout(sizes.dropout)
        self.head = linear(sizes.width, space.vocabulary)

    def forward(self, x: Tensor, c: dict[str, Tensor] | None = None, before: Tensor | None = None) -> Tensor:
        start = self.embed_start.expand(len(x), 1, -1) if before is None else self._first(before)
        return self._advance(torch.cat((start, self.embed(x[:, :-1])), 1), *self._given(c, x))

    def carry(self, read: Tensor, c: dict[str, Tensor] | None, state: Any = None) -> tuple[Tensor, Any]:
        assert self.embed_place is None
        vector, hidden, given = self._given(c, read) if state is None else state
        before = torch.cat((self._first(read[:, 0]), self.embed(read[:, 1:])), 1)
        h, hidden = self.core(before + vector[:, None], hidden)
        if self.cross is not None:
            h = h + self.cross(h, *given)
        return self.head(self.dropout(h)).float(), (vector, hidden, given)

    def _first(self, token: Tensor) -> Tensor:
        """The input at the first position, shape (B, 1, width): of the tokens, shape (B,), or a learned start."""
        known = self.embed(token.clamp(min=0))
        return torch.where((token == MISSING_TOKEN)[:, None], self.embed_start, known)[:, None]

    def attention(self, x: Tensor, c: dict[str, Tensor] | None = None) -> Attention:
        if self.cross is None:
            raise Unfit("a recurrent network has no attention, unless a text or an image is given")
        return Attention(None, self.context.by_field(record_attention([self.cross], lambda: self(x, c)), c))

    def start(self, batch: int, c: dict[str, Tensor] | None = None) -> Any:
        device = self.embed_start.device
        rows = pad_rows(torch.arange(batch, device=device))
        vector, hidden, read = read_per_row(self._read, batch, c, device)
        vector, hidden = take((vector, hidden), rows)
        return batch, rows, 0, vector, hidden, read, _StepWeights(self)

    def _read(self, batch: int, c: dict[str, Tensor] | None) -> tuple[Any, ...]:
        """The condition as `step` needs it: its vector, the first state by layer and part, keys for attention."""
        vector, hidden, read = self._given(c, self.embed_start.expand(batch, -1))
        if hidden is None:
            hidden = torch.zeros(self.core.num_layers, batch, self.core.hidden_size, device=vector.device)
            hidden = (hidden, hidden) if isinstance(self.core, nn.LSTM) else hidden
        parts = hidden if isinstance(hidden, tuple) else (hidden,)
        return vector, tuple(zip(*(part.unbind() for part in parts), strict=True)), read

    @in_packed_precision
    def step(self, token: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        batch, rows, place, vector, hidden, read, net = state
        if token is None:
            before = self.embed_start.expand(len(rows), -1)
        else:
            before = self.embed(token if len(rows) == batch else token[rows])
        h = before + vector
        if self.embed_place is not None:
            h = h + self.embed_place[place]
        fresh = []
        for cell, memory in zip(net.cells, hidden, strict=True):
            fresh.append(cell(h, memory))
            h = fresh[-1][0]
        if net.cross is not None:
            h = net.cross(h, rows, read)
        return net.head(h)[:batch].float(), (batch, rows, place + 1, vector, tuple(fresh), read, net)

    def reorder(self, state: Any, index: Tensor) -> Any:
        _, _, place, vector, hidden, read, net = state
        vector, hidden = take((vector, hidden), pad_rows(index))
        read = take(read, index)
        rows = pad_rows(torch.arange(len(index), device=index.device))
        return len(index), rows, place, vector, hidden, read, net

    def _given(self, c: dict[str, Tensor] | None, like: Tensor) -> tuple[Tensor, Any, Any]:
        """The condition's vector, the initial recurrent state, and the keys and mask for cross-attention."""
        given = self.context(c, like)
        hidden = None
        if self.first is not None:
            start = self.first(given.vector).view(len(like), self.core.num_layers, -1).transpose(0, 1).contiguous()
            hidden = (start.tanh(), torch.zeros_like(start)) if isinstance(self.core, nn.LSTM) else start.tanh()
        read = None if self.cross is None else (self.cross.keys(given.sequence), given.mask)
        return given.vector, hidden, read

    def _advance(self, before: Tensor, vector: Tensor, hidden: Any, read: Any) -> Tensor:
        h = before + vector[:, None]
        if self.embed_place is not None:
            h = h + self.embed_place[: h.shape[1]]
        h, _ = self.core(h, hidden)
        if self.cross is not None:
            h = h + self.cross(h, *read)
        return self.head(self.dropout(h)).float()


class _StepWeights:
    """A predictor's current weights, packed for decoding steps."""

    def __init__(self, net: _Predictor) -> None:
        kind = _LSTMStep if isinstance(net.core, nn.LSTM) else _GRUStep
        self.cells = [kind(*weights) for weights in net.core.all_weights]
        self.cross = None if net.cross is None else CrossAttentionStep(net.cross)
        self.head = Product(net.head.weight, net.head.bias)


class _LSTMStep:
    """One step of an LSTM layer; `state` is its h and c, shape (B, width) each."""

    def __init__(self, w_x: Tensor, w_h: Tensor, b_x: Tensor, b_h: Tensor) -> None:
        self.of_x, self.of_h = Product(w_x, b_x + b_h), Product(w_h)

    def __call__(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c = state
        enter, forget, new, leave = self.of_h(h, plus=self.of_x(x)).chunk(4, 1)
        c = forget.sigmoid() * c + enter.sigmoid() * new.tanh()
        return leave.sigmoid() * c.tanh(), c


class _GRUStep:
    """One step of a GRU layer; `state` is its h, shape (B, width)."""

    def __init__(self, w_x: Tensor, w_h: Tensor, b_x: Tensor, b_h: Tensor) -> None:
        self.of_x, self.of_h = Product(w_x, b_x), Product(w_h, b_h)

    def __call__(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (h,) = state
        reset_x, keep_x, new_x = self.of_x(x).chunk(3, 1)
        reset_h, keep_h, new_h = self.of_h(h).chunk(3, 1)
        new = (new_x + (reset_x + reset_h).sigmoid() * new_h).tanh()
        return (new + (keep_x + keep_h).sigmoid() * (h - new),)


class _Encoder(nn.Module):
    """The last hidden state, in both directions if `bidirectional`."""

    def __init__(self, sizes: _Recurrent, source: Space, features: int, condition: Condition) -> None:
        super().__init__()
        self.source = source
        self.context = ConditionEncoder(condition, sizes.width)
        if isinstance(source, Tokens):
            self.embed: nn.Module = nn.Embedding(source.vocabulary, sizes.width)
            nn.init.normal_(self.embed.weight)
        else:
            self.embed = linear(source.channels, sizes.width)
        fixed = isinstance(source, Continuous) or source.end is None
        length = source.length if isinstance(source, Tokens) else source.size // source.channels
        self.embed_place = nn.Parameter(torch.randn(length, sizes.width)) if fixed else None
        self.readers = nn.ModuleList(core(sizes) for _ in range(1 + sizes.bidirectional))
        self.dropout = Dropout(sizes.dropout)
        self.head = linear(len(self.readers) * sizes.width, features)

    def forward(self, x: Tensor, c: dict[str, Tensor] | None = None) -> Tensor:
        if isinstance(self.source, Tokens):
            last = token_mask(x, self.source).sum(1) - 1
            h = self.embed(x.clamp(min=0))
        else:
            h = self.embed(x.flatten(2).transpose(1, 2))
            last = torch.full((len(x),), h.shape[1] - 1, device=x.device)
        if self.embed_place is not None:
            h = h + self.embed_place[: h.shape[1]]
        h = h + self.context(c, x).vector[:, None]
        rows = torch.arange(len(x), device=x.device)
        # The second direction reads each item reversed within its own length, so that padding comes last for both.
        back = (last[:, None] - torch.arange(h.shape[1], device=x.device)).clamp(min=0)
        found = []
        for i, reader in enumerate(self.readers):
            read, _ = reader(h if i == 0 else h[rows[:, None], back])
            found.append(read[rows, last.clamp(min=0)])
        return self.head(self.dropout(torch.cat(found, 1))).float()
