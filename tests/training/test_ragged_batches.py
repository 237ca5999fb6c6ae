"""Batches of items that have lengths of their own: cut to the longest of them, with the mask beside the values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from likewise.modalities.packed import Packed
from likewise.spaces import Continuous, cut_to_length, item_lengths
from likewise.training.batches import Batches, FieldData, Streamed

SERIES = Continuous((3, 40), ragged=True)
VALUES = [np.arange(2 * n, dtype=np.float32).reshape(n, 2) + n for n in (5, 40, 1, 17)]


class Series:
    """Two numbers at each time, as an encoding of a sound or a series gives them."""

    space = SERIES

    def pack(self, values):
        return Packed(np.concatenate(values), np.cumsum([0, *map(len, values)]))

    def encode(self, batch, draws=None):
        return torch.from_numpy(batch).transpose(1, 2)


@pytest.mark.parametrize("packed", [lambda e: e.pack(VALUES), lambda e: Streamed(e, VALUES)])
def test_items_keep_their_lengths(packed):
    field = FieldData(Series(), packed(Series()))
    batches = Batches(field)
    assert batches.lengths is not None
    x, _ = batches.take(np.array([3, 0]))
    assert x.shape == (2, 3, 24)  # the longest of them, to a multiple of 8
    whole = field.encode(np.arange(4), None, trim=False)
    assert whole.shape == (4, 3, 40)
    assert item_lengths(whole, SERIES).tolist() == [5, 40, 1, 17]
    for item, value in zip(cut_to_length(whole, SERIES), VALUES, strict=True):
        assert np.array_equal(item.numpy().T, value)
    assert torch.equal(whole[[3, 0], :, :24], x)
