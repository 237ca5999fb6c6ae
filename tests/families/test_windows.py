"""Items longer than what the network reads at once: scored whole, drawn beyond it, and learned window by window."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toys import draws, learn

from likewise.backbones.recurrent import GRU, LSTM
from likewise.backbones.transformer import Transformer
from likewise.families.autoregressive import Autoregressive, AutoregressiveSampling
from likewise.families.decoding import TokenRules, decode
from likewise.families.windows import kept, restarts_context
from likewise.modalities.packed import Packed, Windows
from likewise.spaces import MISSING_TOKEN, Tokens, split_before, token_mask, without_end

END, LENGTH = 6, 8
SPACE = Tokens(LENGTH, 7, end=END, mean_length=6.0, windows=True)
LABEL = {"label": Tokens(1, 3)}
SIZES = {"transformer": Transformer(width=16, depth=2), "lstm": LSTM(width=16, depth=2), "gru": GRU(width=16, depth=1)}


@pytest.fixture(params=[*SIZES])
def model(request):
    """Untrained, but no longer indifferent: what starts at zero is moved."""
    torch.manual_seed(0)
    built = Autoregressive().build(SPACE, LABEL, SIZES[request.param]).eval()
    with torch.no_grad():
        for p in built.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return built


def items(count: int = 5, longest: int = 41) -> torch.Tensor:
    """Of different lengths, some shorter than a window; padded with the end."""
    x = draws(count).integers(END, longest)
    for row, size in zip(x, np.linspace(3, longest - 1, count).astype(int), strict=True):
        row[size:] = END
    return x


def stepped(model, x, c):
    """-log p of each token, step by step, as the tokens are drawn."""
    out = torch.zeros(x.shape)

    class Given:
        def mask(self, seen):
            return None

    def categorical(logits):
        place = len(found)
        found.append(torch.nn.functional.cross_entropy(logits, x[:, place], reduction="none"))
        return x[:, place]

    found: list[torch.Tensor] = []
    source = draws(len(x))
    source.categorical = categorical
    rules = TokenRules(length=x.shape[1], constraint=Given())
    x_again = decode(model.predictor, SPACE, c, source, AutoregressiveSampling(), rules)
    assert torch.equal(x_again, x)
    for i, each in enumerate(found):
        out[:, i] = each
    return out * token_mask(x, SPACE)


def test_a_long_item_is_scored_as_it_is_drawn(model):
    x, c = items(), {"label": draws(5, 3).integers(3, 1)}
    found = model.surprisal(x, c)
    assert torch.allclose(found, stepped(model, x, c), atol=1e-4)
    assert torch.allclose(model.log_likelihood(x, c, draws(5)), -found.sum(1), atol=1e-4)
    own = model.log_likelihood(without_end(x, SPACE), c, draws(5))
    assert torch.allclose(own, -(found * (x != END)).sum(1), atol=1e-4)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_a_carried_state_is_one_long_reading(name):
    torch.manual_seed(1)
    predictor = SIZES[name].predictor(SPACE, {})
    x = draws(3).integers(END, 37)
    whole = predictor(x)
    state, parts = None, []
    read = torch.cat((torch.full((3, 1), MISSING_TOKEN), x[:, :-1]), 1)
    for at in range(0, 37, 10):
        logits, state = predictor.carry(read[:, at : at + 10], None, state)
        parts.append(logits)
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-5)


def test_every_token_has_half_a_window_before_it():
    """What is farther back than a window never matters, what is within half a window always may."""
    torch.manual_seed(0)
    model = Autoregressive().build(SPACE, {}, SIZES["transformer"]).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    x = draws(1).integers(END, 40)
    base = model.surprisal(x, None)[0]
    for changed in (3, 17):
        other = x.clone()
        other[0, changed] = (other[0, changed] + 1) % END
        moved = ((model.surprisal(other, None)[0] - base).abs() > 1e-6).nonzero().flatten().tolist()
        assert min(moved) == changed
        assert set(range(changed, changed + kept(SPACE) + 1)) <= set(moved)
        assert max(moved) < changed + 2 * LENGTH * SIZES["transformer"].depth
        # nothing goes from window to window but tokens: no farther than a window, whatever the depth
        assert max(moved) <= changed + LENGTH


def test_drawing_beyond_the_window_does_not_depend_on_the_others(model):
    settings = AutoregressiveSampling(length=50)
    c = {"label": draws(48, 3).integers(3, 1)}
    x = model.sample(c, draws(48, 9), settings)
    assert x.shape == (48, 50)
    assert torch.equal(x, model.sample(c, draws(48, 9), settings))
    some = model.sample({"label": c["label"][2:4]}, draws(2, 9, start=2), settings)
    assert torch.equal(x[2:4], some)
    short = model.sample(c, draws(48, 9), AutoregressiveSampling(length=5))
    assert torch.equal(x[:, :5], short)
    assert (token_mask(x, SPACE).sum(1) > LENGTH).any()


def test_guidance_goes_on_too(model):
    c = {"label": torch.arange(24)[:, None] % 3}
    settings = AutoregressiveSampling(length=30, guidance_scale=2.0)
    x = model.sample(c, draws(24, 4), settings)
    assert torch.equal(x, model.sample(c, draws(24, 4), settings))
    assert not torch.equal(x, model.sample(c, draws(24, 4), AutoregressiveSampling(length=30)))


def test_when_the_network_begins_anew():
    built = SIZES["transformer"].predictor(SPACE, {})
    assert [p for p in range(30) if restarts_context(built, SPACE, p)] == [8, 12, 16, 20, 24, 28]
    assert not any(restarts_context(SIZES["gru"].predictor(SPACE, {}), SPACE, p) for p in range(30))


def test_a_run_without_windows_refuses_to_go_on():
    model = Autoregressive().build(Tokens(8, 7, end=6), {}, SIZES["gru"])
    with pytest.raises(ValueError, match=r"length 9: .* at most 8 tokens.*target\.windows"):
        model.sample(None, draws(2), AutoregressiveSampling(length=9))
    with pytest.raises(ValueError, match="beams"):
        AutoregressiveSampling(beams=2, length=9)


@torch.no_grad()
def test_a_window_is_given_the_token_before_it(model):
    """The loss of the windows of an item is that of all its tokens, each given its window and the token before."""
    x = items(1, 30)
    flat = x[0][: int(token_mask(x, SPACE).sum())].numpy()
    windows = Windows.of(Packed(flat, np.array([0, len(flat)]), pad=END), LENGTH)
    rows = torch.from_numpy(windows.take(np.arange(len(windows))))
    nats, counted = model.held_out(rows, None, draws(len(rows)))
    assert int(counted.sum()) == len(flat)
    own, before = split_before(rows)
    assert before.tolist() == [MISSING_TOKEN, *flat[LENGTH - 1 : -1 : LENGTH - 1].tolist()]
    for row, first, value in zip(own, before, nats, strict=True):
        # one step after another from the token before it
        state, token, total = model.predictor.start(1), None if first == MISSING_TOKEN else first[None], 0.0
        for want in row[token_mask(row[None], SPACE)[0]]:
            logits, state = model.predictor.step(token, state)
            total -= float(logits.log_softmax(1)[0, want])
            token = want[None]
        assert value == pytest.approx(total, abs=1e-4)


@pytest.mark.full
def test_what_windows_learn_goes_on_for_ever():
    """012345 again and again, as windows that begin anywhere: drawn five windows long, it still is that."""
    torch.manual_seed(0)
    text = np.concatenate((np.tile(np.arange(6), 40), [END]))
    windows = Windows.of(Packed(text, np.array([0, len(text)]), pad=END), LENGTH)

    def batch(step):
        chosen = np.random.default_rng(step).integers(len(windows), size=32)
        return torch.from_numpy(windows.take(chosen)), None

    model = learn(Autoregressive().build(SPACE, {}, SIZES["transformer"]), batch, 150, 1e-2)
    x = model.sample(None, draws(4), AutoregressiveSampling(length=5 * LENGTH, temperature=0.0))
    assert torch.equal(x, (torch.arange(5 * LENGTH) % 6).expand(4, -1))
