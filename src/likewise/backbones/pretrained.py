"""Causal Transformers in the architectures of pretrained models: Llama, Mistral, Qwen2, Qwen3 and GPT-2.

Grouped queries (Ainslie et al., 2023), rotary positions with Llama 3's scaling, RMSNorm with gains; or GPT-2's
LayerNorm and learned positions (Radford et al., 2019). With `lora`, the pretrained weights are frozen and each linear
layer learns a low-rank update (Hu et al., "LoRA", 2021).
"""

from __future__ import annotations

import math
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from likewise.backbones.base import Backbone, Predictor, Role
from likewise.backbones.condition_encoder import ConditionEncoder
from likewise.backbones.layers import Cache, Dropout, attend, kept_rows, linear, rms_norm, rotary_table
from likewise.errors import Message, Setting
from likewise.spaces import MISSING_TOKEN, Condition, Space, Tokens, Unfit, token_mask


class Scaling(BaseModel):
    """Scaling of rotary frequencies for longer contexts: all by `factor` (linear), or only low ones (Llama 3)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["linear", "llama3"]
    factor: float = Field(ge=1)
    low: float = Field(
        default=1.0, description="rotations within `original` positions below which a frequency is scaled"
    )
    high: float = Field(default=4.0, description="rotations above which a frequency is unchanged")
    original: int = Field(default=8192, ge=1, description="context length before scaling")


class Pretrained(Backbone):
    """Settings of a pretrained model, from its config.json."""

    name: Literal["pretrained"] = "pretrained"
    kind: Literal["llama", "mistral", "qwen2", "qwen3", "gpt2"] = Field(default="llama", description="the architecture")
    width: int = Field(default=256, ge=1, description="channels of each token")
    depth: int = Field(default=4, ge=1, description="blocks")
    heads: int = Field(default=4, ge=1, description="attention heads")
    groups: int | None = Field(
        default=None, ge=1, description="key and value heads (grouped-query attention); by default as `heads`"
    )
    head_size: int | None = Field(default=None, ge=2, multiple_of=2, description="channels of a head")
    hidden: int = Field(default=704, ge=1, description="channels of the feed-forward layers")
    activation: Literal["silu", "gelu", "gelu_tanh", "relu"] = "silu"
    epsilon: float = Field(default=1e-6, gt=0, description="of the norms")
    places: int = Field(default=1024, ge=2, description="context length in tokens, condition included")
    theta: float = Field(default=10_000.0, gt=0, description="base of the rotary frequencies")
    scaling: Scaling | None = None
    qkv_bias: bool = False
    out_bias: bool = False
    feed_bias: bool = False
    tied: bool = Field(default=False, description="share the input and output embeddings")
    vocabulary: int | None = Field(
        default=None, ge=1, description="vocabulary size of its tokenizer; by default the text's"
    )
    start: int = Field(default=0, ge=0, description="id of the token before each text")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    lora: int | None = Field(
        default=None, ge=1, description="rank of the LoRA updates; without it all weights are trained"
    )
    lora_alpha: float = Field(
        default=32.0, gt=0, description="LoRA scale: updates are multiplied by this over the rank"
    )

    @model_validator(mode="after")
    def _divides(self) -> Pretrained:
        if self.heads % (self.groups or self.heads):
            raise ValueError(f"{self.heads} heads cannot be shared by {self.groups} groups")
        if self.head_size is None and self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of twice the {self.heads} heads")
        return self

    @classmethod
    def tiny(cls) -> Self:
        return cls(width=16, depth=1, hidden=32, groups=2)

    def unfit(self, role: Role, space: Space) -> str | None:
        if role != "predictor" or not isinstance(space, Tokens):
            return f"pretrained predicts the next token of a text; it has no {role} for {space}"
        if space.end is None:
            return "pretrained models texts that have an end token, and these tokens have none"
        if space.length > self.places:
            return Message(
                f"texts of {space.length} tokens do not fit the {self.places} places (max_position_embeddings) of the "
                "pretrained model; give ",
                Setting("target.length", self.places),
            )
        return None

    def predictor(self, space: Tokens, condition: Condition) -> Predictor:
        return _Predictor(self, space, condition)

    @property
    def gpt2(self) -> bool:
        """Whether it has LayerNorm, learned positions and no gate, as GPT-2; else RMSNorm, rotary positions, a gate."""
        return self.kind == "gpt2"

    def size_of_heads(self) -> int:
        return self.head_size or self.width // self.heads

    def frequencies(self) -> Tensor:
        """The rotation angle per position of each pair of a head's channels, shape (head size / 2,)."""
        size = self.size_of_heads()
        found = self.theta ** (-torch.arange(0, size, 2, dtype=torch.float32) / size)
        if self.scaling is None:
            return found
        scaling = self.scaling
        if scaling.kind == "linear":
            return found / scaling.factor
        # Llama 3.1 (Grattafiori et al., 2024): low frequencies are divided, high ones are kept, with a linear ramp
        # between.
        turned = scaling.original * found / (2 * math.pi)
        kept = ((turned - scaling.low) / (scaling.high - scaling.low)).clamp(0, 1)
        return found * (kept + (1 - kept) / scaling.factor)


def _set_tensor(module: nn.Module, name: str, tensor: Tensor, frozen: bool) -> None:
    """A pretrained tensor. If frozen, it is a non-persistent buffer: the run stores it once, outside checkpoints."""
    if frozen:
        module.register_buffer(name, tensor, persistent=False)
    else:
        module.register_parameter(name, nn.Parameter(tensor))


class Linear(nn.Module):
    """A linear layer; if frozen, with a low-rank update that starts at zero (Hu et al., equation 3)."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, sizes: Pretrained, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        frozen = sizes.lora is not None
        _set_tensor(self, "weight", torch.randn(outputs, inputs) * inputs**-0.5, frozen)
        if bias:
            _set_tensor(self, "bias", torch.zeros(outputs), frozen)
        else:
            self.bias = None
        self.down = self.up = None
        if sizes.lora is not None:
            self.down = nn.Parameter(torch.randn(sizes.lora, inputs) * inputs**-0.5)
            self.up = nn.Parameter(torch.zeros(outputs, sizes.lora))
            self.scale = sizes.lora_alpha / sizes.lora

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight, self.bias)
        if self.down is None or self.up is None:
            return y
        return torch.add(y, F.linear(F.linear(x, self.down), self.up), alpha=self.scale)

    def merged(self) -> Tensor:
        """The weight plus its update, shape (outputs, inputs)."""
        if self.down is None or self.up is None:
            return self.weight
        return self.weight + self.scale * (self.up @ self.down)


class _Norm(nn.Module):
    weight: Tensor
    bias: Tensor

    def __init__(self, sizes: Pretrained, width: int) -> None:
        super().__init__()
        self.layer, self.epsilon = sizes.gpt2, sizes.epsilon
        _set_tensor(self, "weight", torch.ones(width), sizes.lora is not None)
        if self.layer:
            _set_tensor(self, "bias", torch.zeros(width), sizes.lora is not None)

    def forward(self, x: Tensor) -> Tensor:
        if self.layer:
            return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.epsilon)
        return rms_norm(x, self.epsilon) * self.weight.to(x.dtype)


class _Block(nn.Module):
    """Attention, then feed-forward, each with a residual connection."""

    def __init__(self, sizes: Pretrained) -> None:
        super().__init__()
        width, size = sizes.width, sizes.size_of_heads()
        self.heads, self.groups = sizes.heads, sizes.groups or sizes.heads
        self.attention_norm, self.feed_norm = _Norm(sizes, width), _Norm(sizes, width)
        self.q = Linear(sizes, width, self.heads * size, sizes.qkv_bias)
        self.k = Linear(sizes, width, self.groups * size, sizes.qkv_bias)
        self.v = Linear(sizes, width, self.groups * size, sizes.qkv_bias)
        self.out = Linear(sizes, self.heads * size, width, sizes.out_bias)
        normed = sizes.kind == "qwen3"
        self.q_norm, self.k_norm = (_Norm(sizes, size) if normed else nn.Identity() for _ in range(2))
        self.gate = None if sizes.gpt2 else Linear(sizes, width, sizes.hidden, sizes.feed_bias)
        self.up = Linear(sizes, width, sizes.hidden, sizes.feed_bias)
        self.down = Linear(sizes, sizes.hidden, width, sizes.feed_bias)
        self.activation = sizes.activation
        self.dropout = Dropout(sizes.dropout)

    def forward(
        self, h: Tensor, table: Tensor | None, *, mask: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """h: shape (B, L, width). table: rotations of these positions, (2, 1 or B, L, D). mask: as in `attend`."""
        h = h + self.dropout(self._attend(self.attention_norm(h), table, mask, cache))
        x = self.feed_norm(h)
        up = self.up(x)
        hidden = self._activate(up) if self.gate is None else self._activate(self.gate(x)) * up
        return h + self.dropout(self.down(hidden))

    def _attend(self, x: Tensor, table: Tensor | None, mask: Tensor | None, cache: Cache | None) -> Tensor:
        count = x.shape[1]
        q = self.q_norm(self.q(x).unflatten(2, (self.heads, -1))).transpose(1, 2)
        k = self.k_norm(self.k(x).unflatten(2, (self.groups, -1))).transpose(1, 2)
        v = self.v(x).unflatten(2, (self.groups, -1)).transpose(1, 2)
        if table is not None:
            q, k = _apply_rotary(q, table), _apply_rotary(k, table)
        if cache is not None:
            keys, values, filled = cache
            keys[:, :, filled : filled + count], values[:, :, filled : filled + count] = k, v
            k, v = keys[:, :, : filled + count], values[:, :, : filled + count]
        if self.groups < self.heads:
            k, v = (t.repeat_interleave(self.heads // self.groups, 1) for t in (k, v))
        found = attend(q, k, v, causal=mask is None and count > 1, mask=mask)
        return self.out(found.transpose(1, 2).flatten(2))

    def _activate(self, x: Tensor) -> Tensor:
        if self.activation == "silu":
            return F.silu(x)
        if self.activation == "relu":
            return F.relu(x)
        return F.gelu(x, approximate="tanh" if self.activation == "gelu_tanh" else "none")


def _apply_rotary(x: Tensor, table: Tensor) -> Tensor:
    """x: shape (B, H, L, D). table: shape (2, 1 or B, L, D)."""
    cos, sin = table[:, :, None].to(x.dtype)
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


class _Predictor(Predictor):
    """Condition texts are read as a prefix: start token, condition tokens, target tokens.

    Other condition fields become one vector, added at every position through a layer that starts at zero. Embedding
    rows beyond the pretrained vocabulary (such as the roles of a dialogue) are new and trained.
    """

    embed: Tensor
    embed_place: Tensor
    head: Tensor

    def __init__(self, sizes: Pretrained, space: Tokens, condition: Condition) -> None:
        super().__init__()
        self.text_fields = {k: s for k, s in condition.items() if isinstance(s, Tokens) and s.end is not None}
        others = {k: s for k, s in condition.items() if k not in self.text_fields}
        self.before, self.total = (n := 1 + sum(s.length for s in self.text_fields.values())), n + space.length - 1
        if space.windows and self.text_fields:
            raise Unfit(
                f"a pretrained model given {', '.join(self.text_fields)} reads at most {space.length} tokens of a text",
                fix=Message(Setting("target.windows", "false"), " truncates longer ones"),
            )
        if self.total > sizes.places:
            lengths = ", ".join(f"{k} {s.length}" for k, s in {**self.text_fields, "the text": space}.items())
            raise Unfit(
                f"{self.total} tokens ({lengths}, and a start) do not fit the {sizes.places} places "
                "(max_position_embeddings) of the pretrained model",
                fix=Message("lower ", Setting("target.length"), " or ", Setting("condition.FIELD.length")),
            )
        rows = sizes.vocabulary or space.vocabulary
        if rows != space.vocabulary or sizes.start >= rows:
            raise Unfit(
                f"the pretrained model has {rows:,} tokens, and this text is encoded with {space.vocabulary:,} others"
            )
        width, frozen = sizes.width, sizes.lora is not None
        self.groups, self.size = sizes.groups or sizes.heads, sizes.size_of_heads()
        self.start_token = sizes.start
        _set_tensor(self, "embed", torch.randn(rows, width) * 0.02, frozen)
        more = max((s.vocabulary for s in self.text_fields.values()), default=0) - rows
        self.embed_more = nn.Parameter(torch.randn(more, width) * 0.02) if more > 0 else None
        if sizes.gpt2:
            _set_tensor(self, "embed_place", torch.randn(sizes.places, width) * 0.02, frozen)
        self.context = ConditionEncoder(others, width)
        self.steer = linear(width, width, bias=False, scale=0.0) if others else None
        self.blocks = nn.ModuleList(_Block(sizes) for _ in range(sizes.depth))
        self.norm = _Norm(sizes, width)
        self.tied = sizes.tied
        if not self.tied:
            _set_tensor(self, "head", torch.randn(rows, width) * width**-0.5, frozen)
        self.dropout = Dropout(sizes.dropout)
        self.rotary = not sizes.gpt2
        angle = torch.arange(self.total, dtype=torch.float32)[:, None] * sizes.frequencies()
        self.register_buffer("table", rotary_table(angle) if self.rotary else None, persistent=False)

    def forward(self, x: Tensor, c: dict[str, Tensor] | None = None, before: Tensor | None = None) -> Tensor:
        ids, mask = self._prefix_ids(c, x)
        if before is not None:  # there is no condition text then: the prefix is the start token
            ids = torch.where(before[:, None] == MISSING_TOKEN, ids, before[:, None])
        prefix = ids.shape[1]
        if mask is not None:
            mask = F.pad(mask, (0, x.shape[1] - 1), value=True)
        h, table = self._embed(
            torch.cat((ids, x[:, :-1]), 1), _places(mask, prefix + x.shape[1] - 1, x), self._vector(c, x)
        )
        attended = _visible(mask)
        for block in self.blocks:
            h = block(h, table, mask=attended)
        if mask is not None:  # the first token follows the last valid one of the prefix
            h = torch.cat((_last(h[:, :prefix], mask[:, :prefix]), h[:, prefix:]), 1)
        return self._predict(h)

    def start(self, batch: int, c: dict[str, Tensor] | None = None) -> Any:
        shape, like = (batch, self.groups, self.total, self.size), self.embed[:1].expand(batch, -1)
        memory = [(like.new_empty(shape), like.new_empty(shape)) for _ in self.blocks]
        return 0, memory, *self._prefix_ids(c, like), self._vector(c, like)

    def step(self, token: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        filled, memory, ids, mask, vector = state
        if token is not None:
            ids = token[:, None]
            mask = None if mask is None else F.pad(mask, (0, 1), value=True)
        places = _places(mask, filled + ids.shape[1], ids)[:, filled:]
        h, table = self._embed(ids, places, vector)
        attended = mask if filled else _visible(mask)
        for block, (keys, values) in zip(self.blocks, memory, strict=True):
            h = block(h, table, mask=attended, cache=(keys, values, filled))
        h = h[:, -1:] if token is not None or mask is None else _last(h, mask)
        return self._predict(h)[:, 0], (filled + ids.shape[1], memory, ids, mask, vector)

    def reorder(self, state: Any, index: Tensor) -> Any:
        filled, memory, ids, mask, vector = state
        fresh = [(kept_rows(keys, index, filled), kept_rows(values, index, filled)) for keys, values in memory]
        mask, vector = (None if t is None else t[index] for t in (mask, vector))
        return filled, fresh, ids[index], mask, vector

    def _prefix_ids(self, c: dict[str, Tensor] | None, like: Tensor) -> tuple[Tensor, Tensor | None]:
        """The tokens before the first one, and their mask, both (B, P); the mask is None if all are valid."""
        start = torch.full((len(like), 1), self.start_token, device=like.device)
        given = [(c[k], space) for k, space in self.text_fields.items() if c is not None and k in c]
        if not given:
            return start, None
        mask = torch.cat([torch.ones_like(start, dtype=torch.bool), *(token_mask(x, space) for x, space in given)], 1)
        return torch.cat([start, *(x.clamp(min=0) for x, _ in given)], 1), mask

    def _embed(self, ids: Tensor, places: Tensor, vector: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Embeddings (B, L, width) of tokens at positions (1 or B, L), and the rotations of these positions."""
        rows = self.embed if self.embed_more is None else torch.cat((self.embed, self.embed_more))
        h = F.embedding(ids, rows)
        if vector is not None:
            h = h + vector[:, None]
        if self.rotary:
            return self.dropout(h), self.get_buffer("table")[:, places]
        return self.dropout(h + F.embedding(places, self.embed_place)), None

    def _vector(self, c: dict[str, Tensor] | None, like: Tensor) -> Tensor | None:
        """The vector of condition fields that are not texts, shape (B, width)."""
        return None if self.steer is None else self.steer(self.context(c, like).vector)

    def _predict(self, h: Tensor) -> Tensor:
        return F.linear(self.norm(h), self.embed if self.tied else self.head).float()


def _visible(mask: Tensor | None) -> Tensor | None:
    """The causal mask over valid positions, shape (B, S, S); the first position is always valid."""
    return None if mask is None else mask[:, None] & mask.new_ones(mask.shape[1], mask.shape[1]).tril()


def _places(mask: Tensor | None, count: int, like: Tensor) -> Tensor:
    """The position of each of `count` tokens, counting only valid ones: shape (1 or B, count)."""
    if mask is None:
        return torch.arange(count, device=like.device)[None]
    return (mask.cumsum(1) - 1).clamp(min=0)


def _last(h: Tensor, mask: Tensor) -> Tensor:
    """The vector at the last valid position: shape (B, 1, width)."""
    last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1)
    return h[torch.arange(len(h), device=h.device), last][:, None]
