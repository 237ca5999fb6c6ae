"""Columns, and the baselines made of them: marginals, copula, resampling."""

from __future__ import annotations

import math

import pytest
import torch

from likewise.classical.columns import Columns
from likewise.classical.copula import Copula
from likewise.classical.marginals import Marginals
from likewise.classical.resample import Resample
from likewise.draws import Draws
from likewise.spaces import MISSING_TOKEN, Continuous, Tokens, to_index

PICTURE = Continuous((2, 3, 3), levels=8)
MIXED = Continuous((5, 2), choices=((1, 3), (3, 5)))
ROW = Continuous((4,), choices=((1, 4),))
CODES = Tokens(3, 9, ranges=((0, 2), (2, 5), (5, 9)))
WORD = Tokens(6, 5, end=4)


def draws(count, seed=0):
    return Draws(seed, torch.arange(count))


def some(space, count, seed=1):
    source = draws(count, seed)
    if isinstance(space, Tokens):
        if space.ranges:
            return torch.stack([low + source.integers(high - low) for low, high in space.ranges], 1)
        x = source.integers(space.vocabulary, space.length)
        return x.masked_fill((x == space.end).cumsum(1) > 0, space.end)
    x = source.uniform(*space.shape) * 2 - 1
    for start, stop in space.choices:
        group = x[:, start:stop]
        x[:, start:stop] = torch.zeros_like(group).scatter(1, group.argmax(1, keepdim=True), 1.0)
    return (2 * to_index(x, space.levels) + 1) / space.levels - 1 if space.levels else x


def within(x, ranges):
    return all(bool(((x[:, i] >= low) & (x[:, i] < high)).all()) for i, (low, high) in enumerate(ranges))


def linked(count, seed=3):
    """Rows of a number that grows with which of three choices goes with it."""
    source = draws(count, seed)
    code = source.integers(3)
    x = torch.zeros(count, 4)
    x[:, 0] = code + 0.3 * source.normal()
    return x.scatter(1, 1 + code[:, None], 1.0)


@pytest.mark.parametrize("space", [PICTURE, MIXED, ROW, CODES], ids=str)
def test_columns_and_back(space):
    x, columns = some(space, 20), Columns(space)
    numbers, codes = columns.split(x)
    assert numbers.shape == (20, columns.numbers)
    assert codes.shape == (20, len(columns.choices))
    assert within(codes, columns.choices)
    assert torch.equal(columns.join(numbers, codes), x)


def test_a_missing_token_is_the_first_of_its_kinds():
    assert Columns(CODES).split(torch.full((1, 3), MISSING_TOKEN))[1].tolist() == [[0, 2, 5]]


@pytest.mark.parametrize("space", [Continuous((2,), levels=4), CODES, Continuous((3,), choices=((0, 3),))], ids=str)
def test_marginal_chances_add_up_to_one(space):
    model = Marginals(some(space, 30), space)
    if isinstance(space, Tokens):
        grid = [torch.arange(low, high) for low, high in space.ranges]
    elif space.levels:
        grid = [(2 * torch.arange(4) + 1) / 4 - 1] * 2
    else:
        grid = []
    every = torch.cartesian_prod(*grid) if grid else torch.eye(3)
    width = (2 / 4) ** 2 if not isinstance(space, Tokens) and space.levels else 1.0
    assert (model.log_prob(every).exp().sum() * width).item() == pytest.approx(1)


@pytest.mark.parametrize("space", [PICTURE, MIXED, CODES, WORD], ids=str)
def test_marginals_draw_what_they_say(space):
    model = Marginals(some(space, 50), space)
    drawn = model.sample(draws(20_000))
    again = Marginals(drawn, space)
    fresh = model.sample(draws(2000, seed=9))
    assert (model.log_prob(fresh) - again.log_prob(fresh)).mean().abs().item() < 0.05
    if isinstance(space, Tokens) and space.ranges:
        assert within(fresh, space.ranges)


def test_marginals_know_no_two_together():
    drawn = Marginals(linked(2000), ROW).sample(draws(4000))
    assert torch.corrcoef(torch.stack((drawn[:, 0], drawn[:, 1:].argmax(1).float())))[0, 1].abs() < 0.05


def test_copula_keeps_margins_and_what_hangs_together():
    real = linked(2000)
    drawn = Copula(real, ROW).sample(draws(4000))
    assert drawn[:, 1:].mean(0).tolist() == pytest.approx(real[:, 1:].mean(0).tolist(), abs=0.03)
    assert set(drawn[:, 0].tolist()) <= set(real[:, 0].tolist())
    for share in (0.1, 0.5, 0.9):
        assert drawn[:, 0].quantile(share).item() == pytest.approx(real[:, 0].quantile(share).item(), abs=0.15)
    ours, truth = (torch.corrcoef(torch.stack((x[:, 0], x[:, 1:].argmax(1).float())))[0, 1] for x in (drawn, real))
    assert truth > 0.9
    assert ours > 0.8


def test_copula_sees_through_ties():
    """Two pixels that are black together nine times of ten."""
    lit = (draws(3000).uniform() < 0.1).float()[:, None]
    space = Continuous((2,), levels=8)
    real = torch.where(lit > 0, draws(3000, 2).uniform(1), 0.0).expand(-1, 2) * 0.8 - 0.9
    drawn = Copula(real, space).sample(draws(5000))
    black = to_index(drawn, 8) == 0
    assert black[:, 0].float().mean().item() == pytest.approx(0.9, abs=0.03)
    assert (black[:, 0] == black[:, 1]).float().mean() > 0.97


def test_copula_of_tokens_stays_in_their_ranges():
    drawn = Copula(some(CODES, 100), CODES).sample(draws(500))
    assert within(drawn, CODES.ranges)


@pytest.mark.parametrize("space", [PICTURE, MIXED, CODES, WORD], ids=str)
def test_resampling_without_noise_copies(space):
    real = some(space, 40)
    drawn = Resample(real, space, 0.0).sample(draws(400))
    known = {tuple(row) for row in real.flatten(1).tolist()}
    found = {tuple(row) for row in drawn.flatten(1).tolist()}
    assert found <= known
    assert len(found) > 0.9 * len(known)


def test_noise_has_the_size_asked_for():
    real = draws(500, 4).normal(3)
    space = Continuous((3,))
    drawn = Resample(real, space, 0.1).sample(draws(2000))
    nearest = torch.cdist(drawn, real).amin(1)
    assert nearest.mean().item() == pytest.approx(0.1 * math.sqrt(8 / math.pi), rel=0.15)  # a chi of three
    swapped = Resample(some(CODES, 400), CODES, 0.5)
    chosen = draws(4000).integers(400)
    kept = (swapped.sample(draws(4000)) == some(CODES, 400)[chosen]).float().mean(0)
    assert kept.tolist() == pytest.approx([0.5 + 0.5 / k for k in (2, 3, 4)], abs=0.04)


def test_noise_in_texts_changes_tokens_and_no_length():
    real = some(WORD, 300)
    drawn = Resample(real, WORD, 0.3).sample(draws(2000))
    before = real[draws(2000).integers(300)]
    assert torch.equal(drawn == WORD.end, before == WORD.end)
    inside = before != WORD.end
    changed = (drawn != before)[inside].float().mean().item()
    assert 0.05 < changed < 0.3
