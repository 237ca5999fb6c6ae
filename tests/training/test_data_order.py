"""The order of items: a pass that ends, for models that see each item once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from likewise.modalities.packed import Packed
from likewise.spaces import Tokens
from likewise.training.batches import Batches, FieldData
from likewise.training.data_order import Order, least


class _Text:
    """What `FieldData` asks of an encoding."""

    space = Tokens(100, 256, end=0)

    def encode(self, batch, draws=None):
        return torch.from_numpy(batch.astype(np.int64))


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
        # counts are whole eights: both cuts of a part are moved by four items at most
        assert np.abs(tokens - tokens.mean()).max() <= 9 * lengths.max()
        padded = sum(len(p) * lengths[p].max() for p in parts)
        assert tokens.sum() > 0.85 * padded
    else:
        assert all(len(p) == batch for p in parts)
    # a batch is a function of its number alone
    again = Order(count, batch, 5, lengths)
    for k in (31, 0, 17):
        assert again.batch(k).tolist() == parts[k].tolist()


def test_batches_of_texts_come_in_few_shapes():
    """A product of a shape that was not met before costs a millisecond more."""
    lengths = np.exp(np.random.default_rng(0).normal(3.5, 0.4, 6400)).clip(1, 100).astype(np.int64)
    packed = Packed(np.ones(lengths.sum(), np.int16), np.concatenate(([0], lengths.cumsum())), pad=0)
    batches = Batches(FieldData(_Text(), packed))
    order = Order(len(lengths), 64, 5, batches.lengths)
    shapes = [tuple(batches.take(order.batch(k))[0].shape) for k in range(100)]
    assert all(count % 8 == 0 and (length % 8 == 0 or length == _Text.space.length) for count, length in shapes)
    assert max(length for _, length in shapes) == _Text.space.length  # padding stops at the longest that there can be
    assert len(set(shapes)) < 50
    longest = [int(lengths[order.batch(k)].max()) for k in range(100)]
    assert all(0 <= length - most < 8 for (_, length), most in zip(shapes, longest, strict=True))
