"""Editing: samples that start from an existing item, for families that sample along a path from noise.

With `strength` alone, the item is noised to a time on the path and denoised from there: image to image (Meng et al.,
"SDEdit", 2022). With `keep` only the rest is generated (Lugmayr et al., "RePaint", 2022): after each step the kept part
is replaced by the original with the noise of its time, and each step is repeated several times with fresh noise in
between, so that the generated part adapts to the kept one.
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
    """The items to edit.

    start: one item per row, shape (B, *shape).
    keep: True where it is kept, broadcastable against start; None if nowhere.
    strength: share of the path that is sampled again, in [0, 1]; 1 starts from noise.
    """

    start: Tensor
    keep: Tensor | None
    strength: float


class PathModel(Protocol):
    """The interface of a model used here: its path, and integration along it."""

    path: Path
    space: Continuous

    def timesteps(self, settings: Any, start: float = 0.0, device: torch.device | None = None) -> Tensor: ...

    def integrate(self, x: Tensor, times: Tensor, c: dict[str, Tensor] | None, settings: Any) -> Tensor: ...


def draw(
    model: PathModel,
    start: Tensor,
    edited: Edited,
    c: dict[str, Tensor] | None,
    draws: Draws,
    settings: Any,
    resample: int,
) -> Tensor:
    """The edited items, shape as of start, which is `edited.start` in the network's representation.

    resample: repetitions of each step when a part is kept. Raises ValueError for a single step with a kept part.
    """
    times = model.timesteps(settings, 1 - edited.strength, draws.device)
    if len(times) == 1:
        return start
    if edited.keep is not None and len(times) == 2:
        raise UserError(
            Message("with one step, the generated part cannot adapt to the kept part (", Setting("keep"), ", length)"),
            fix="set steps to 4 or more",
        )
    alphas, sigmas = model.path.alpha_sigma(times)
    noise = draws.normal(*model.space.shape)
    # At the start of the path there is only noise, at a scale that hides the remaining share of the data.
    whole = float(times[0]) == 0
    x = noise / model.path.input_scale(alphas[0], sigmas[0]) if whole else alphas[0] * start + sigmas[0] * noise
    if edited.keep is None:
        return model.integrate(x, times, c, settings)
    for i in range(len(times) - 1):
        here, there = (alphas[i], sigmas[i]), (alphas[i + 1], sigmas[i + 1])
        again = 1 if i == 0 and whole else resample  # there is no generated content yet
        for k in range(again):
            x = model.integrate(x, times[i : i + 2], c, settings)
            kept = there[0] * start + there[1] * draws.normal(*model.space.shape)
            x = torch.where(edited.keep, kept, x)
            if k < again - 1:
                x = model.path.renoise(x, draws.normal(*model.space.shape), there, here)
    return x
