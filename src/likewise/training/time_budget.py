"""The number of steps in the given minutes, measured before the first step and corrected while training."""

from __future__ import annotations

import time

import numpy as np

from likewise.config import Training
from likewise.training import optimizers
from likewise.training.batches import Batches
from likewise.training.data_order import Order
from likewise.training.learner import Learner
from likewise.training.progress import Progress

#: share of the minutes after which the number of steps is no longer corrected
_REPLAN_UNTIL = 0.975
#: share of the minutes reserved for the last evaluation, preview and checkpoint
_SPARE = 0.02


def plan_steps(
    learner: Learner, batches: Batches, order: Order, minutes: float, trial: float = 20.0
) -> tuple[int, float]:
    """The number of steps that fit into `minutes` on this machine, and the seconds per step; measured steps are undone.

    trial: time limit of the measurement in seconds; it takes at least four steps.
    """
    weights, rest = learner.tensors()
    kept = [{k: v.detach().clone() for k, v in t.items()} for t in (weights, rest)]
    seconds: list[float] = []
    budget = time.perf_counter() + min(trial, 0.04 * 60 * minutes)
    while len(seconds) < 4 or (time.perf_counter() < budget and len(seconds) < 48):
        start = time.perf_counter()
        learner.step(batches, order.batch(len(seconds)), len(seconds), 1000)
        seconds.append(time.perf_counter() - start)
    learner.optimizers = {k: optimizers.build(p, learner.settings) for k, p in learner.players.items()}
    learner.restore(*kept)
    each = float(np.mean(sorted(seconds[2:])[: max(1, int(0.9 * len(seconds)))]))
    return max(1, int(60 * minutes * (1 - _SPARE) / each)), each


def how_often(steps: int) -> int:
    """The default number of steps between evaluations."""
    return max(1, min(1000, steps // 20))


def rhythm(settings: Training, progress: Progress) -> None:
    """Set the intervals of evaluations and checkpoints from the settings or the current number of steps."""
    progress.evaluate_every = settings.evaluate_every or how_often(progress.steps)
    progress.save_every = settings.checkpoint_every or max(1, min(2000, progress.steps // 5))


def replan(settings: Training, progress: Progress) -> None:
    """Correct the number of steps by the recent speed, so that the run ends on time.

    Corrections are stored in checkpoints, so that a resumed run uses the same number of steps. Those of 1% or less are
    not made, because each changes the learning rate schedule.
    """
    planned = 60 * settings.minutes
    done = progress.seconds / planned
    step, seconds = progress.paced
    # Speed is measured over a tenth of the time or of the steps, including evaluations and previews; near the end,
    # over shorter windows.
    window = 0.1 if max(done, progress.step / progress.steps) < 0.8 else 0.03
    if progress.seconds - seconds < window * planned and progress.step - step < window * progress.steps:
        return
    if done > _REPLAN_UNTIL:
        return
    each = (progress.seconds - seconds) / max(1, progress.step - step)
    progress.paced = (progress.step, progress.seconds)
    left = planned * (1 - _SPARE) - progress.seconds
    steps = max(progress.step + 1, progress.step + int(left / each))
    if abs(steps - progress.steps) > 0.01 * progress.steps:
        progress.replanned.append((progress.step, progress.seconds, steps))
        progress.steps = steps
        rhythm(settings, progress)
