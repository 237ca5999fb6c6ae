"""The training loop of all families: update each player on a batch, evaluate, monitor, save checkpoints.

All random numbers of step k are a function of (seed, k), and a checkpoint holds all state between steps. A run that was
interrupted and resumed therefore has the same weights, bit for bit, as an uninterrupted run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from likewise.draws import derive_seed
from likewise.families.base import Model
from likewise.training import checkpoint, time_budget
from likewise.training.async_checkpoint import Saver
from likewise.training.batches import Batches
from likewise.training.data_order import Order
from likewise.training.learner import Learner, NonFinite, try_compile
from likewise.training.metrics_log import Means, MetricsLog, Watcher, forget
from likewise.training.monitors import Watch
from likewise.training.progress import Progress
from likewise.training.signals import Interrupted, Stop

Array = NDArray[np.float64]
#: minimum number of seconds between two lines of the training loss
_LINE_SECONDS = 1.0


@dataclass(frozen=True)
class Splits:
    """The data of a run. fingerprint: a hash of the training data; resuming with other data is refused."""

    train: Batches
    held_out: Batches
    fingerprint: str


@dataclass(frozen=True)
class Preview:
    """The path of a preview, and features of its samples and of real items, each with shape (n, F)."""

    path: str
    drawn: Array
    train: Array
    held_out: Array


#: draws a preview with the model at a step; returns None in processes that do not show it
Previewer = Callable[[Model, int], Preview | None]


def train(
    learner: Learner,
    data: Splits,
    folder: Path,
    watcher: Watcher,
    *,
    resume: bool = False,
    preview: Previewer | None = None,
    stop: Stop | None = None,
    compare: bool = False,
) -> Progress:
    """Train until the last step, a signal or early stopping; checkpoints are written to `folder`/checkpoints.

    resume: continue from the newest checkpoint. preview: draws previews. stop: checked after every step. compare:
    whether to log the validation loss before the first step, for a pretrained model. Returns the final progress.
    Raises NonFinite depending on `training.on_nonfinite`, Interrupted if stopped before the first step, and ValueError
    if the data of a resumed run changed.
    """
    settings, world, stop = learner.settings, learner.world, stop or Stop()
    seed = derive_seed(settings.seed, "order")
    order = Order(len(data.train), settings.batch, seed, data.train.lengths, once=learner.observing)
    progress, watch = _begin(learner, folder, data.fingerprint, watcher, resume)
    _compile(learner, data.train, order, stop, watcher)
    began, before = time.perf_counter(), progress.seconds
    if progress.steps == 0:
        _plan_steps(learner, data.train, order, progress, stop)
    saver = Saver(folder / "checkpoints", settings.keep_checkpoints, world)
    log, means = MetricsLog(folder / "metrics.jsonl", world, watcher), Means(world)
    session = _Session(learner, data, saver, log, watch, preview, stop)
    last = 0.0  # time of the last line, in seconds since training started in this process
    with log, _finished(saver, lambda: log.saved(saver.written(), progress)):
        if compare and progress.step == 0:
            _loss_before(session, progress)
        while progress.step < progress.steps and not progress.stopped_early:
            step, indices = progress.step, order.batch(progress.step)
            data.train.ahead(order.ahead(step))
            progress, terms = _step(session, progress, indices)
            if progress.step != step:  # went back to a checkpoint
                continue
            progress.step += 1
            progress.items += len(indices)
            means.add(terms, len(indices), _tokens(data.train, indices))
            # All processes use the same clock and stop at the same step.
            stopping, now = world.agree(stop(), time.perf_counter() - began)
            progress.seconds = before + now
            evaluating = progress.step >= progress.steps or progress.step % progress.evaluate_every == 0
            reporting = now - last > _LINE_SECONDS or evaluating
            if reporting:
                _report(session, means.line(progress, now - last))
            if evaluating:
                _evaluate(session, progress, with_preview=not stopping)
                stopping = stopping or world.agree(stop())[0]
            if stopping or _save_due(progress, evaluating):
                progress.seconds = before + time.perf_counter() - began
                _save(session, progress)
            log.saved(saver.written(), progress)
            if stopping:
                return progress
            if reporting:
                (last,) = world.agree(time.perf_counter() - began)
            if settings.steps is None and not learner.observing:
                time_budget.replan(settings, progress)
    return progress


@dataclass(frozen=True)
class _Session:
    """The objects used at every step; they stay the same during training."""

    learner: Learner
    data: Splits
    saver: Saver
    log: MetricsLog
    watch: Watch
    preview: Previewer | None
    stop: Stop


def _begin(learner: Learner, folder: Path, fingerprint: str, watcher: Watcher, resume: bool) -> tuple[Progress, Watch]:
    """The progress and the monitor to start from; a resumed run restores both."""
    watch = Watch()
    if not resume:
        return Progress(), watch
    if learner.world.first:
        checkpoint.recover(folder / "checkpoints")
    learner.world.gather(None)
    progress = _resume(learner, folder / "checkpoints", fingerprint, watcher.say)
    # Without a checkpoint, all lines are dropped, including that of step 0, because training writes them again.
    watch.replay(forget(folder / "metrics.jsonl", progress.step or -1, learner.world))
    return progress, watch


def _compile(learner: Learner, train: Batches, order: Order, stop: Stop, watcher: Watcher) -> None:
    """Compile the networks if `training.compile` is set; a failure is reported, and training continues without it."""
    with stop.interruptible():
        if learner.settings.compile and not learner.observing and (why := try_compile(learner, train, order)):
            # a resumed run that can no longer compile differs by rounding from its first part
            watcher.say(f"note: torch.compile does not work here, training without it ({why})")


def _plan_steps(learner: Learner, train: Batches, order: Order, progress: Progress, stop: Stop) -> None:
    """Set the number of steps and the intervals of evaluation and checkpoints."""
    settings, world = learner.settings, learner.world
    if learner.observing:
        whole = order.batches(learner.model.observes)
        progress.steps = min(settings.steps or whole, whole)
    elif settings.steps:
        progress.steps = settings.steps
    else:
        with stop.interruptible():
            steps, _ = time_budget.plan_steps(learner, train, order, settings.minutes)
        progress.steps = -int(world.agree(-steps)[0])  # minimum over processes
    time_budget.rhythm(settings, progress)
    # A model that observes is fitted at its first use, and only the fit to all data is of interest.
    if learner.observing and settings.evaluate_every is None:
        progress.evaluate_every = progress.steps


def _loss_before(session: _Session, progress: Progress) -> None:
    """Log the validation loss before the first step."""
    loss = session.learner.held_out(session.data.held_out)
    if loss is None:
        return
    line = {"step": 0, "steps": progress.steps, "seconds": 0.0, "split": "val"}
    session.log.write({**line, "loss": loss, "best": loss, "best_step": 0})
    session.log.say(f"val loss before the first step: {loss:.4f}")


def _step(session: _Session, progress: Progress, indices: NDArray[np.int64]) -> tuple[Progress, dict[str, Tensor]]:
    """Update the weights on one batch. Returns the progress (of an earlier step after a rollback) and the loss terms.

    Raises NonFinite if the update is not finite and `training.on_nonfinite` is "stop", or if too many were skipped.
    """
    learner, step = session.learner, progress.step
    terms: dict[str, Tensor] = {}
    try:
        if step not in progress.avoid:
            terms = learner.step(session.data.train, indices, step, progress.steps)
    except NonFinite as bad:
        settings = learner.settings
        if settings.on_nonfinite == "stop" or len(progress.skipped) >= settings.nonfinite_limit:
            if bad.clean:
                _save(session, progress)  # the weights before the update
            raise
        session.saver.wait()
        progress = _go_on(session, bad, progress)
        if progress.step != step:
            return progress, {}
    if learner.accumulate != (progress.accumulate or learner.settings.accumulate):
        progress.accumulate = learner.accumulate
        session.log.say(f"note: out of memory at step {step}; going on with batches in {learner.accumulate} parts")
    return progress, terms


def _go_on(session: _Session, bad: NonFinite, progress: Progress) -> Progress:
    """Handle a non-finite update: skip it, or go back to the last checkpoint."""
    progress.skipped.append(bad.step)
    learner, log, where = session.learner, session.log, session.saver.folder
    log.write(
        {"step": bad.step, "steps": progress.steps, "split": "nonfinite", "player": bad.player, "items": bad.items}
    )
    if learner.settings.on_nonfinite == "rollback" and checkpoint.latest(where)[0] is not None:
        log.say(f"{bad}; going back to the last checkpoint, and leaving step {bad.step} out")
        back = _resume(learner, where, session.data.fingerprint, lambda _: None)
        back.skipped, back.avoid = progress.skipped, [*progress.avoid, bad.step]
        back.steps, back.seconds = progress.steps, progress.seconds
        return back
    items = ", ".join(map(str, bad.items[:8]))
    log.say(f"{bad}; this update is left out" + (f" (training items {items})" if items else ""))
    return progress


def _tokens(train: Batches, indices: NDArray[np.int64]) -> int:
    """The number of tokens of these items; 0 for items of fixed length."""
    return 0 if train.lengths is None else int(train.lengths[indices].sum())


def _report(session: _Session, line: dict[str, Any]) -> None:
    """Log a line of the training loss, alarms and unreadable items."""
    session.log.write(line)
    session.log.alarm(session.watch.losses(line["step"], line))
    session.log.broken(session.data.train.broken())


def _evaluate(session: _Session, progress: Progress, with_preview: bool) -> None:
    """Compute the validation loss, draw a preview if one is due, and report alarms of both."""
    log, watch = session.log, session.watch
    loss = _watch_held_out(session.learner, session.data.held_out, progress, log.write)
    if loss is not None and progress.best is not None:
        log.alarm(watch.held_out(progress.step, loss, progress.best))
    if session.preview is None or not with_preview or not _preview_due(progress):
        return
    shown = _preview(session.learner, session.preview, progress.step, session.stop, log.say)
    if shown is not None:
        log.say(f"preview: {shown.path}")
        log.alarm(watch.preview(progress.step, shown.drawn, shown.train, shown.held_out))


def _save_due(progress: Progress, evaluating: bool) -> bool:
    """Whether to save: at the end, at the best validation loss so far, and every `save_every` steps."""
    improved = evaluating and progress.best_step == progress.step
    ended = progress.step >= progress.steps or progress.stopped_early
    return ended or improved or progress.step % progress.save_every == 0


def _save(session: _Session, progress: Progress) -> None:
    weights, rest = session.learner.tensors()
    world = {"processes": session.learner.world.size}
    state = {**vars(progress), "fingerprint": session.data.fingerprint, "world": world}
    session.saver.save(progress.step, weights, rest, state, progress.best_step)


@contextmanager
def _finished(saver: Saver, acknowledge: Callable[[], None]) -> Iterator[None]:
    """Wait for an unfinished checkpoint when training ends, also after an error."""
    try:
        yield
    except BaseException:
        with suppress(OSError):  # the error that ended training takes precedence
            saver.wait()
        acknowledge()
        raise
    saver.wait()
    acknowledge()


def _preview_due(progress: Progress) -> bool:
    """Whether to draw a preview: at every fifth evaluation and at the end, as sampling takes time from training."""
    return progress.step >= progress.steps or (progress.step // progress.evaluate_every) % 5 == 0


def _preview(learner: Learner, preview: Previewer, step: int, stop: Stop, say: Callable[[str], None]) -> Preview | None:
    """Draw a preview in the first process; with sharded weights in all, because gathering involves every process.

    A preview that fails, for example because memory runs out, is reported, and training continues.
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


def _resume(learner: Learner, where: Path, fingerprint: str, say: Callable[[str], None]) -> Progress:
    """Restore the newest checkpoint that verifies. Raises ValueError if the training data changed."""
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
        # The number of steps may be far too low before it is corrected, and evaluations then come far too often:
        # patience counts only after the usual number of steps.
        usual = 0 if settings.evaluate_every else time_budget.how_often(progress.steps) / 2
        progress.stopped_early = since >= settings.patience * usual
    line = {"step": progress.step, "steps": progress.steps, "seconds": round(progress.seconds, 3)}
    write({**line, "split": "val", "loss": loss, "best": progress.best, "best_step": progress.best_step})
    return loss
