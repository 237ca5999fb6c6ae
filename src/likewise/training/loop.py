"""The one training loop, for every family: take a batch, let each player step, watch, save.

Everything random in step k is a function of (seed, k) and everything carried from step to step is in the checkpoint,
so a run that was interrupted and resumed has bit for bit the weights of one that was not.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.draws import derive_seed
from likewise.families.base import Model
from likewise.training import checkpoint, time_budget
from likewise.training.async_checkpoint import Saver
from likewise.training.batches import Batches
from likewise.training.data_order import Order
from likewise.training.distributed import World
from likewise.training.learner import Learner, NonFinite, try_compile
from likewise.training.monitors import Alarm, Watch
from likewise.training.progress import Progress
from likewise.training.signals import Interrupted, Stop

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Preview:
    """Where a preview can be looked at, and features, each with shape (n, F), of what was drawn and of real items."""

    path: str
    drawn: Array
    train: Array
    held_out: Array


#: draws a preview with the model at a step; None where another process shows it
Previewer = Callable[[Model, int], Preview | None]


class Watcher(Protocol):
    """Who is told what happens; the display and the trackers are watchers."""

    def line(self, line: dict[str, Any], /) -> None:
        """One line of metrics.jsonl, as it is written."""

    def say(self, message: str, /) -> None:
        """A sentence for the user."""


def train(
    learner: Learner,
    train: Batches,
    held_out: Batches,
    folder: Path,
    watcher: Watcher,
    *,
    fingerprint: str,
    resume: bool = False,
    preview: Previewer | None = None,
    stop: Stop | None = None,
    compare: bool = False,
) -> Progress:
    """Train until the planned step, a stop, or no more progress, and leave checkpoints under `folder`/checkpoints.

    fingerprint: of the training data; a checkpoint made with other data is refused.
    preview: draws a preview and returns where it is. stop: asked after every step. compare: whether the held-out loss
    before the first step is of interest, as a pretrained model's is. Raises NonFinite as
    `training.on_nonfinite` says, and Interrupted if stopped before the first step.
    """
    settings, world, stop = learner.settings, learner.world, stop or Stop()
    seed = derive_seed(settings.seed, "order")
    order = Order(len(train), settings.batch, seed, train.lengths, once=learner.observing)
    where = folder / "checkpoints"
    progress, watch = Progress(), Watch()
    if resume:
        if world.first:
            checkpoint.recover(where)
        world.gather(None)
        progress = _resume(learner, where, fingerprint, watcher.say)
        # Without a checkpoint, what was written of the beginning is written again.
        watch.replay(_forget(folder / "metrics.jsonl", progress.step or -1, world))
    with stop.interruptible():
        if settings.compile and not learner.observing and (why := try_compile(learner, train, order)):
            # what was begun compiled and goes on without would not be the same run, but it is a run
            watcher.say(f"note: torch.compile does not work here, training without it ({why})")
    began, before = time.perf_counter(), progress.seconds
    if progress.steps == 0:
        if learner.observing:
            whole = order.batches(learner.model.observes)
            progress.steps = min(settings.steps or whole, whole)
        elif settings.steps:
            progress.steps = settings.steps
        else:
            with stop.interruptible():
                steps, _ = time_budget.plan_steps(learner, train, order, settings.minutes)
            progress.steps = -int(world.agree(-steps)[0])  # the slowest process's
        time_budget.rhythm(settings, progress)
        # What is counted is not fitted before it is asked for, and only the whole of it is of interest.
        if learner.observing and settings.evaluate_every is None:
            progress.evaluate_every = progress.steps
    log = (folder / "metrics.jsonl" if world.first else Path(os.devnull)).open("a", encoding="utf-8")
    last = 0.0  # seconds since this process began to train
    items = tokens = broken = 0
    sums: dict[str, Tensor] = {}
    summed = 0

    def write(line: dict[str, Any]) -> None:
        log.write(json.dumps(line) + "\n")
        log.flush()
        watcher.line(line)

    def alarm(alarms: list[Alarm]) -> None:
        for one in alarms:
            write(one.line())
            watcher.say(str(one))

    saver = Saver(where, settings.keep, world)

    def save() -> None:
        weights, rest = learner.tensors()
        state = {**vars(progress), "fingerprint": fingerprint, "world": {"processes": world.size}}
        saver.save(progress.step, weights, rest, state, progress.best_step)

    def acknowledge() -> None:
        for step in saver.written():
            write({"step": step, "steps": progress.steps, "seconds": round(progress.seconds, 3), "split": "checkpoint"})

    with log, _finished(saver, acknowledge):
        if compare and progress.step == 0 and (loss := learner.held_out(held_out)) is not None:
            line = {"step": 0, "steps": progress.steps, "seconds": 0.0, "split": "held_out"}
            write({**line, "loss": loss, "best": loss, "best_step": 0})
            watcher.say(f"held out before the first step: {loss:.4f}")
        while progress.step < progress.steps and not progress.stopped_early:
            step = progress.step
            indices = order.batch(step)
            train.ahead(order.ahead(step))
            try:
                terms = {} if step in progress.avoid else learner.step(train, indices, step, progress.steps)
            except NonFinite as bad:
                if settings.on_nonfinite == "stop" or len(progress.skipped) >= settings.nonfinite_limit:
                    if bad.clean:
                        save()  # the weights before the update: nothing is lost
                    raise
                saver.wait()
                progress, terms = _go_on(learner, bad, progress, where, fingerprint, write, watcher), {}
                if progress.step != step:
                    continue
            if learner.accumulate != (progress.accumulate or settings.accumulate):
                progress.accumulate = learner.accumulate
                watcher.say(f"note: out of memory at step {step}; going on with batches in {learner.accumulate} parts")
            progress.step += 1
            progress.items += len(indices)
            items += len(indices)
            summed += bool(terms)
            for name, value in terms.items():  # a line holds the mean since the line before: one batch is noise
                sums[name] = sums[name] + value if name in sums else value
            if train.lengths is not None:
                tokens += int(train.lengths[indices].sum())
            # All processes go by one clock, and stop at one step.
            stopping, now = world.agree(stop(), time.perf_counter() - began)
            progress.seconds = before + now
            done = progress.step >= progress.steps
            evaluating = done or progress.step % progress.evaluate_every == 0
            if now - last > 1.0 or evaluating:
                line = {"step": progress.step, "steps": progress.steps, "seconds": round(progress.seconds, 3)}
                line |= {"split": "train", **_mean(sums, summed, world)}
                line["items_per_second"] = round(items / max(now - last, 1e-9), 2)
                if tokens:
                    line["tokens_per_second"] = round(tokens / max(now - last, 1e-9), 1)
                write(line)
                alarm(watch.losses(progress.step, line))
                if len(train.broken()) > broken:
                    broken = len(train.broken())
                    first, why = next(iter(train.broken().items()))
                    watcher.say(f"note: {broken} unreadable so far, another item in their place; item {first}: {why}")
                items = tokens = summed = 0
                sums = {}
            if evaluating:
                loss = _watch_held_out(learner, held_out, progress, write)
                if loss is not None and progress.best is not None:
                    alarm(watch.held_out(progress.step, loss, progress.best))
                if (
                    preview is not None
                    and not stopping
                    and _preview_due(progress)
                    and (shown := _preview(learner, preview, progress.step, stop, watcher.say))
                ):
                    watcher.say(f"preview: {shown.path}")
                    alarm(watch.preview(progress.step, shown.drawn, shown.train, shown.held_out))
            stopping = stopping or world.agree(stop())[0] if evaluating else stopping
            improved = evaluating and progress.best_step == progress.step
            if done or stopping or progress.stopped_early or improved or progress.step % progress.save_every == 0:
                progress.seconds = before + time.perf_counter() - began
                save()
            acknowledge()
            if stopping:
                return progress
            if evaluating or now - last > 1.0:
                last = time.perf_counter() - began
                (last,) = world.agree(last)
            if settings.steps is None and not learner.observing:
                time_budget.replan(settings, progress)
    return progress


@contextmanager
def _finished(saver: Saver, acknowledge: Callable[[], None]) -> Iterator[None]:
    """However training ends, what was begun to be saved is saved."""
    try:
        yield
    except BaseException:
        with suppress(OSError):  # the error that ended training is the one to tell
            saver.wait()
        acknowledge()
        raise
    saver.wait()
    acknowledge()


def _preview_due(progress: Progress) -> bool:
    """At every fifth held-out loss and at the end: drawing costs time that learning could have."""
    return progress.step >= progress.steps or (progress.step // progress.evaluate_every) % 5 == 0


def _preview(learner: Learner, preview: Previewer, step: int, stop: Stop, say: Callable[[str], None]) -> Preview | None:
    """Sharded weights are gathered by all processes together; else one of them draws, and the others wait.

    A preview that fails, for want of memory for example, is told and is no reason to stop training.
    """
    if not (learner.world.first or learner.sharded):
        return None
    if learner.sharded:
        with learner.averaged() as model:
            return preview(model, step)
    with learner.averaged() as model:
        try:
            with stop.interruptible():
                return preview(model, step)
        except Interrupted:
            return None
        except Exception as error:
            say(f"note: no preview at step {step}: {type(error).__name__}: {str(error).splitlines()[0][:200]}")
            return None


def _mean(sums: dict[str, Tensor], count: int, world: World) -> dict[str, float]:
    """The mean loss terms since the last line, over all processes (each has its rows' part of them)."""
    names = sorted(sums)
    values = torch.tensor([float(sums[k]) / max(count, 1) for k in names], dtype=torch.float64)
    found = dict(zip(names, world.sums(values).tolist(), strict=True))
    return {k: found[k] for k in sums}


def _resume(learner: Learner, where: Path, fingerprint: str, say: Callable[[str], None]) -> Progress:
    """Put the newest checkpoint that verifies into the learner."""
    path, complaints = checkpoint.latest(where)
    for complaint in complaints:
        say(complaint)
    if path is None:
        say("no checkpoint yet: starting from the beginning")
        return Progress()
    weights, rest, state = checkpoint.load(path)
    if state.pop("fingerprint", fingerprint) != fingerprint:
        raise ValueError(f"{where.parent}: the data changed since this run began; train a new run, or restore the data")
    world = state.pop("world", {})
    settings = learner.settings
    now = {"processes": learner.world.size}
    if not settings.exact_elastic and world and world != now:
        say(
            f"note: trained by {world['processes']} processes until now, going on with {now['processes']}: "
            "the same run up to rounding; training.exact_elastic makes it the same bit for bit"
        )
    learner.restore(weights, rest)
    progress = Progress(**state)
    learner.accumulate = progress.accumulate or settings.accumulate
    say(f"resumed from step {progress.step}")
    return progress


def _forget(log: Path, step: int, world: World) -> list[dict[str, Any]]:
    """Drop the lines of steps that were lost with the process, and a half-written last one: they come again.

    Returns the lines that are kept.
    """
    if not world.first or not log.is_file():
        return []
    kept = []
    for text in log.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # cut off by the kill
            line = json.loads(text)
            kept += [line] if line["step"] <= step else []
    checkpoint.write_text(log, "".join(json.dumps(line) + "\n" for line in kept))
    return kept


def _go_on(
    learner: Learner,
    bad: NonFinite,
    progress: Progress,
    where: Path,
    fingerprint: str,
    write: Callable[[dict[str, Any]], None],
    watcher: Watcher,
) -> Progress:
    """After an update that would not have been finite: leave it out, or go back to the last checkpoint."""
    progress.skipped.append(bad.step)
    items = ", ".join(map(str, bad.items[:8]))
    write({"step": bad.step, "steps": progress.steps, "split": "nonfinite", "player": bad.player, "items": bad.items})
    if learner.settings.on_nonfinite == "rollback" and checkpoint.latest(where)[0] is not None:
        watcher.say(f"{bad}; going back to the last checkpoint, and leaving step {bad.step} out")
        back = _resume(learner, where, fingerprint, lambda _: None)
        back.skipped, back.avoid = progress.skipped, [*progress.avoid, bad.step]
        back.steps, back.seconds = progress.steps, progress.seconds
        return back
    watcher.say(f"{bad}; this update is left out" + (f" (training items {items})" if items else ""))
    return progress


def _watch_held_out(
    learner: Learner, held_out: Batches, progress: Progress, write: Callable[[dict[str, Any]], None]
) -> float | None:
    loss = learner.held_out(held_out)
    if loss is None:
        return None
    if progress.best is None or loss < progress.best:
        progress.best, progress.worse = loss, 0
        progress.best_step = None if learner.model.draws_last else progress.step
    else:
        progress.worse += 1
    settings, since = learner.settings, progress.step - (progress.best_step or 0)
    if settings.patience is not None and progress.worse >= settings.patience and not learner.model.draws_last:
        # Until steps that are far more than planned are seen to be so, held-out losses are taken far more often.
        usual = 0 if settings.evaluate_every else time_budget.how_often(progress.steps) / 2
        progress.stopped_early = since >= settings.patience * usual
    line = {"step": progress.step, "steps": progress.steps, "seconds": round(progress.seconds, 3)}
    write({**line, "split": "held_out", "loss": loss, "best": progress.best, "best_step": progress.best_step})
    return loss
