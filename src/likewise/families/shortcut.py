"""Shortcut models: a flow that also learns large steps, so that one network samples in 1 to 16 steps or by an ODE
solver.

Besides x_t and the time, the network receives the step length (Frans et al., "One step diffusion via shortcut models",
2025, arXiv:2410.12557). The target of a step is two steps of half its length, computed by the network itself without
gradient (Salimans and Ho, "Progressive distillation", 2022); that of the shortest one is a Heun step of the flow,
guided if the flow is. So guidance is distilled into shortcut steps (Meng et al., "On distillation of guided diffusion
models", 2023), which need one network call. Without a step length the network is the plain flow.

Training has two phases, by the share of steps done. In the first, all items learn the flow, some of them with a step
length, which initialises shortcut steps as the flow. In the second, half of the items learn shortcut steps, at first
short ones, then increasingly long ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from likewise.draws import Draws
from likewise.families.prob_paths import Path, PathPoint
from likewise.spaces import MISSING_TOKEN, Condition, Tokens

#: Name of the condition field for the step length, which no user field can have.
_FIELD = "(jump)"
#: Step lengths are 1, 1/2, 1/4 ... 1/16 of the path: 2^-level.
LEVELS = 5
FINEST = 2 ** (LEVELS - 1)
#: The level that stands for no shortcut step: the flow.
FLOW = MISSING_TOKEN

#: Share of the training steps before shortcut training; share of the items that learn shortcut steps after it.
BEGIN, SHARE = 0.4, 0.5

#: (x_t, t, condition) -> the network's output.
Predict = Callable[[Tensor, Tensor, dict[str, Tensor] | None], Tensor]


def with_level_field(condition: Condition) -> Condition:
    """The condition of a shortcut model's network, with a field for the level."""
    return {**condition, _FIELD: Tokens(1, LEVELS)}


def with_level(c: dict[str, Tensor] | None, level: Tensor) -> dict[str, Tensor]:
    """The condition with the level of each item, or FLOW; level: shape (B,)."""
    return {**(c or {}), _FIELD: level[:, None]}


def timesteps(start: float, steps: int) -> list[float]:
    """The times of shortcut steps of at most 1/steps of the path, from `start` (rounded to 1/16) to 1.

    A step of length d starts at a multiple of d, as in training.
    """
    at = round(start * FINEST)
    found = [at]
    while at < FINEST:
        at += min(at & -at or FINEST, FINEST // steps)
        found.append(at)
    return [k / FINEST for k in found]


def level_of(length: float) -> int:
    """The level of a step of this length."""
    return (round(1 / length)).bit_length() - 1


@dataclass(frozen=True)
class Shortcut:
    """Training and sampling of shortcut steps along a path. interval: the times at which the flow is guided.

    bound: bound of the data's values, None if unbounded. Steps are clipped to it: as steps are learned from steps,
    errors beyond it would accumulate.
    """

    path: Path
    guidance: float
    interval: tuple[float, float]
    bound: float | None = None

    def ends(self, x: Tensor, output: Tensor, here: PathPoint) -> tuple[Tensor, Tensor]:
        """The noise and data at both ends: `Path.ends`, with the data clipped to the bound."""
        x_0, x_1 = self.path.ends(x, output, *here)
        if self.bound is None:
            return x_0, x_1
        x_1 = x_1.clamp(-self.bound, self.bound)
        return (x - here[0] * x_1) / here[1], x_1

    def step(self, x: Tensor, output: Tensor, here: PathPoint, there: PathPoint) -> Tensor:
        """The result of a shortcut step: both ends, mixed with the alpha and sigma of `there`."""
        x_0, x_1 = self.ends(x, output, here)
        return there[0] * x_1 + there[1] * x_0

    def draw(self, t: Tensor, draws: Draws, done: float, most: float = SHARE) -> tuple[Tensor, Tensor, Tensor]:
        """Times, levels, and whether an item learns a shortcut step, at the share `done` of training; shapes (B,).

        t: times of the flow, shape (B,), kept where no shortcut step is learned. most: share of the items with a level.
        """
        here, level, place = draws.uniform() < most, draws.uniform(), draws.uniform()
        # From the middle of the second phase the longest steps are learned too.
        since = (done - BEGIN) / (1 - BEGIN)
        known = LEVELS if since < 0 else min(LEVELS, 1 + int(2 * since * LEVELS))
        level = LEVELS - 1 - (level * known).long().clamp(max=known - 1)
        learned = here & (since >= 0)
        length = torch.exp2(-level.float())
        t = torch.where(learned, (place / length).floor() * length, t)
        return t, torch.where(here, level, FLOW), learned

    @torch.no_grad()
    def target(self, predict: Predict, x: Tensor, t: Tensor, level: Tensor, c: dict[str, Tensor] | None) -> Tensor:
        """The network's target at x for a step from t: shape as of x. level: shape (B,)."""
        shortest = level == LEVELS - 1
        length = torch.exp2(-level.float())
        half = torch.where(shortest, length, length / 2)
        inner = torch.where(shortest, FLOW, level + 1)
        here, middle, there = (self._point(s, x) for s in (t, t + half, t + length))
        first = self._guided(predict, x, t, inner, c)
        between = self.step(x, first, here, middle)
        second = self._guided(predict, between, t + half, inner, c)
        landed = self.step(between, second, middle, there)
        # Heun's rule for the shortest steps, except the last one, as in the flow's own sampler.
        (x_0, x_1), (y_0, y_1) = self.path.ends(x, first, *here), self.path.ends(between, second, *middle)
        heun = x + (there[0] - here[0]) * (x_1 + y_1) / 2 + (there[1] - here[1]) * (x_0 + y_0) / 2
        short = torch.where(_wide(t + length < 1, x), heun, between)
        return self.path.output_leading_to(x, torch.where(_wide(shortest, x), short, landed), here, there)

    def _guided(self, predict: Predict, x: Tensor, t: Tensor, level: Tensor, c: dict[str, Tensor] | None) -> Tensor:
        """The network's output, guided where it is that of the flow (Ho and Salimans, 2022)."""
        output = predict(x, t, with_level(c, level))
        low, high = self.interval
        rows = ((level == FLOW) & (low <= t) & (t <= high)).nonzero()[:, 0]
        if not c or self.guidance == 1 or not len(rows):
            return output
        free = predict(x[rows], t[rows], None)  # None is read as a condition with all fields missing
        output[rows] = torch.lerp(free, output[rows], self.guidance)
        return output

    def _point(self, t: Tensor, like: Tensor) -> PathPoint:
        alpha, sigma = self.path.alpha_sigma(t)
        return _wide(alpha, like), _wide(sigma, like)


def _wide(scalars: Tensor, like: Tensor) -> Tensor:
    """Reshape (B,) to (B, 1, ..., 1), to broadcast against `like`."""
    return scalars.view(-1, *[1] * (like.dim() - 1))
