"""Look: the preflight. What the data are, what would be learned, and what it would cost here."""

from __future__ import annotations

import resource
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from likewise import budget
from likewise.draws import derive_seed
from likewise.plan import Plan, make_plan
from likewise.training import checkpoint, machine
from likewise.training.learner import parameters
from likewise.training.order import Order
from likewise.training.pace import plan_steps

#: items that the trial steps may use
_TRIED = 2048


@dataclass(frozen=True)
class Look:
    """What the preflight found; prints as lines."""

    plan: Plan
    parameters: int
    seconds_per_step: float
    steps: int
    seconds: float
    memory: int
    checkpoint_bytes: int
    disk_free: int
    #: the size chosen for the minutes, and why; empty where sizes were given
    budget: str = ""

    def __str__(self) -> str:
        scan, plan, experiment = self.plan.scan, self.plan, self.plan.experiment
        mib = 2**20
        lines = [
            plan.guess(),
            "",
            f"{scan.bytes / mib:,.1f} MiB; " + ", ".join(f"{n:,} x {kind}" for kind, n in scan.kinds.items()),
            f"{len(plan.train):,} to train on, {len(plan.held_out):,} held out by {experiment.data.split}",
            f"exact duplicates: {scan.duplicates:,}; near duplicates: {len(scan.near_duplicates):,}",
        ]
        lines += [f"  near: {a[:70]!r} and {b[:70]!r}" for a, b in scan.near_duplicates[:3]]
        lines.append(f"unreadable: {len(scan.broken):,}")
        lines += [f"  {name}: {why}" for name, why in scan.broken[:20]]
        lines += [f"note: {note}" for note in scan.notes]
        batch = experiment.training.batch
        epochs = self.steps * batch / max(1, len(plan.train))
        trained = f"{self.parameters:,} parameters" if plan.has_networks else "no network is trained: one pass"
        lines += [
            "",
            f"{trained}; a step of {batch} items takes {self.seconds_per_step * 1000:.0f} ms here "
            f"({batch / self.seconds_per_step:,.0f} items/s, measured)",
            f"{self.steps:,} steps in {self.seconds / 60:.1f} min: every item about {epochs:.1f} times",
            f"memory about {self.memory / mib:,.0f} MiB; checkpoints up to {self.checkpoint_bytes / mib:,.0f} MiB, "
            f"{self.disk_free / mib:,.0f} MiB free",
        ]
        if self.budget:
            lines.append(self.budget)
        if self.checkpoint_bytes > self.disk_free:
            lines.append("note: the disk has too little room for the checkpoints")
        return "\n".join(lines)


def look(path: str | Path, tell: Callable[[int, int], None] = lambda done, count: None, **options: Any) -> Look:
    """Read all of the data, settle the plan that `train` would follow (same options), and try a few real steps."""
    size = options.pop("size", None)
    plan = make_plan(path, tell=tell, **options)
    said: list[str] = []
    plan = budget.fit(plan, {**options, "size": size}, said.append)
    settings = plan.experiment.training
    machine.tune(settings.threads)
    learner, batches = budget.begin(plan)
    order = Order(len(batches), settings.batch, derive_seed(settings.seed, "order"), batches.lengths)
    steps, each = plan_steps(learner, batches, order, settings.minutes)
    if learner.observing:  # the data set how long a pass is, and not the minutes
        steps = Order(len(plan.train), settings.batch, 0, once=True).batches(learner.model.observes)
        learner.step(batches, order.batch(0), 0, steps)
        steps = min(settings.steps or steps, steps)
    steps = steps if learner.observing else settings.steps or steps
    size = checkpoint.size(*learner.tensors())
    if learner.observing:  # what is kept grows with the data
        size = size * min(len(plan.train), learner.model.observes) // min(settings.batch, learner.model.observes)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Look(
        plan, parameters(learner.model), each, steps, each * steps, peak, size * (settings.keep + 2),
        shutil.disk_usage(Path.cwd()).free, said[0] if said else "",
    )  # fmt: skip
