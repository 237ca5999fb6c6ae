"""Editing: items that are made of an item of the user's, by a family that comes from noise along a path.

With `strength` alone the item gets the noise of a time on the path, and is drawn anew from there: image to image
(Meng et al., "SDEdit", 2022). With `keep` only what is not kept is drawn, and fits what is (Lugmayr et al.,
"RePaint", 2022): after each step the kept part is put back, with the noise of its time, and each step is taken several
times, going back by fresh noise in between, as what is drawn sees only then what it stands beside.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from likewise.draws import Draws
from likewise.errors import Message, Setting, UserError
from likewise.families.prob_paths import Path
from likewise.spaces import Continuous


class Edited(NamedTuple):
    """What items are made of.

    start: an item for each, shape (B, *shape). keep: True where it stays as it is, of a shape that goes with start;
    None if nowhere. strength: how much of it is drawn anew, in [0, 1].
    """

    start: Tensor
    keep: Tensor | None
    strength: float


class Way(Protocol):
    """What of a model matters here: its path, and how it goes along it."""

    path: Path
    space: Continuous

    def timesteps(self, settings: Any, start: float = 0.0, device: torch.device | None = None) -> Tensor: ...

    def integrate(self, x: Tensor, times: Tensor, c: dict[str, Tensor] | None, settings: Any) -> Tensor: ...


def draw(
    way: Way, start: Tensor, edited: Edited, c: dict[str, Tensor] | None, draws: Draws, settings: Any, resample: int
) -> Tensor:  # fmt: skip
    """The edited items, shape as of start, which is `edited.start` as the network sees items.

    resample: how many times each step is taken beside what is kept. Raises ValueError for one step beside it.
    """
    times = way.timesteps(settings, 1 - edited.strength, draws.device)
    if len(times) == 1:
        return start
    if edited.keep is not None and len(times) == 2:
        raise UserError(
            Message("with one step, what is drawn does not see what is kept (", Setting("keep"), ", length)"),
            fix="set steps to 4 or more",
        )
    alphas, sigmas = way.path.alpha_sigma(times)
    noise = draws.normal(*way.space.shape)
    # The path's beginning is noise alone, of a scale that hides what little it has of the data.
    whole = float(times[0]) == 0
    x = noise / way.path.input_scale(alphas[0], sigmas[0]) if whole else alphas[0] * start + sigmas[0] * noise
    if edited.keep is None:
        return way.integrate(x, times, c, settings)
    for i in range(len(times) - 1):
        here, there = (alphas[i], sigmas[i]), (alphas[i + 1], sigmas[i + 1])
        again = 1 if i == 0 and whole else resample  # nothing is seen yet
        for k in range(again):
            x = way.integrate(x, times[i : i + 2], c, settings)
            kept = there[0] * start + there[1] * draws.normal(*way.space.shape)
            x = torch.where(edited.keep, kept, x)
            if k < again - 1:
                x = way.path.back(x, draws.normal(*way.space.shape), there, here)
    return x
