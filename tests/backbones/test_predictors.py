"""Predictors: what they may look at, and that decoding one token after another equals the full pass."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from likewise.backbones.base import Backbone, Predictor
from likewise.backbones.pretrained import Pretrained
from likewise.backbones.recurrent import GRU, LSTM
from likewise.backbones.transformer import Transformer
from likewise.spaces import Condition, Tokens

BACKBONES: dict[str, Backbone] = {
    "transformer": Transformer(width=32, depth=3, heads=2),
    "transformer tied relu2": Transformer(width=48, depth=2, ffn="relu2", tie_embeddings=True, qk_norm=False),
    "transformer prefix": Transformer(width=32, depth=2, heads=2, given="prefix"),
    "lstm": LSTM(width=32),
    "gru": GRU(width=32, depth=3),
    "pretrained": Pretrained(kind="qwen3", width=32, depth=2, heads=4, groups=2, hidden=64),
    "pretrained gpt2": Pretrained(
        kind="gpt2", width=32, depth=2, hidden=64, tied=True, activation="gelu", epsilon=1e-5
    ),
}
SPACES = {
    "text": Tokens(9, 11, end=0),
    "columns": Tokens(5, 9, ranges=((0, 3), (3, 5), (5, 9), (0, 9), (1, 2))),
    "pixels": Tokens(12, 5, grid=(3, 4)),
}
CONDITIONS: dict[str, Condition] = {
    "nothing": {},
    "label": {"label": Tokens(1, 4)},
    "text": {"source": Tokens(7, 9, end=0)},
}


def build(name: str, space: str, given: str) -> tuple[Predictor, Tensor, dict[str, Tensor]]:
    torch.manual_seed(0)
    net = BACKBONES[name].predictor(SPACES[space], CONDITIONS[given])
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    x = torch.randint(1, SPACES[space].vocabulary, (4, SPACES[space].length))
    c = {
        k: torch.randint(1, v.vocabulary, (4, v.length)) for k, v in CONDITIONS[given].items() if isinstance(v, Tokens)
    }
    return net.eval(), x, c


CASES = pytest.mark.parametrize(
    ("name", "space", "given"), [(n, s, g) for n in BACKBONES for s in SPACES for g in CONDITIONS]
)


@CASES
@torch.no_grad()
def test_causal(name: str, space: str, given: str) -> None:
    net, x, c = build(name, space, given)
    before = net(x, c)
    for j in range(x.shape[1]):
        changed = x.clone()
        changed[:, j] = (changed[:, j] + 1) % SPACES[space].vocabulary
        moved = (net(changed, c) - before).abs().amax((0, 2))
        assert moved[: j + 1].max() == 0
        if j + 1 < x.shape[1]:
            assert moved[j + 1 :].min() > 0


@CASES
@torch.no_grad()
def test_steps_equal_the_full_pass(name: str, space: str, given: str) -> None:
    net, x, c = build(name, space, given)
    whole = net(x, c)
    state = net.start(len(x), c)
    for i in range(x.shape[1]):
        logits, state = net.step(x[:, i - 1] if i else None, state)
        torch.testing.assert_close(logits, whole[:, i], rtol=0, atol=1e-5)


@CASES
@torch.no_grad()
def test_a_row_has_the_same_bits_in_any_batch(name: str, space: str, given: str) -> None:
    net, x, c = build(name, space, given)
    rows = torch.arange(37) % len(x)
    rows[20:] = 2

    def logits(rows: Tensor) -> Tensor:
        state, found = net.start(len(rows), {k: v[rows] for k, v in c.items()}), []
        for i in range(x.shape[1]):
            step, state = net.step(x[rows, i - 1] if i else None, state)
            found.append(step)
        return torch.stack(found, 1)

    whole = logits(rows)
    if not net.independent(SPACES[space].vocabulary, 64):
        assert name.startswith("pretrained")  # its steps are plain products: whole blocks are drawn then
        return
    for some in ([0], [5, 6], [19, 20, 21, 22, 23], list(range(20, 37))):
        assert torch.equal(logits(rows[some]), whole[some])


@CASES
@torch.no_grad()
def test_steps_in_bfloat16_are_near_and_as_repeatable(name: str, space: str, given: str) -> None:
    net, x, c = build(name, space, given)
    whole = net(x, c)
    with torch.autocast("cpu", torch.bfloat16):
        state, exact = net.start(len(x), c), True
        for i in range(x.shape[1]):
            logits, state = net.step(x[:, i - 1] if i else None, state)
            torch.testing.assert_close(logits, whole[:, i], rtol=0, atol=0.2)
            exact = exact and torch.equal(logits, whole[:, i])
        assert logits.dtype == torch.float32
        assert not exact
        assert net.independent(SPACES[space].vocabulary, 64) or name.startswith("pretrained")


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_reordered_rows_go_on_as_what_they_were(name: str) -> None:
    net, x, c = build(name, "text", "text")
    whole, state = net(x, c), net.start(4, c)
    for i in range(3):
        _, state = net.step(x[:, i - 1] if i else None, state)
    index = torch.tensor([3, 1, 1, 0, 3])
    other = net.reorder(state, index)
    for i in range(3, 9):
        logits, other = net.step(x[index, i - 1], other)
        torch.testing.assert_close(logits, whole[index, i], rtol=0, atol=1e-5)
    logits, _ = net.step(x[:, 2], state)  # which is left as it was
    torch.testing.assert_close(logits, whole[:, 3], rtol=0, atol=1e-5)


@torch.no_grad()
def test_steps_use_the_weights_as_they_are_when_they_start() -> None:
    net, x, _ = build("transformer", "text", "nothing")
    before, _ = net.step(None, net.start(4))
    for parameter in net.parameters():
        parameter.data.mul_(1.1)
    after, _ = net.step(None, net.start(4))
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, net(x)[:, 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_without_packed_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an accelerator, or where torch has no oneDNN."""
    net, x, c = build(name, "text", "text")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    whole, state = net(x, c), net.start(len(x), c)
    for i in range(4):
        logits, state = net.step(x[:, i - 1] if i else None, state)
        torch.testing.assert_close(logits, whole[:, i], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_short_batches(name: str) -> None:
    """A batch cut to its longest item gets the same logits."""
    net, x, _ = build(name, "text", "nothing")
    torch.testing.assert_close(net(x[:, :4]), net(x)[:, :4])
    assert net(x[:, :1]).shape == (4, 1, 11)


@pytest.mark.full
@pytest.mark.parametrize("name", BACKBONES)
def test_learns_a_rule(name: str) -> None:
    """Each token is the one two places before it: certain after two free ones."""
    torch.manual_seed(0)
    net = BACKBONES[name].predictor(Tokens(6, 5), {})
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    loss = torch.tensor(0.0)
    for _ in range(60):
        x = torch.randint(0, 5, (32, 2)).repeat(1, 3)
        loss = nn.functional.cross_entropy(net(x)[:, 2:].flatten(0, 1), x[:, 2:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_padding_of_a_given_text_changes_nothing(name: str) -> None:
    net, x, c = build(name, "text", "text")
    short = c["source"].clone()
    short[:, 4:] = 0
    whole = net(x, {"source": short})
    torch.testing.assert_close(net(x, {"source": short[:, :5]}), whole, rtol=0, atol=1e-5)
    other = short.clone()
    other[:, 3] = 1 + other[:, 3] % 8
    assert (net(x, {"source": other}) - whole).abs().amax() > 1e-4


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_what_is_missing_is_as_if_nothing_were_given(name: str) -> None:
    net, x, c = build(name, "text", "text")
    none = {"source": torch.full_like(c["source"], -1)}
    torch.testing.assert_close(net(x, none), net(x, None), rtol=0, atol=1e-5)
    some = {"source": torch.where(torch.tensor([True, False, True, False])[:, None], c["source"], none["source"])}
    mixed = net(x, some)
    torch.testing.assert_close(mixed[::2], net(x, c)[::2], rtol=0, atol=1e-5)
    torch.testing.assert_close(mixed[1::2], net(x, None)[1::2], rtol=0, atol=1e-5)


@torch.no_grad()
def test_attention_to_a_prefix_stands_at_the_given_tokens() -> None:
    net, x, c = build("transformer prefix", "text", "text")
    c["source"][0, 3:] = 0
    own, given = net.attention(x, c)
    assert own is not None
    seen = given["source"]
    assert seen.shape == (4, 2, 2, 9, 1 + 7)
    torch.testing.assert_close(own.sum(-1) + seen.sum(-1), torch.ones(4, 2, 2, 9))
    assert seen[0, ..., :1].max() == 0  # no "any"
    assert seen[0, ..., 1:5].min() > 0  # three tokens and the end
    assert seen[0, ..., 5:].max() < 1e-6
