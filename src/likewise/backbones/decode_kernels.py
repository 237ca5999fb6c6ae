"""Network layers for cached decoding of few rows: packed weights, and results that do not depend on the batch.

A product of few rows with a matrix is bound by reading the matrix. With packed weights oneDNN reads it faster than
BLAS, scales to two threads, and sums each row in the same order for any number of rows. So a row has the same bits in
any batch; `Predictor.independent` tests this.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.backbones.layers import CrossAttention, FeedForward, SelfAttention, attend, rms_norm


def whole(weight: Tensor) -> Tensor:
    """A weight, detached; a sharded one is gathered, which is a collective operation of all processes."""
    gathered = getattr(weight, "full_tensor", None)
    return weight.detach() if gathered is None else gathered().detach()


class Product:
    """x W^T + b with the current weights of a linear layer, without gradients.

    Computed in bfloat16 if constructed under autocast; then results that are not added to another tensor are bfloat16.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """weight: shape (outputs, inputs). bias: shape (outputs,)."""
        self.dtype = torch.bfloat16 if torch.is_autocast_enabled(weight.device.type) else weight.dtype
        self.weight = whole(weight).to(self.dtype)
        self.bias = None if bias is None else whole(bias).to(self.dtype)
        self.packed = weight.device.type == "cpu" and weight.dtype == torch.float32 and torch.backends.mkldnn.enabled
        self.packed = self.packed and torch.backends.mkldnn.is_available()
        if self.packed:  # the layout for 16 rows is equally fast for 4 and for 64
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight.contiguous(), 16)

    def __call__(
        self, x: Tensor, *, plus: Tensor | None = None, times: Tensor | None = None, silu: bool = False
    ) -> Tensor:
        """x: shape (B, inputs). At most one of `plus` (added), `times` (multiplied), each (B, outputs), and silu."""
        if plus is not None and not (self.packed and plus.dtype == self.dtype):
            return plus + self(x)  # in the precision of `plus`
        x = x.to(self.dtype)
        if not self.packed:
            y = F.linear(x, self.weight, self.bias)
            return F.silu(y) if silu else y if times is None else y * times
        other, name = (plus, "add") if times is None else (times, "mul")
        if other is not None:
            return torch.ops.mkldnn._linear_pointwise.binary(x, other, self.weight, self.bias, name)
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "swish" if silu else "none", [], "")


def norm(x: Tensor) -> Tensor:
    """`layers.rms_norm` without autograd."""
    if x.device.type != "cpu":
        return rms_norm(x)
    return x * torch.linalg.vecdot(x, x).div_(x.shape[-1]).add_(1e-6).rsqrt_().unsqueeze(-1)


class CrossAttentionStep:
    """`CrossAttention` for one position of each row, with the residual connection."""

    def __init__(self, cross: CrossAttention) -> None:
        self.heads, self.query, self.out = cross.heads, Product(cross.query.weight), Product(cross.out.weight)

    def __call__(self, h: Tensor, rows: Tensor, given: tuple[tuple[Tensor, Tensor], Tensor]) -> Tensor:
        """h, rows: as in `BlockStep`. given: keys and values from `CrossAttention.keys`, and their mask."""
        keys, mask = given
        q = self.query(norm(h)).float().view(len(h), self.heads, 1, -1)[: len(mask)]
        seen = attend(q, *keys, mask=mask).reshape(len(mask), -1)
        return self.out(seen if len(h) == len(mask) else seen[rows], plus=h)


class BlockStep:
    """A Transformer block for the next position of each row; equal to `Block` with a cache."""

    def __init__(
        self, attention: SelfAttention, cross: CrossAttention | None, feed_forward: FeedForward, table: Tensor
    ) -> None:
        """table: from `rotation`, shape (2, N, D)."""
        self.heads, self.normed = attention.heads, attention.qk_gain is not None
        self.qkv, self.out = Product(attention.qkv.weight), Product(attention.out.weight)
        # The gain and the attention scale are folded into the rotation table.
        cos, sin = table[:, :, None, None]
        size = table.shape[-1]
        if attention.qk_gain is not None:
            gain = whole(attention.qk_gain)
            cos, sin = cos * gain, sin * gain.roll(size // 2, -1)
        scale = torch.tensor([size**-0.5, 1.0], device=table.device).view(2, 1, 1)
        self.cos, self.sin, self.half = (cos * scale).unbind(0), (sin * scale).unbind(0), size // 2
        self.cross = None if cross is None else CrossAttentionStep(cross)
        first, *second = whole(feed_forward.up.weight).chunk(2 if feed_forward.gated else 1)
        self.up, self.gated = Product(first), [Product(weight) for weight in second]
        self.down = Product(feed_forward.out.weight)

    def __call__(
        self,
        h: Tensor,
        rows: Tensor,
        place: int,
        cache: tuple[Tensor, Tensor, int],
        mask: Tensor | None,
        given: tuple[tuple[Tensor, Tensor], Tensor] | None,
    ) -> Tensor:
        """h: padded items, shape (len(rows), width). rows: from `pad_rows`.

        place: index into the rotation table. cache: as in `layers`. mask: True at valid keys, shape (B, filled + 1).
        """
        keys, values, filled = cache
        batch = len(keys)
        qkv = self.qkv(norm(h)).float().view(len(h), 3, self.heads, -1)
        qk = norm(qkv[:, :2]) if self.normed else qkv[:, :2]
        qk = torch.addcmul(qk * self.cos[place], qk.roll(self.half, -1), self.sin[place])
        # Attention runs on the items only: padding rows would cost as much as real ones here.
        keys[:, :, filled], values[:, :, filled] = qk[:batch, 1], qkv[:batch, 2]
        score = qk[:batch, 0, :, None] @ keys[:, :, : filled + 1].mT
        if mask is not None:
            score = score.masked_fill(~mask[:, None, None], torch.finfo(score.dtype).min)
        seen = (score.softmax(-1) @ values[:, :, : filled + 1]).view(batch, -1)
        h = self.out(seen if len(h) == batch else seen[rows], plus=h)
        if self.cross is not None and given is not None:
            h = self.cross(h, rows, given)
        x = norm(h)
        if self.gated:
            return self.down(self.gated[0](x, times=self.up(x, silu=True)), plus=h)
        return self.down(F.relu(self.up(x)).square_(), plus=h)


def in_packed_precision(step: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: run a step outside autocast, in the precision in which its `Product`s were packed."""

    @functools.wraps(step)
    def wrapped(self: Any, token: Tensor | None, state: Any) -> Any:
        kind = self.embed_start.device.type
        if not torch.is_autocast_enabled(kind):
            return step(self, token, state)
        with torch.autocast(kind, enabled=False):
            return step(self, token, state)

    return wrapped


def pad_rows(index: Tensor) -> Tensor:
    """Row numbers, padded by repeating the last one to 4, 8, 16, 32 or a multiple of 64 rows.

    Four rows cost the same as one. As widths are multiples of 8, vector instructions then leave no remainder, which
    other instructions would compute with different rounding.
    """
    count = len(index)
    size = max(4, 1 << (count - 1).bit_length()) if count <= 64 else -(-count // 64) * 64
    return torch.cat((index, index[-1:].expand(size - count)))


def take(state: Any, index: Tensor) -> Any:
    """The rows `index` of all tensors in nested tuples; None stays None."""
    return _change(state, lambda tensor: tensor[index])


def _change(state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if state is None:
        return None
    return change(state) if isinstance(state, Tensor) else tuple(_change(each, change) for each in state)


def join(states: list[Any]) -> Any:
    """Concatenate the rows of several such states."""
    first = states[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        return torch.cat(states)
    return tuple(join(list(each)) for each in zip(*states, strict=True))


def read_per_row(read: Any, batch: int, c: dict[str, Tensor] | None, device: torch.device) -> Any:
    """read(batch, c), computed one row at a time, so that a row's bits do not depend on others; once if all rows are
    equal.

    On an accelerator all rows are computed at once, as small products round differently there anyway. bfloat16 results
    are stored as float32, like the key-value cache: attention to few rows is not faster in bfloat16.
    """
    found = _read_per_row(read, batch, c, device)
    return _change(found, lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)


def _read_per_row(read: Any, batch: int, c: dict[str, Tensor] | None, device: torch.device) -> Any:
    if device.type != "cpu":
        return read(batch, c)
    if c is None or all(bool((value == value[:1]).all()) for value in c.values()):
        one = read(1, None if c is None else {name: value[:1] for name, value in c.items()})
        return take(one, torch.zeros(batch, dtype=torch.int64))
    return join([read(1, {name: value[i : i + 1] for name, value in c.items()}) for i in range(batch)])
