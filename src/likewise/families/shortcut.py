"""Few steps: a flow that also learns to jump, so that one network draws in 1 to 16 steps, or along the whole way.

Beside x_t and the time, the network is told how far it is to jump (Frans et al., "One step diffusion via shortcut
models", 2025, arXiv:2410.12557). A jump is learned from two of half its length, made by the network itself without
gradient (Salimans and Ho, "Progressive distillation", 2022), and the shortest ones from a step of the flow by Heun's
rule, guided if the flow is: jumps have the guidance learned in (Meng et al., "On distillation of guided diffusion
models", 2023), and need the network once. Told of no jump, the network is the flow it was.

Training has two phases, by the share of the steps that is done. In the first all items learn the flow, some of them
told of a jump: so jumps begin as what the flow does. In the second, half of the items learn jumps, first short ones,
then ever longer ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from likewise.draws import Draws
from likewise.families.prob_paths import Path, Stop
from likewise.spaces import MISSING_TOKEN, Condition, Tokens

#: what is given to the network beside the user's fields, none of which has such a name
_FIELD = "(jump)"
#: jumps have the lengths 1, 1/2, 1/4 ... 1/16 of the way: 2^-level
LEVELS = 5
FINEST = 2 ** (LEVELS - 1)
#: told of no jump: the flow
FLOW = MISSING_TOKEN

#: share of the steps that are of the flow alone; share of the items that learn jumps after them
BEGIN, SHARE = 0.4, 0.5

#: x_t, t and what is given to the network's output
Predict = Callable[[Tensor, Tensor, dict[str, Tensor] | None], Tensor]


def told(condition: Condition) -> Condition:
    """What the network of a flow that jumps is given."""
    return {**condition, _FIELD: Tokens(1, LEVELS)}


def telling(c: dict[str, Tensor] | None, level: Tensor) -> dict[str, Tensor]:
    """The condition of items that jump. level: of each, or FLOW; shape (B,)."""
    return {**(c or {}), _FIELD: level[:, None]}


def timesteps(start: float, steps: int) -> list[float]:
    """The times that jumps of at most 1/steps of the way stop at, from `start` (to the nearest 1/16) to the end, 1.

    A jump of length d begins at a multiple of d, as those that are learned do.
    """
    at = round(start * FINEST)
    found = [at]
    while at < FINEST:
        at += min(at & -at or FINEST, FINEST // steps)
        found.append(at)
    return [k / FINEST for k in found]


def level_of(length: float) -> int:
    """The level of a jump between two of such stops."""
    return (round(1 / length)).bit_length() - 1


@dataclass(frozen=True)
class Shortcut:
    """How jumps along a path are learned. interval: the times at which the flow's steps are guided.

    bound: of the data's numbers, None if they have none. No jump leads beyond it: as jumps learn from jumps, what is
    too far would soon be further.
    """

    path: Path
    guidance: float
    interval: tuple[float, float]
    bound: float | None = None

    def ends(self, x: Tensor, output: Tensor, here: Stop) -> tuple[Tensor, Tensor]:
        """The noise and the data that a jump is between: `Path.ends`, the data within the bound."""
        x_0, x_1 = self.path.ends(x, output, *here)
        if self.bound is None:
            return x_0, x_1
        x_1 = x_1.clamp(-self.bound, self.bound)
        return (x - here[0] * x_1) / here[1], x_1

    def step(self, x: Tensor, output: Tensor, here: Stop, there: Stop) -> Tensor:
        """Where a jump leads: both ends, mixed as they are `there`."""
        x_0, x_1 = self.ends(x, output, here)
        return there[0] * x_1 + there[1] * x_0

    def draw(self, t: Tensor, draws: Draws, done: float, most: float = SHARE) -> tuple[Tensor, Tensor, Tensor]:
        """Which items jump, when the share `done` of training is: their times, levels, whether they learn a jump.

        t: the times of the flow, shape (B,), which are kept where none is learned. most: share of the items that are
        told of one. Returns shapes (B,).
        """
        here, level, place = draws.uniform() < most, draws.uniform(), draws.uniform()
        # By the middle of the second phase, the longest jumps are learned, too.
        since = (done - BEGIN) / (1 - BEGIN)
        known = LEVELS if since < 0 else min(LEVELS, 1 + int(2 * since * LEVELS))
        level = LEVELS - 1 - (level * known).long().clamp(max=known - 1)
        learned = here & (since >= 0)
        length = torch.exp2(-level.float())
        t = torch.where(learned, (place / length).floor() * length, t)
        return t, torch.where(here, level, FLOW), learned

    @torch.no_grad()
    def target(self, predict: Predict, x: Tensor, t: Tensor, level: Tensor, c: dict[str, Tensor] | None) -> Tensor:
        """What the network should give at x for a jump from t: shape as of x. level: shape (B,)."""
        shortest = level == LEVELS - 1
        length = torch.exp2(-level.float())
        half = torch.where(shortest, length, length / 2)
        inner = torch.where(shortest, FLOW, level + 1)
        here, middle, there = (self._stop(s, x) for s in (t, t + half, t + length))
        first = self._guided(predict, x, t, inner, c)
        between = self.step(x, first, here, middle)
        second = self._guided(predict, between, t + half, inner, c)
        landed = self.step(between, second, middle, there)
        # Heun's rule for the shortest, but for the last of them, as the flow's own sampler does.
        (x_0, x_1), (y_0, y_1) = self.path.ends(x, first, *here), self.path.ends(between, second, *middle)
        heun = x + (there[0] - here[0]) * (x_1 + y_1) / 2 + (there[1] - here[1]) * (x_0 + y_0) / 2
        short = torch.where(_wide(t + length < 1, x), heun, between)
        return self.path.leading_to(x, torch.where(_wide(shortest, x), short, landed), here, there)

    def _guided(self, predict: Predict, x: Tensor, t: Tensor, level: Tensor, c: dict[str, Tensor] | None) -> Tensor:
        """What the network gives, guided where it is the flow's (Ho and Salimans, 2022)."""
        output = predict(x, t, telling(c, level))
        low, high = self.interval
        rows = ((level == FLOW) & (low <= t) & (t <= high)).nonzero()[:, 0]
        if not c or self.guidance == 1 or not len(rows):
            return output
        free = predict(x[rows], t[rows], None)  # which is read as a condition all of whose fields are missing
        output[rows] = torch.lerp(free, output[rows], self.guidance)
        return output

    def _stop(self, t: Tensor, like: Tensor) -> Stop:
        alpha, sigma = self.path.alpha_sigma(t)
        return _wide(alpha, like), _wide(sigma, like)


def _wide(scalars: Tensor, like: Tensor) -> Tensor:
    """Shape (B,) as (B, 1, ..., 1), to go with `like`."""
    return scalars.view(-1, *[1] * (like.dim() - 1))
