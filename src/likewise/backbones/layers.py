"""Layers shared by the backbones: normalisation, attention with rotary positions, feed-forward, time embedding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def linear(inputs: int, outputs: int, *, bias: bool = True, scale: float = 1.0) -> nn.Linear:
    """A linear layer whose outputs have variance scale^2 for inputs of unit variance; its bias starts at 0."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.normal_(layer.weight, std=scale / math.sqrt(inputs))
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def heads_of(width: int, size: int = 64) -> int:
    """The number of attention heads: as close to `size` channels per head as an even division of `width` allows."""
    fitting = [n for n in range(1, width + 1) if width % (2 * n) == 0]
    return min(fitting, key=lambda n: (abs(math.log(width / n / size)), n))


class Dropout(nn.Module):
    """Dropout (Srivastava et al., 2014) with masks that are cheap on a CPU: 16 random bits per value."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.rate)
        # A quarter of the calls to the generator: 9 ms for six million values, against 33 ms with F.dropout.
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= round(self.rate * 2**16) - 2**15
        return x * kept.to(x.dtype).mul_(1 / (1 - self.rate))


class _RootMeanSquareNorm(torch.autograd.Function):
    """`rms_norm` on a CPU, where F.rms_norm makes many passes over x; this makes two forward and four backward.

    The backward pass consists of differentiable operations on saved tensors, so it can be differentiated again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.eps = eps
        return x * torch.rsqrt(torch.linalg.vecdot(x, x).unsqueeze(-1) / x.shape[-1] + eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (g,), (x,) = gradients, ctx.saved_tensors
        scale = torch.rsqrt(torch.linalg.vecdot(x, x).unsqueeze(-1) / x.shape[-1] + ctx.eps)
        along = torch.linalg.vecdot(g, x).unsqueeze(-1) / x.shape[-1]
        return torch.addcmul(g * scale, x, -along * scale**3), None


def rms_norm(x: Tensor, eps: float = 1e-6) -> Tensor:
    """x divided by its root mean square along the last dimension (Zhang and Sennrich, 2019), without a gain.

    The following linear layer can learn the gain, which saves a pass over the activations.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.rms_norm(x, x.shape[-1:], eps=eps)
    return _RootMeanSquareNorm.apply(x, eps)  # pyright: ignore[reportReturnType]


class _ApplyRotary(torch.autograd.Function):
    """`apply_rotary` with a gain, on a CPU.

    Autograd would compute the gain's gradient by two sums over all positions and items, which cost more than the
    attention; here it is one product with a row of ones. It can be differentiated again, like `_RootMeanSquareNorm`.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(x, gain, cos, sin)
        half = x.shape[-1] // 2
        scale = gain.to(x.dtype)
        return torch.addcmul(x * (cos * scale), x.roll(half, -1), sin * scale.roll(half, -1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (g,), (x, gain, cos, sin) = gradients, ctx.saved_tensors
        back = g * cos + (g * sin).roll(-(x.shape[-1] // 2), -1)
        product = (back * x).flatten(0, 1).flatten(1)
        # Summed over items and positions, then over heads.
        total = (product.new_ones(1, len(product)) @ product).view(x.shape[2:])
        return back * gain.to(back.dtype), total.sum(1, keepdim=True, dtype=gain.dtype), None, None


def apply_rotary(x: Tensor, gain: Tensor | None, table: Tensor) -> Tensor:
    """Multiply queries and keys by their gain and rotate them by their positions (RoPE).

    x: shape (B, L, 2, heads, D). gain: shape (2, 1, D). table: from `rotation`, shape (2, L, D). Returns the shape of
    x.
    """
    cos, sin = table[:, :, None, None].to(x.dtype)
    half = x.shape[-1] // 2
    if gain is None:
        return torch.addcmul(x * cos, x.roll(half, -1), sin)
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        return _ApplyRotary.apply(x, gain, cos, sin)  # pyright: ignore[reportReturnType]
    # Folding the gain into the small table saves one pass over x.
    gain = gain.to(x.dtype)
    return torch.addcmul(x * (cos * gain), x.roll(half, -1), sin * gain.roll(half, -1))


def coordinates(grid: tuple[int, ...]) -> Tensor:
    """The coordinates of each position of a grid in raster order, shape (prod(grid), len(grid))."""
    return torch.cartesian_prod(*(torch.arange(n, dtype=torch.float32) for n in grid)).view(-1, len(grid))


def rotation(places: Tensor, size: int, base: float = 10_000.0) -> Tensor:
    """The table of rotary position embeddings (RoPE, Su et al., 2021) for heads of `size` channels, axis by axis.

    places: coordinates, shape (N, axes); the channels are divided evenly among the axes. Returns shape (2, N, size),
    see `rotary_table`.
    """
    axes = places.shape[1]
    count = size // 2 // axes
    frequency = base ** (-torch.arange(count, device=places.device) / max(count, 1))
    angle = (places[:, :, None] * frequency).flatten(1)
    return rotary_table(F.pad(angle, (0, size // 2 - angle.shape[1])))


def rotary_table(angle: Tensor) -> Tensor:
    """Cosines and signed sines of angles, shape (N, size / 2), paired in halves as in Llama: shape (2, N, size)."""
    return torch.stack((torch.cat((angle.cos(), angle.cos()), 1), torch.cat((-angle.sin(), angle.sin()), 1)))


def attend(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False, mask: Tensor | None = None, double_backward: bool = False
) -> Tensor:
    """softmax(q k^T / sqrt(D)) v, by the fastest implementation available (Vaswani et al., 2017, equation 1).

    q: shape (B, H, L, D). k, v: shape (B, H, S, D). causal: query i sees keys 0 to i (L = S). mask: True at valid keys,
    shape (B, S), or for each query, shape (B, L, S). double_backward: the result must be differentiable twice, which
    fused attention is not. Returns shape (B, H, L, D).
    """
    assert not (causal and mask is not None)
    # Forward and backward for 16 x 256 tokens, 6 heads of 64, on two Zen 4 cores: unfused 40 ms in fp32, 15 ms in bf16;
    # fused 37 and 37 ms. With 64 tokens 14, 6 and 15, 30 ms. In fp32 above 512 tokens the scores exceed the caches.
    written = q.device.type == "cpu" and k.shape[2] <= (1024 if q.dtype == torch.bfloat16 else 128)
    if not (written or double_backward):
        keys = None if mask is None else _keys(mask)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=keys, is_causal=causal)
    return attention_weights(q, k, causal=causal, mask=mask).to(v.dtype) @ v


def attention_weights(q: Tensor, k: Tensor, *, causal: bool = False, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(D)), shape (B, H, L, S), with the arguments of `attend`."""
    score = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    lowest = torch.finfo(score.dtype).min
    if causal:
        score += torch.full(score.shape[-2:], lowest, dtype=score.dtype, device=score.device).triu(1)
    if mask is not None:
        score = score.masked_fill(~_keys(mask), lowest)
    return score.softmax(-1)


def _keys(mask: Tensor) -> Tensor:
    """A mask of keys, shape (B, S) or (B, L, S), broadcastable against scores of shape (B, H, L, S)."""
    return mask[:, None] if mask.dim() == 3 else mask[:, None, None]


def record_attention(modules: Iterable[SelfAttention | CrossAttention], run: Callable[[], object]) -> Tensor:
    """The weights of the attention `modules`, recorded during one call of `run`: shape (B, modules, H, L, S)."""
    seen: list[Tensor] = []

    def look(module: nn.Module, args: tuple[Any, ...], options: dict[str, Any], _: Any) -> None:
        assert isinstance(module, (SelfAttention, CrossAttention))
        seen.append(module.weights(*args, **options))

    hooks = [module.register_forward_hook(look, with_kwargs=True) for module in modules]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(seen, 1)


#: The key-value cache of decoding: keys and values, (B, H, length, D) each, and the number of filled positions.
Cache = tuple[Tensor, Tensor, int]


def kept_rows(memory: Tensor, index: Tensor, filled: int) -> Tensor:
    """The rows `index` of a cache's keys or values, at full length; only positions before `filled` are copied."""
    out = memory.new_empty(len(index), *memory.shape[1:])
    out[:, :, :filled] = memory[index, :, :filled]
    return out


class SelfAttention(nn.Module):
    """Multi-head attention with rotary positions and, if wanted, normalised queries and keys (Henry et al., 2020)."""

    def __init__(self, width: int, heads: int, qk_norm: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = linear(width, 3 * width, bias=False)
        self.out = linear(width, width, bias=False, scale=0.0)
        self.qk_gain = nn.Parameter(torch.ones(2, 1, width // heads)) if qk_norm else None

    def forward(
        self,
        x: Tensor,
        table: Tensor,
        *,
        causal: bool = False,
        mask: Tensor | None = None,
        cache: Cache | None = None,
        double_backward: bool = False,
    ) -> Tensor:
        """x: shape (B, L, width). table: from `rotation`, for these L positions, which follow those in the cache."""
        q, k, v = self._heads(x, table)
        if cache is not None:
            keys, values, filled = cache
            now = filled + x.shape[1]
            keys[:, :, filled:now], values[:, :, filled:now] = k, v
            k, v = keys[:, :, :now], values[:, :, :now]
        return self.out(
            attend(q, k, v, causal=causal, mask=mask, double_backward=double_backward).transpose(1, 2).flatten(2)
        )

    def weights(
        self, x: Tensor, table: Tensor, *, causal: bool = False, mask: Tensor | None = None, **_: Any
    ) -> Tensor:
        """The weight of each position for each query of x, without a cache: shape (B, heads, L, L)."""
        q, k, _v = self._heads(x, table)
        return attention_weights(q, k, causal=causal, mask=mask)

    def _heads(self, x: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, rotated by their positions, and values: shape (B, heads, L, D) each."""
        qkv = self.qkv(x).view(*x.shape[:2], 3, self.heads, -1)
        qk, v = qkv[:, :, :2], qkv[:, :, 2]
        qk = apply_rotary(qk if self.qk_gain is None else rms_norm(qk), self.qk_gain, table)
        return qk[:, :, 0].transpose(1, 2), qk[:, :, 1].transpose(1, 2), v.transpose(1, 2)


class CrossAttention(nn.Module):
    """Attention to a given sequence. Its output layer starts at zero, so it initially contributes nothing."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = linear(width, width, bias=False)
        self.key_value = linear(width, 2 * width, bias=False)
        self.out = linear(width, width, bias=False, scale=0.0)

    def keys(self, sequence: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a sequence, shape (B, S, width), computed once: shape (B, heads, S, D) each."""
        k, v = self.key_value(sequence).view(*sequence.shape[:2], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        return k, v

    def forward(
        self, x: Tensor, keys: tuple[Tensor, Tensor], mask: Tensor | None, double_backward: bool = False
    ) -> Tensor:
        """x: shape (B, L, width). mask: True at valid positions of the sequence, shape (B, S)."""
        return self.out(
            attend(self._queries(x), *keys, mask=mask, double_backward=double_backward).transpose(1, 2).flatten(2)
        )

    def weights(self, x: Tensor, keys: tuple[Tensor, Tensor], mask: Tensor | None, **_: Any) -> Tensor:
        """The weight of each position of the sequence for each query of x: shape (B, heads, L, S)."""
        return attention_weights(self._queries(x), keys[0], mask=mask)

    def _queries(self, x: Tensor) -> Tensor:
        return self.query(rms_norm(x)).view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class FeedForward(nn.Module):
    """SwiGLU (Shazeer, 2020) or squared ReLU (So et al., 2021), both with about 8 width^2 weights."""

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        self.gated = kind == "swiglu"
        hidden = -(-8 * width // 3 // 32) * 32 if self.gated else 4 * width
        self.up = linear(width, hidden * (1 + self.gated), bias=False, scale=1.0 if self.gated else math.sqrt(2))
        self.out = linear(hidden, width, bias=False, scale=0.0)

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(x)
        if self.gated:
            gate, h = h.chunk(2, -1)
            return self.out(F.silu(gate) * h)
        return self.out(F.relu(h).square())


class TimeEmbedding(nn.Module):
    """Embeds times in [0, 1], shape (B,), to shape (B, width): sines and cosines, then a small MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # Periods from about 0.006 to 60, as in DDPM with its 1000 steps (Ho et al., 2020).
        frequency = 1000.0 * 10_000.0 ** (-torch.arange(width // 2) / (width // 2))
        self.register_buffer("frequency", frequency, persistent=False)
        self.hidden = linear(width, width, scale=math.sqrt(2))
        self.out = linear(width, width, scale=math.sqrt(2))

    def forward(self, t: Tensor) -> Tensor:
        angle = t.float()[:, None] * self.get_buffer("frequency").float()
        return self.out(F.silu(self.hidden(torch.cat((angle.sin(), angle.cos()), 1))))
