"""The n-gram model against the formulas, counted by hand."""

from __future__ import annotations

from collections import Counter
from math import exp, log

import numpy as np
import pytest

from likewise.classical.kneser_ney import KneserNey

VOCABULARY = 6


def laid_out(items):
    return np.concatenate(items), np.array([len(item) for item in items])


def some(count, seed, kinds=VOCABULARY):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, kinds, rng.integers(1, 9)) for _ in range(count)]


def by_hand(train, order):
    """p(token | context) straight from the definition, with contexts as tuples and sets of what stands before a run."""
    counts = []
    for k in range(order):
        longest, here = k == order - 1, Counter()
        before: dict[tuple, set] = {}
        for item in train:
            padded = [None] * order + [int(t) for t in item]
            for i in range(order, len(padded)):
                run = tuple(padded[i - k : i + 1])
                here[run] += 1
                before.setdefault(run, set()).add(padded[i - k - 1])
        counts.append(here if longest else Counter({run: len(kinds) for run, kinds in before.items()}))

    def discount(k, count):
        n = Counter(counts[k].values())
        y = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.5
        j = min(count, 3)
        return min(max(j - (j + 1) * y * n[j + 1] / n[j] if n[j] else y, 0.05), j - 0.05)

    def chance(context, token, k):
        if k < 0:
            return 1 / VOCABULARY
        lower = chance(context[1:], token, k - 1)
        mine = {run[-1]: n for run, n in counts[k].items() if run[:-1] == context}
        if not mine:
            return lower
        own = mine[token] - discount(k, mine[token]) if token in mine else 0.0
        return (own + sum(discount(k, n) for n in mine.values()) * lower) / sum(mine.values())

    def cost(item):
        padded = [None] * (order - 1) + [int(t) for t in item]
        return sum(log(chance(tuple(padded[i : i + order - 1]), padded[i + order - 1], order - 1))
                   for i in range(len(item)))  # fmt: skip

    return cost


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_equals_the_definition(order):
    train, other = some(60, 0, 5), some(20, 1)  # token 5 is never seen in training
    cost = by_hand(train, order)
    found = KneserNey(*laid_out(train), VOCABULARY, order).log_prob(*laid_out(other))
    assert found == pytest.approx([cost(item) for item in other], rel=1e-10)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_chances_add_up_to_one_and_are_those_of_items(order):
    model = KneserNey(*laid_out(some(50, 2, 5)), VOCABULARY, order)
    for item in some(10, 3):
        state, total = model.start(1), 0.0
        for token in item:
            p = model.chances(state)
            assert p.sum() == pytest.approx(1, abs=1e-12)
            assert (p > 0).all()
            total += log(p[0, token])
            state = model.follow(state, np.array([token]))
        assert total == pytest.approx(model.log_prob(*laid_out([item]))[0], rel=1e-10)


def test_a_row_of_states_does_not_depend_on_the_others():
    model = KneserNey(*laid_out(some(50, 2)), VOCABULARY, 3)
    states = model.follow(model.start(4), np.array([0, 5, 2, -1]))
    alone = model.follow(model.start(1), np.array([2]))
    assert np.array_equal(model.chances(states)[2], model.chances(alone)[0])


def test_what_repeats_is_learned_by_heart_and_what_is_unknown_costs_nothing():
    model = KneserNey(*laid_out([np.array([0, 1, 2, 3])] * 100), VOCABULARY, 3)
    (right, wrong) = model.log_prob(*laid_out([np.array([0, 1, 2, 3]), np.array([3, 2, 1, 0])]))
    assert exp(right) > 0.9 > 1e-5 > exp(wrong)
    (missing,) = model.log_prob(np.array([-1]), np.array([1]))
    assert missing == 0


def test_reaches_the_entropy_of_a_markov_chain():
    """Each token is the one before plus 0, 1 or 2, by chances 1/2, 1/4, 1/4: 1.5 bits."""
    rng = np.random.default_rng(5)
    chain = rng.choice(3, 60_000, p=[0.5, 0.25, 0.25]).cumsum() % VOCABULARY
    model = KneserNey(chain[:40_000], np.array([40_000]), VOCABULARY, 3)
    bits = -model.log_prob(chain[40_000:], np.array([20_000]))[0] / log(2) / 20_000
    assert bits == pytest.approx(1.5, abs=0.01)
