"""The layouts of pretrained models: what is given stands in front, low ranks start at nothing, turns are stretched."""

from __future__ import annotations

import math

import pytest
import torch

from likewise.backbones.pretrained import Linear, Pretrained, Scaling
from likewise.spaces import MISSING_TOKEN, Tokens, Unfit

TEXT, SOURCE = Tokens(6, 11, end=0), {"source": Tokens(7, 14, end=13), "more": Tokens(4, 11, end=0)}
SIZES = {"width": 32, "depth": 2, "heads": 4, "groups": 2, "hidden": 48}
KINDS = [
    Pretrained(kind="llama", **SIZES),
    Pretrained(kind="gpt2", **{**SIZES, "groups": 4}, tied=True, activation="gelu_tanh"),
]


def built(sizes, condition):
    torch.manual_seed(0)
    return sizes.predictor(TEXT, condition).eval()


@pytest.mark.parametrize("sizes", KINDS, ids=lambda s: s.kind)
@torch.no_grad()
def test_padding_of_what_is_given_changes_nothing(sizes):
    """A row among longer ones is computed as alone, by the full pass and step by step."""
    net, x = built(sizes, SOURCE), torch.randint(1, 11, (3, 6))
    source = torch.full((3, 7), 13)
    more = torch.zeros(3, 4, dtype=torch.int64)
    source[0, :5], more[0, :2] = torch.randint(1, 13, (5,)), torch.randint(1, 11, (2,))
    source[1, :1] = 12
    source[2] = MISSING_TOKEN
    whole = net(x, {"source": source, "more": more})
    alone = [
        net(x[:1], {"source": source[:1, :6], "more": more[:1, :3]}),
        net(x[1:2], {"source": source[1:2, :2], "more": more[1:2, :1]}),
        net(x[2:], {"more": more[2:, :1]}),
    ]
    torch.testing.assert_close(whole, torch.cat(alone), rtol=0, atol=1e-5)
    state = net.start(3, {"source": source, "more": more})
    for i in range(6):
        logits, state = net.step(x[:, i - 1] if i else None, state)
        torch.testing.assert_close(logits, whole[:, i], rtol=0, atol=1e-5)


@torch.no_grad()
def test_what_is_given_is_read_as_text_before():
    """Given s, the answer is what the model says after s: a text that is given is no other thing than a text."""
    net = built(KINDS[0], {"source": TEXT})
    s, x = torch.tensor([[3, 5, 0]]), torch.tensor([[4, 6, 0]])
    longer = built(KINDS[0], {})
    torch.testing.assert_close(net(x, {"source": s}), longer(torch.cat((s, x), 1))[:, 3:], rtol=0, atol=1e-5)


def test_updates_start_at_nothing_and_nothing_else_learns():
    plain, sizes = KINDS[0], KINDS[0].model_copy(update={"lora": 3})
    layer = Linear(sizes, 8, 5, bias=True)
    x = torch.randn(2, 8)
    torch.testing.assert_close(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias), rtol=0, atol=0)
    assert {name for name, _ in layer.named_parameters()} == set(layer.state_dict()) == {"down", "up"}
    torch.nn.init.normal_(layer.up)
    torch.testing.assert_close(layer(x), torch.nn.functional.linear(x, layer.merged(), layer.bias))
    frozen, free = built(sizes, {}), built(plain, {})
    assert all(name.endswith((".up", ".down")) for name in frozen.state_dict())
    # What is frozen is what would learn: the same names, so that one file fills either.
    assert set(free.state_dict()) == {n for n, _ in frozen.named_buffers()} - {"table"}


def test_stretched_frequencies():
    """Llama 3: quick turns stay, slow ones are divided by the factor, with a ramp between."""
    plain = Pretrained(**SIZES, head_size=64).frequencies()
    scaling = Scaling(kind="llama3", factor=8, low=1, high=4, original=512)
    ratio = Pretrained(**SIZES, head_size=64, scaling=scaling).frequencies() / plain
    turns = 512 * plain / (2 * math.pi)
    torch.testing.assert_close(ratio[turns > 4], torch.ones_like(ratio[turns > 4]))
    torch.testing.assert_close(ratio[turns < 1], torch.full_like(ratio[turns < 1], 1 / 8))
    between = ratio[(turns >= 1) & (turns <= 4)]
    assert len(between) > 1
    assert (between.diff() <= 0).all()
    linear = Pretrained(**SIZES, head_size=64, scaling=Scaling(kind="linear", factor=4)).frequencies()
    torch.testing.assert_close(linear, plain / 4)


def test_what_does_not_fit_is_refused():
    sizes = Pretrained(**SIZES, places=12, vocabulary=11)
    assert "texts of 13 tokens do not fit the 12 places" in (sizes.unfit("predictor", Tokens(13, 11, end=0)) or "")
    assert "have an end" in (sizes.unfit("predictor", Tokens(5, 11)) or "")
    with pytest.raises(Unfit, match=r"source 7, more 4, the text 6, and a start.* do not fit the 12 places"):
        sizes.predictor(TEXT, SOURCE)
    with pytest.raises(Unfit, match="has 11 tokens, and this text is encoded with 12 others"):
        sizes.predictor(Tokens(5, 12, end=0), {})
