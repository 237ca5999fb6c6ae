"""The one training loop, for every family: take a batch, let each player step, watch, save.

Everything random in step k is a function of (seed, k) and everything carried from step to step is in the checkpoint,
so a run that was interrupted and resumed has bit for bit the weights of one that was not.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from likewise.config import Training
from likewise.draws import Draws, derive_seed
from likewise.families.base import Model
from likewise.training import checkpoint, machine, optimizers
from likewise.training.batches import Batches
from likewise.training.order import Order

#: until this share of the steps is done, a run that was given minutes corrects their number by the speed it sees
_REPLAN_UNTIL = 0.95
#: share of the minutes that is left for the last held-out loss, preview and checkpoint
_SPARE = 0.02
_HELD_OUT_ITEMS = 1024


class NonFinite(ArithmeticError):
    """A loss or gradient was not a number; the weights before that step are kept."""


class Watcher(Protocol):
    """Who is told what happens; the display and the trackers are watchers."""

    def line(self, line: dict[str, Any], /) -> None:
        """One line of metrics.jsonl, as it is written."""

    def say(self, message: str, /) -> None:
        """A sentence for the user."""


@dataclass
class Progress:
    """What a run carries from step to step beside weights and optimizers. All of it is in `state.json`."""

    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    items: int = 0
    best: float | None = None
    best_step: int | None = None
    worse: int = 0
    stopped_early: bool = False
    #: steps between held-out losses, and between checkpoints
    evaluate_every: int = 0
    save_every: int = 0
    #: (step, seconds, steps): when the number of steps was corrected, and to what
    replanned: list[tuple[int, float, int]] = field(default_factory=list)


class Learner:
    """A model, its optimizers and averaged weights: one optimizer step at a time."""

    def __init__(self, model: Model, settings: Training, device: torch.device) -> None:
        self.model = model.to(device)
        self.settings = settings
        self.device = device
        self.precision = machine.precision(settings.precision, device)
        if device.type == "cpu" or self.precision == "bfloat16":
            machine.to_channels_last(self.model)
        self.players = self.model.players()
        self.optimizers = {name: optimizers.build(player, settings) for name, player in self.players.items()}
        self.average: dict[str, Tensor] = {}
        if settings.ema:
            self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def step(self, batches: Batches, indices: np.ndarray, number: int, steps: int) -> dict[str, Tensor]:
        """One step of every player on the items `indices`. Returns the loss terms, detached."""
        settings, model = self.settings, self.model
        # Dropout draws from torch's global generator: it is set anew for every step, so that it needs no saving.
        machine.seed(derive_seed(settings.seed, "step", number) >> 1, self.device)
        if not model.training:
            model.train()
        model.set_progress(number, steps)
        factor = optimizers.schedule(settings, number, steps)
        seed = derive_seed(settings.seed, "noise", number)
        rows = np.arange(len(indices))
        parts = [p for p in np.array_split(rows, settings.accumulate) if len(p)]
        # Each player's turn draws its own noise, except that a family may keep what it drew in the turn before.
        taken = [self._take(batches, indices[part], part, number) for part in parts]
        terms: dict[str, Tensor] = {}
        for player, own in self.optimizers.items():
            for optimizer in own:
                optimizer.zero_grad(set_to_none=True)
            for part, (x, c) in zip(parts, taken, strict=True):
                draws = Draws(seed, torch.from_numpy(part), self.device)
                with machine.autocast(self.device, self.precision):
                    losses = model.loss(x, c, player, draws)
                share = len(part) / len(rows)
                total = sum(v for k, v in losses.items() if not k.startswith("_"))
                (total * share).backward()  # pyright: ignore[reportAttributeAccessIssue]
                for name, value in losses.items():
                    terms[name] = terms.get(name, 0) + value.detach() * share  # pyright: ignore
            self._check_and_update(player, own, factor, terms, number, indices)
        self._average(number)
        return terms

    def _take(
        self, batches: Batches, indices: np.ndarray, rows: np.ndarray, number: int
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        draws = Draws(derive_seed(self.settings.seed, "data", number), torch.from_numpy(rows))
        return batches.take(indices, draws, self.device)

    def _check_and_update(
        self,
        player: str,
        own: list[torch.optim.Optimizer],
        factor: float,
        terms: dict[str, Tensor],
        number: int,
        indices: np.ndarray,
    ) -> None:
        parameters = [p for o in own for g in o.param_groups for p in g["params"] if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(parameters, self.settings.clip or math.inf)
        if not torch.isfinite(norm):  # before the update: the weights stay what they were
            values = ", ".join(f"{k}={float(v):.4g}" for k, v in terms.items())
            where = ", ".join(map(str, indices[:8])) + (", ..." if len(indices) > 8 else "")
            raise NonFinite(
                f"step {number}: the gradient of {player} is not finite ({values}; training items {where}); "
                "try a smaller training.lr, or training.precision=float32"
            )
        optimizers.set_rate(own, factor)
        for optimizer in own:
            optimizer.step()

    @torch.no_grad()
    def _average(self, number: int) -> None:
        if not self.average:
            return
        decay = min(self.settings.ema, (1 + number) / (10 + number))
        now = self.model.state_dict()
        floats = [k for k, v in self.average.items() if v.is_floating_point()]
        torch._foreach_lerp_([self.average[k] for k in floats], [now[k] for k in floats], 1 - decay)
        for key, value in self.average.items():
            if not value.is_floating_point():
                value.copy_(now[key])

    @contextmanager
    def averaged(self) -> Iterator[Model]:
        """The model in evaluation mode, with the weights that sampling will use."""
        training = self.model.training
        raw = {k: v.detach().clone() for k, v in self.model.state_dict().items()} if self.average else None
        if self.average:
            self.model.load_state_dict(self.average)
        self.model.eval()
        try:
            yield self.model
        finally:
            if raw is not None:
                self.model.load_state_dict(raw)
            self.model.train(training)

    @torch.no_grad()
    def held_out(self, batches: Batches) -> float | None:
        """The held-out loss, with the same noise every time; None where the family has none."""
        total = weight = 0.0
        count, size = min(len(batches), _HELD_OUT_ITEMS), max(1, min(self.settings.batch, 64))
        if count == 0:
            return None
        items = np.arange(count)
        if batches.lengths is not None:
            items = items[np.argsort(batches.lengths[items], kind="stable")]
        with self.averaged() as model:
            for start in range(0, count, size):
                part = items[start : start + size]
                index = torch.from_numpy(part)
                draws = Draws(derive_seed(self.settings.seed, "held out data"), index)
                x, c = batches.take(part, draws, self.device)
                noise = Draws(derive_seed(self.settings.seed, "held out"), index, self.device)
                with machine.autocast(self.device, self.precision):
                    found = model.held_out(x, c, noise)
                if found is None:
                    return None
                total += float(found[0].double().sum())
                weight += float(found[1].double().sum())
        return total / max(weight, 1e-12)

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What a checkpoint holds: the weights that sample, and the rest."""
        raw = self.model.state_dict()
        rest = {f"raw/{k}": v for k, v in raw.items()} if self.average else {}
        for name, own in self.optimizers.items():
            state = optimizers.to_tensors(own, self.players[name])
            rest |= {f"optimizer/{name}/{k}": v for k, v in state.items()}
        return (self.average or raw), rest

    def restore(self, weights: dict[str, Tensor], rest: dict[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        if self.average:
            for key, value in self.average.items():
                value.copy_(weights[key])
            weights = {k.removeprefix("raw/"): v for k, v in rest.items() if k.startswith("raw/")}
        self.model.load_state_dict(weights)
        for name, own in self.optimizers.items():
            prefix = f"optimizer/{name}/"
            state = {k.removeprefix(prefix): v for k, v in rest.items() if k.startswith(prefix)}
            optimizers.from_tensors(own, self.players[name], state)


def try_compile(learner: Learner, batches: Batches, order: Order) -> str | None:
    """Compile the model's networks and take a real step, which is undone. Returns why it did not work, else None.

    A network that does not compile (one whose gradient is differentiated again, for example) trains as it is.
    """
    networks = list(learner.model.children())
    kept = [{k: v.detach().clone() for k, v in t.items()} for t in learner.tensors()]
    for network in networks:
        network.compile(dynamic=batches.lengths is not None)
    why = None
    try:
        learner.step(batches, order.batch(0), 0, 1000)
    except Exception as error:  # whatever the compiler stumbles over is no reason to fail
        why = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
        for network in networks:
            network._compiled_call_impl = None
    learner.optimizers = {k: optimizers.build(p, learner.settings) for k, p in learner.players.items()}
    learner.restore(kept[0], kept[1])
    return why


def plan_steps(learner: Learner, batches: Batches, order: Order, minutes: float) -> tuple[int, float]:
    """How many steps fit into `minutes` here, and the seconds one takes: measured by real steps, which are undone."""
    weights, rest = learner.tensors()
    kept = [{k: v.detach().clone() for k, v in t.items()} for t in (weights, rest)]
    seconds: list[float] = []
    budget = time.perf_counter() + min(20.0, 0.04 * 60 * minutes)
    while len(seconds) < 4 or (time.perf_counter() < budget and len(seconds) < 48):
        start = time.perf_counter()
        learner.step(batches, order.batch(len(seconds)), len(seconds), 1000)
        seconds.append(time.perf_counter() - start)
    learner.optimizers = {k: optimizers.build(p, learner.settings) for k, p in learner.players.items()}
    learner.restore(*kept)
    each = float(np.mean(sorted(seconds[2:])[: max(1, int(0.9 * len(seconds)))]))
    return max(1, int(60 * minutes * (1 - _SPARE) / each)), each


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
                _replan(settings, progress)
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


def _replan(settings: Training, progress: Progress) -> None:
    """Correct the number of steps by the speed seen since the last correction, so that the run ends on time.

    The correction is part of the checkpoint: a resumed run follows what was decided, not the clock. Small ones are left
    out, and the closer to the end, the smaller: the schedule of the learning rate moves with them.
    """
    if progress.step >= _REPLAN_UNTIL * progress.steps:
        return
    step, seconds = progress.replanned[-1][:2] if progress.replanned else (0, 0.0)
    each = (progress.seconds - seconds) / (progress.step - step)
    left = 60 * (settings.minutes) * (1 - _SPARE) - progress.seconds
    steps = max(progress.step + 1, progress.step + int(left / each))
    if abs(steps - progress.steps) > 0.02 * progress.steps:
        progress.replanned.append((progress.step, progress.seconds, steps))
        progress.steps = steps


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
