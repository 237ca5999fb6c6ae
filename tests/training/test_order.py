"""The order of items: a pass that ends, for models that see each item once."""

from __future__ import annotations

import numpy as np
import pytest

from likewise.training.order import Order, least


@pytest.mark.parametrize(("count", "batch"), [(1, 4), (10, 4), (12, 4), (300, 7)])
def test_a_single_pass_has_every_item_once(count, batch):
    order = Order(count, batch, seed=3, lengths=np.arange(count), once=True)
    steps = order.batches(10**9)
    found = [order.batch(k) for k in range(steps)]
    assert sorted(np.concatenate(found).tolist()) == list(range(count))
    assert all(len(part) == batch for part in found[:-1])
    assert len(found[-1]) > 0
    assert len(order.batch(steps)) == 0


def test_the_beginning_of_a_pass_is_drawn_from_all_items():
    order = Order(10_000, 100, seed=1, once=True)
    assert order.batches(450) == 5
    first = np.concatenate([order.batch(k) for k in range(5)])
    assert abs(first.mean() - 5000) < 4 * 10_000 / np.sqrt(12 * len(first))
    assert (np.diff(first) > 0).mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("batch", [4, 8, 32, 100])
def test_batches_of_items_of_different_lengths_have_about_equal_tokens(batch):
    count = 32 * batch  # one chunk is one pass
    lengths = np.exp(np.random.default_rng(0).normal(3.5, 0.4, count)).clip(1, 100).astype(np.int64)
    order = Order(count, batch, 5, lengths)
    parts = [order.batch(k) for k in range(32)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(count))
    assert min(map(len, parts)) >= least(batch)
    tokens = np.array([lengths[p].sum() for p in parts])
    crowded = np.array([len(p) == least(batch) for p in parts])  # of long items no batch has fewer than that
    if batch > 8:
        assert not crowded.any()
        assert tokens.max() - tokens.min() <= 2 * lengths.max()
        padded = sum(len(p) * lengths[p].max() for p in parts)
        assert tokens.sum() > 0.85 * padded
    else:
        assert all(len(p) == batch for p in parts)
    # a batch is a function of its number alone
    again = Order(count, batch, 5, lengths)
    for k in (31, 0, 17):
        assert again.batch(k).tolist() == parts[k].tolist()
