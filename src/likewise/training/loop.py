"""The one training loop, for every family: take a batch, let each player step, watch, save.

Everything random in step k is a function of (seed, k) and everything carried from step to step is in the checkpoint,
so a run that was interrupted and resumed has bit for bit the weights of one that was not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from likewise.draws import derive_seed
from likewise.families.base import Model
from likewise.training import checkpoint
from likewise.training.batches import Batches
from likewise.training.learner import Learner, NonFinite, try_compile
from likewise.training.order import Order
from likewise.training.pace import plan_steps, replan
from likewise.training.progress import Progress


class Watcher(Protocol):
    """Who is told what happens; the display and the trackers are watchers."""

    def line(self, line: dict[str, Any], /) -> None:
        """One line of metrics.jsonl, as it is written."""

    def say(self, message: str, /) -> None:
        """A sentence for the user."""


def fit(
    learner: Learner,
    train: Batches,
    held_out: Batches,
    folder: Path,
    watcher: Watcher,
    *,
    fingerprint: str,
    resume: bool = False,
    preview: Callable[[Model, int], str | None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Progress:
    """Train until the planned step, a stop, or no more progress, and leave checkpoints under `folder`/checkpoints.

    fingerprint: of the training data; a checkpoint made with other data is refused.
    preview: draws a preview and returns where it is. stop: asked after every step.
    """
    settings = learner.settings
    order = Order(len(train), settings.batch, derive_seed(settings.seed, "order"), train.lengths)
    where = folder / "checkpoints"
    progress = Progress()
    if resume:
        path, complaints = checkpoint.latest(where)
        for complaint in complaints:
            watcher.say(complaint)
        if path is None:
            watcher.say("no checkpoint yet: starting from the beginning")
        else:
            weights, rest, state = checkpoint.load(path)
            if state.pop("fingerprint", fingerprint) != fingerprint:
                raise ValueError(
                    f"{folder}: the data changed since this run began; train a new run, or restore the data"
                )
            learner.restore(weights, rest)
            progress = Progress(**state)
            watcher.say(f"resumed from step {progress.step}")
    if settings.compile and (why := try_compile(learner, train, order)):
        # what was begun compiled and goes on without would not be the same run, but it is a run
        watcher.say(f"note: torch.compile does not work here, training without it ({why})")
    began, before = time.perf_counter(), progress.seconds
    if progress.steps == 0:
        if settings.steps:
            progress.steps = settings.steps
        else:
            progress.steps, _ = plan_steps(learner, train, order, settings.minutes)
        progress.evaluate_every = settings.evaluate_every or max(1, min(1000, progress.steps // 20))
        progress.save_every = settings.checkpoint_every or max(1, min(2000, progress.steps // 5))
    log = (folder / "metrics.jsonl").open("a", encoding="utf-8")
    last = time.perf_counter()
    items = tokens = 0
    sums: dict[str, Tensor] = {}
    summed = 0

    def write(line: dict[str, Any]) -> None:
        log.write(json.dumps(line) + "\n")
        log.flush()
        watcher.line(line)

    def save() -> None:
        weights, rest = learner.tensors()
        checkpoint.save(where, progress.step, weights, rest, {**vars(progress), "fingerprint": fingerprint})
        checkpoint.prune(where, settings.keep, progress.best_step)

    with log:
        while progress.step < progress.steps and not progress.stopped_early:
            step = progress.step
            indices = order.batch(step)
            try:
                terms = learner.step(train, indices, step, progress.steps)
            except NonFinite:
                save()  # the weights before the update: nothing is lost
                raise
            progress.step += 1
            progress.items += len(indices)
            items += len(indices)
            summed += 1
            for name, value in terms.items():  # a line holds the mean since the line before: one batch is noise
                sums[name] = sums[name] + value if name in sums else value
            if train.lengths is not None:
                tokens += int(train.lengths[indices].sum())
            now = time.perf_counter()
            progress.seconds = before + now - began
            done = progress.step >= progress.steps
            evaluating = done or progress.step % progress.evaluate_every == 0
            if now - last > 1.0 or evaluating:
                line = {"step": progress.step, "steps": progress.steps, "seconds": round(progress.seconds, 3)}
                line |= {"split": "train", **{k: float(v) / summed for k, v in sums.items()}}
                line["items_per_second"] = round(items / max(now - last, 1e-9), 2)
                if tokens:
                    line["tokens_per_second"] = round(tokens / max(now - last, 1e-9), 1)
                write(line)
                items = tokens = summed = 0
                sums = {}
            if evaluating:
                _watch_held_out(learner, held_out, progress, write)
                if (
                    preview is not None
                    and not stop()
                    and _preview_due(progress)
                    and (path_shown := _preview(learner, preview, progress.step))
                ):
                    watcher.say(f"preview: {path_shown}")
            stopping = stop()
            improved = evaluating and progress.best_step == progress.step
            if done or stopping or progress.stopped_early or improved or progress.step % progress.save_every == 0:
                progress.seconds = before + time.perf_counter() - began
                save()
            if stopping:
                return progress
            if evaluating or now - last > 1.0:
                last = time.perf_counter()
            if settings.steps is None and evaluating:
                replan(settings, progress)
    return progress


def _preview_due(progress: Progress) -> bool:
    """At every fifth held-out loss and at the end: drawing costs time that learning could have."""
    return progress.step >= progress.steps or (progress.step // progress.evaluate_every) % 5 == 0


def _preview(learner: Learner, preview: Callable[[Model, int], str | None], step: int) -> str | None:
    with learner.averaged() as model:
        return preview(model, step)


def _watch_held_out(
    learner: Learner, held_out: Batches, progress: Progress, write: Callable[[dict[str, Any]], None]
) -> None:
    loss = learner.held_out(held_out)
    if loss is None:
        return
    if progress.best is None or loss < progress.best:
        progress.best, progress.best_step, progress.worse = loss, progress.step, 0
    else:
        progress.worse += 1
    patience = learner.settings.patience
    progress.stopped_early = patience is not None and progress.worse >= patience
    line = {"step": progress.step, "steps": progress.steps, "seconds": round(progress.seconds, 3)}
    write({**line, "split": "held_out", "loss": loss, "best": progress.best, "best_step": progress.best_step})
