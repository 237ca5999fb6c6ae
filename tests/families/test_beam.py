"""Beam search: greedy with one beam, never worse than greedy, the best of all where all are searched."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from toys import draws, learn

from likewise.backbones.pretrained import Pretrained
from likewise.backbones.recurrent import GRU, LSTM
from likewise.backbones.transformer import Transformer
from likewise.families.autoregressive import Autoregressive, AutoregressiveSampling
from likewise.families.beam import normaliser
from likewise.spaces import MISSING_TOKEN, Tokens

pytestmark = pytest.mark.full

END = 4
TARGET = Tokens(6, 5, end=END, mean_length=4.0)
SOURCE = {"source": Tokens(5, 4, end=3)}
BACKBONES = [
    GRU(width=16, depth=2),
    LSTM(width=16, depth=1),
    Transformer(width=16, depth=2),
    Pretrained(width=16, depth=2, heads=2, groups=1, hidden=32),
]
GREEDY = AutoregressiveSampling(temperature=0)


def pairs(count: int, seed: int):
    """A source of two to four tokens, and the same one higher with some of them wrong: nothing is certain."""
    source = draws(count, seed)
    length, place = 2 + source.integers(3), torch.arange(6).expand(count, 6)
    given = source.integers(3, 6)
    said = torch.where(source.uniform(6) < 0.6, given + 1, source.integers(4, 6))
    said, given = (torch.where(place < length[:, None], v, e) for v, e in ((said, END), (given, 3)))
    return said, {"source": given[:, :5]}


@pytest.fixture(scope="module", params=BACKBONES, ids=lambda b: b.name)
def learned(request):
    torch.manual_seed(0)
    model = Autoregressive().build(TARGET, SOURCE, request.param)
    return learn(model, lambda step: pairs(32, 1000 + step), 60, 1e-2)


def normalised(model, x, c, penalty: float):
    count = (x != END).sum(1) + 1
    scale = torch.tensor([normaliser(min(int(n), TARGET.length), penalty) for n in count])
    return model.log_likelihood(x, c, draws(len(x))) / scale


def test_one_beam_is_greedy(learned):
    _, c = pairs(40, 5)
    assert torch.equal(
        learned.sample(c, draws(40), AutoregressiveSampling(beams=1)), learned.sample(c, draws(40), GREEDY)
    )


def test_beams_leave_out_what_min_p_does(learned):
    """Where only the likeliest token may come, all that beams find is the greedy item."""
    _, c = pairs(40, 5)
    cut = learned.sample(c, draws(40), AutoregressiveSampling(beams=4, min_p=0.9999999))
    assert torch.equal(cut, learned.sample(c, draws(40), GREEDY))


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0])
def test_more_beams_are_never_worse_than_greedy(learned, penalty):
    _, c = pairs(200, 6)
    found = [
        normalised(learned, learned.sample(c, draws(200), settings), c, penalty)
        for settings in (GREEDY, AutoregressiveSampling(beams=3, length_penalty=penalty))
    ]
    assert (found[1] >= found[0] - 1e-4).all()
    assert (found[1] > found[0] + 1e-3).any()


def test_enough_beams_find_the_best_of_all(learned):
    """Of all items of up to six tokens the likeliest, as the model itself scores them."""
    _, c = pairs(3, 8)
    items = [torch.tensor([*p, *[END] * (6 - n)]) for n in range(7) for p in product(range(4), repeat=n)]
    every = torch.stack(items)
    found = learned.sample(c, draws(3), AutoregressiveSampling(beams=256, length_penalty=0.0))
    for row in range(3):
        given = {"source": c["source"][row].expand(len(every), -1)}
        scores = learned.log_likelihood(every, given, draws(len(every)))
        ours = learned.log_likelihood(found[row : row + 1], {"source": c["source"][row : row + 1]}, draws(1))
        assert float(ours) == pytest.approx(float(scores.max()), abs=1e-4)


def test_no_item_depends_on_another_or_on_the_seed(learned):
    _, c = pairs(12, 7)
    settings = AutoregressiveSampling(beams=4)
    whole = learned.sample(c, draws(12), settings)
    for row in range(12):
        alone = learned.sample({"source": c["source"][row : row + 1]}, draws(1, seed=9), settings)
        assert torch.equal(alone[0], whole[row])


def test_a_prefix_is_kept(learned):
    _, c = pairs(10, 7)
    prefix = torch.tensor([[2, MISSING_TOKEN, 1]]).repeat(10, 1)
    x = learned.sample(c, draws(10), AutoregressiveSampling(beams=3), prefix=prefix)
    assert (x[:, 0] == 2).all()
    assert ((x[:, 2] == 1) | (x[:, 1] == END)).all()


@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda b: b.name)
def test_items_without_an_end(backbone):
    """Rows of a table, whose places have tokens of their own."""
    torch.manual_seed(1)
    space = Tokens(4, 6, ranges=((0, 3), (3, 5), (0, 6), (5, 6)))
    model = Autoregressive().build(space, {}, backbone).eval()
    x = model.sample(None, draws(3), AutoregressiveSampling(beams=72))
    every = torch.tensor(list(product(range(3), (3, 4), range(6), (5,))))
    assert torch.equal(x[0], every[model.log_likelihood(every, None, draws(len(every))).argmax()])


def test_what_does_not_go_with_beams_is_refused():
    for settings in ({"guidance_scale": 2.0}, {"top_k": 3}, {"temperature": 0.5}, {"repetition_penalty": 1.2}):
        with pytest.raises(ValueError, match=f"has no {next(iter(settings))}"):
            AutoregressiveSampling(beams=4, **settings)
    with pytest.raises(ValueError, match="such as beams=4"):
        AutoregressiveSampling(length_penalty=1.0)
