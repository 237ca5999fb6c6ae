"""The order of items: a pass that ends, for models that see each item once."""

from __future__ import annotations

import numpy as np
import pytest

from likewise.training.order import Order


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
