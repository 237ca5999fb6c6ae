"""Items that go on window after window: each sees the end of the last, which stays as it is."""

from __future__ import annotations

import torch

from likewise.draws import Draws
from likewise.families.base import Sampling
from likewise.sampling.outpainting import go_on


class Counts:
    """Draws 1 more than the last position that is kept, and 1 more at each after it."""

    def sample(self, c, draws, settings, *, edited):
        kept = int(edited.keep.sum())
        last = edited.start[:, :, kept - 1 : kept]
        rest = last + torch.arange(1, edited.start.shape[2] - kept + 1).view(1, 1, -1, *[1] * (last.dim() - 3))
        return torch.cat((edited.start[:, :, :kept], rest), 2)


class Noise:
    def sample(self, c, draws, settings, *, edited):
        return torch.where(edited.keep, edited.start, draws.normal(*edited.start.shape[1:]))


def test_each_window_begins_with_the_end_of_the_last():
    for window in (2, 4, 5):
        first = torch.arange(window).float().view(1, 1, -1, 1).expand(3, 2, window, 2)
        for length in (1, window, window + 1, 17):
            x = go_on(Counts(), first, length, None, Draws(0, torch.arange(3)), Sampling())  # pyright: ignore[reportArgumentType]
            assert torch.equal(x[1, 1, :, 0], torch.arange(length).float())


def test_windows_have_noise_of_their_own_and_rows_too():
    first = torch.zeros(2, 1, 4, 3)
    x = go_on(Noise(), first, 12, None, Draws(0, torch.arange(2)), Sampling())  # pyright: ignore[reportArgumentType]
    parts = [x[:, :, i : i + 2] for i in (4, 6, 8, 10)]
    assert len({float(part[row].sum()) for part in parts for row in (0, 1)}) == 8
    alone = go_on(Noise(), first[1:], 12, None, Draws(0, torch.tensor([1])), Sampling())  # pyright: ignore[reportArgumentType]
    assert torch.equal(alone[0], x[1])
