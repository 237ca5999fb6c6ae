"""The shared layers against torch's own, and against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from likewise.backbones.condition_encoder import ConditionEncoder
from likewise.backbones.convolutions import fold, unfold
from likewise.backbones.layers import (
    Dropout,
    SelfAttention,
    apply_rotary,
    attend,
    coordinates,
    heads_of,
    record_attention,
    rms_norm,
    rotation,
)
from likewise.spaces import Continuous, Tokens


@pytest.mark.parametrize("length", [1, 64, 300])
@pytest.mark.parametrize("kind", ["full", "causal", "masked"])
@pytest.mark.parametrize("twice", [False, True])
def test_attend(length: int, kind: str, twice: bool) -> None:
    """Written out or fused, attention is torch's scaled_dot_product_attention."""
    q, k, v = torch.randn(3, 2, 4, length, 16).unbind(0)
    mask = torch.rand(2, length) > 0.3 if kind == "masked" else None
    if mask is not None:
        mask[:, 0] = True
    found = attend(q, k, v, causal=kind == "causal", mask=mask, double_backward=twice)
    keys = None if mask is None else mask[:, None, None]
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=keys, is_causal=kind == "causal")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_rms_norm() -> None:
    x = torch.randn(5, 3, 8, dtype=torch.double, requires_grad=True)
    torch.testing.assert_close(rms_norm(x), F.rms_norm(x, (8,), eps=1e-6))
    assert torch.autograd.gradcheck(rms_norm, (x[:1],))
    assert torch.autograd.gradgradcheck(rms_norm, (x[:1],))


def test_apply_rotary_multiplies_by_the_gain_first() -> None:
    table = rotation(coordinates((5,)), 8)
    x = torch.randn(2, 5, 2, 3, 8, dtype=torch.double, requires_grad=True)
    gain = torch.randn(2, 1, 8, dtype=torch.double, requires_grad=True)

    def plainly(x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        return apply_rotary(x * gain, None, table)

    both = [torch.autograd.grad(f.square().sum(), (x, gain)) for f in (apply_rotary(x, gain, table), plainly(x, gain))]
    torch.testing.assert_close(apply_rotary(x, gain, table), plainly(x, gain))
    torch.testing.assert_close(both[0], both[1])
    assert torch.autograd.gradgradcheck(lambda x, gain: apply_rotary(x, gain, table), (x[:1], gain))


def test_rotation_is_llamas() -> None:
    """Halves rotated as in Hugging Face's Llama, by angle place x 10000^(-2i/size)."""
    size, length = 8, 5
    attention = SelfAttention(size, 1, qk_norm=False)
    x = torch.randn(2, length, size)
    table = rotation(torch.arange(length)[:, None].float(), size)
    with torch.no_grad():
        attention.out.weight.copy_(torch.eye(size))
        found = attention(x, table)
        q, k, v = attention.qkv(x).chunk(3, -1)
        angle = torch.arange(length)[:, None] * 10_000.0 ** (-2 * torch.arange(size // 2) / size)
        cos, sin = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)

        def turn(h: torch.Tensor) -> torch.Tensor:
            return h * cos + torch.cat((-h[..., size // 2 :], h[..., : size // 2]), -1) * sin

        expected = F.scaled_dot_product_attention(turn(q), turn(k), v)
    torch.testing.assert_close(found, expected)


def test_rotation_sees_only_differences() -> None:
    """On a grid, the product of two turned vectors depends on the difference of their places along each axis."""
    table = rotation(coordinates((4, 5)), 12)
    q, k = torch.randn(2, 12).unbind(0)

    def turn(h: torch.Tensor, place: int) -> torch.Tensor:
        return h * table[0, place] + h.roll(6) * table[1, place]

    near = turn(q, 0) @ turn(k, 7)  # from (0, 0) to (1, 2)
    torch.testing.assert_close(turn(q, 11) @ turn(k, 18), near)  # from (2, 1) to (3, 3)
    assert not torch.isclose(turn(q, 0) @ turn(k, 11), near)


@pytest.mark.parametrize("positions", [(9,), (5, 7), (3, 4, 5)])
@pytest.mark.parametrize("patch", [1, 2, 3])
def test_fold(positions: tuple[int, ...], patch: int) -> None:
    x = torch.randn(2, 3, *positions)
    folded = fold(x, patch)
    assert folded.shape == (2, 3 * patch ** len(positions), *(-(-n // patch) for n in positions))
    assert torch.equal(unfold(folded, patch, positions), x)


def test_dropout() -> None:
    torch.manual_seed(0)
    layer = Dropout(0.3)
    x = torch.ones(1001, 77)
    kept = layer(x)
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert kept.bool().float().mean().item() == pytest.approx(0.7, abs=0.01)
    torch.manual_seed(0)
    assert torch.equal(layer(x), kept)
    assert layer.eval()(x) is x


@pytest.mark.parametrize("width", [8, 40, 64, 96, 128, 384])
def test_heads(width: int) -> None:
    heads = heads_of(width)
    assert width % heads == 0
    assert width // heads % 2 == 0
    assert heads_of(384) == 6


def test_context_adds_fields_and_keeps_sequences() -> None:
    torch.manual_seed(0)
    context = ConditionEncoder({"label": Tokens(1, 3), "text": Tokens(6, 8, end=0), "curve": Continuous((1, 20))}, 16)
    c = {
        "label": torch.tensor([[0], [2]]),
        "text": torch.tensor([[3, 0, 0, 0], [4, 5, 6, 0]]),
        "curve": torch.randn(2, 1, 20),
    }
    found = context(c, torch.zeros(2))
    assert found.vector.shape == (2, 16)
    assert found.sequence.shape == (2, 1 + 4 + 10, 16)
    # The learned "any", the text up to its end, and the curve at half its length.
    assert found.mask.sum(1).tolist() == [1 + 2 + 10, 1 + 4 + 10]
    label = context({"label": c["label"]}, torch.zeros(2)).vector
    rest = context({"text": c["text"], "curve": c["curve"]}, torch.zeros(2)).vector
    torch.testing.assert_close(found.vector, label + rest - context(None, torch.zeros(2)).vector)


def test_context_of_nothing_has_no_parameters() -> None:
    context = ConditionEncoder({}, 16)
    assert context.empty
    assert not list(context.parameters())
    assert not context(None, torch.zeros(3)).vector.any()


def test_partly_missing_numbers_differ_from_zeros() -> None:
    context = ConditionEncoder({"size": Continuous((2,))}, 16)
    zero = context({"size": torch.tensor([[1.0, 0.0]])}, torch.zeros(1)).vector
    missing = context({"size": torch.tensor([[1.0, math.nan]])}, torch.zeros(1)).vector
    assert not torch.allclose(zero, missing)


def test_watched_weights_are_those_that_attention_used() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(16, 2)
    torch.nn.init.normal_(attention.out.weight)
    x, table = torch.randn(3, 5, 16), rotation(coordinates((5,)), 8)
    seen = record_attention([attention], lambda: attention(x, table, causal=True))
    assert seen.shape == (3, 1, 2, 5, 5)
    values = attention.qkv(x).view(3, 5, 3, 2, 8)[:, :, 2].transpose(1, 2)
    again = attention.out((seen[:, 0] @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(again, attention(x, table, causal=True))
    assert not attention._forward_hooks
