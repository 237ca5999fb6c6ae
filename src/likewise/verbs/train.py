"""Train: from a path to a run."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from likewise import catalog
from likewise.assemble import assemble, choose_encoding
from likewise.config import set_key, validate
from likewise.modalities.base import BadValue
from likewise.records import Records, read_records
from likewise.run import Run
from likewise.training import checkpoint, loop, machine
from likewise.training.batches import Batches
from likewise.version import __version__

#: what is tried first for a modality: (family, backbone)
GUESS = {"image": ("flow", "conv"), "text": ("autoregressive", "transformer"), "table": ("flow", "mlp")}
_BACKBONE = {("image", "autoregressive"): "transformer", ("table", "autoregressive"): "transformer"}
_TRAINING: dict[str, dict[str, Any]] = {
    "flow": {"lr": 2e-3, "batch": 64, "ema": 0.999, "patience": None},
    "vae": {"lr": 1e-3, "batch": 64},
    "gan": {"lr": 5e-4, "batch": 64, "ema": 0.995, "betas": [0.0, 0.99], "clip": 10.0},
    "autoregressive": {"lr": 2e-3, "batch": 32, "weight_decay": 0.1},
}
_KEPT = 4000


class Printer:
    """The plain display: one line a report."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._last = 0.0

    def say(self, message: str) -> None:
        self._say(message)

    def line(self, line: dict[str, Any]) -> None:
        if line["split"] == "held_out":
            self._say(
                f"step {line['step']}/{line['steps']}  held-out loss {line['loss']:.4f} (best {line['best']:.4f})"
            )
        elif time.monotonic() - self._last > 10:
            self._last = time.monotonic()
            keys = ("step", "steps", "seconds", "split", "items_per_second", "tokens_per_second")
            terms = " ".join(f"{k} {v:.4f}" for k, v in line.items() if k not in keys)
            left = (line["steps"] - line["step"]) * line["seconds"] / line["step"]
            rate = f"{line['items_per_second']:.0f} items/s"
            self._say(f"step {line['step']}/{line['steps']}  {terms}  {rate}  {left:.0f} s left")


def train(
    path: str | Path,
    *,
    out: str | Path | None = None,
    as_: str | None = None,
    given: Sequence[str] | None = None,
    target: str | None = None,
    family: str | None = None,
    backbone: str | None = None,
    unit: str | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    set_: dict[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> Run:
    """Train a model of what is at `path` and return its run. Raises ValueError of one line for bad input."""
    records = read_records(path, unit=unit, as_=as_, target=target, given=given)
    kind = records.modalities[records.target]
    modality_class = catalog.find("modality", kind)
    family = family or GUESS.get(kind, ("autoregressive", "transformer"))[0]
    backbone = backbone or _BACKBONE.get((kind, family)) or GUESS.get(kind, ("", "transformer"))[1]
    training = {**_TRAINING.get(family, {}), "seed": seed, "steps": steps, "minutes": minutes}
    plan: dict[str, Any] = {
        "data": {"path": str(path), "unit": unit},
        "target_field": records.target,
        "target": {"modality": kind},
        "condition": {k: {"modality": records.modalities[k]} for k in records.given},
        "family": {"name": family},
        "backbone": {"name": backbone},
        "training": training,
    }
    for key, value in (set_ or {}).items():
        set_key(plan, key, value)
    if training["steps"] is None and training["minutes"] is None:
        training["minutes"] = 5.0
    experiment = validate(plan)
    say(f"{path}: {records.layout}, {len(records):,} records; learning {records.target} ({kind})"
        + (f" given {', '.join(records.given)}" if records.given else "")
        + f" with {family} on {backbone}")  # fmt: skip
    for note in records.notes:
        say(note)
    rows, held = records.split(experiment.data.held_out, experiment.data.split)
    parts = {"train": records.subset(rows), "held_out": records.subset(held)}
    values = parts["train"].columns
    try:
        modality = modality_class.fit(values[records.target], experiment.target, seed)
        conditions = {
            k: catalog.find("modality", s.modality).fit(values[k], s, seed)  # pyright: ignore
            for k, s in experiment.condition.items()
        }
        encoding = choose_encoding(modality, experiment.family)
        spaces = {k: m.space(m.encodings[0]) for k, m in conditions.items()}
        assemble(modality.space(encoding), spaces, experiment.family, experiment.backbone)
    except BadValue as error:
        raise ValueError(f"{path}: {error}") from None
    experiment = experiment.model_copy(update={"encoding": encoding})
    run = Run.create(Path(out or Path("runs") / Path(path).stem), experiment, modality, encoding, conditions)
    for split, part in parts.items():
        kept = part.subset(range(min(len(part), _KEPT)))
        given_values = {k: kept.columns[k] for k in records.given}
        run.keep_reference(split, kept.columns[records.target], given_values)
    _fit(run, records, parts, resume=False, say=say)
    return run


def resume(path: str | Path, say: Callable[[str], None] = print) -> Run:
    """Go on with an interrupted run, as if it had not been interrupted."""
    run = Run(Path(path))
    data = run.experiment.data
    given = tuple(run.experiment.condition)
    target = run.experiment.target_field
    records = read_records(data.path, unit=data.unit, as_=run.modality.name, target=target, given=given)
    rows, held = records.split(data.held_out, data.split)
    _fit(run, records, {"train": records.subset(rows), "held_out": records.subset(held)}, resume=True, say=say)
    return run


def _fit(run: Run, records: Records, parts: dict[str, Records], resume: bool, say: Callable[[str], None]) -> None:
    settings = run.experiment.training
    machine.tune(settings.threads)
    device = machine.choose_device(settings.device)
    batches = {
        split: Batches(run.channel(p.columns[records.target]), {k: run.channel(p.columns[k], k) for k in records.given})
        for split, p in parts.items()
        if len(p)
    }
    if "held_out" not in batches:
        say("all records are equal: there is nothing to hold out")
        batches["held_out"] = batches["train"]
    learner = loop.Learner(run.untrained(), settings, device)
    count = loop.parameters(learner.model)
    say(f"{run.modality.describe()}; {len(batches['train']):,} to train on, {len(batches['held_out']):,} held out; "
        f"{count:,} parameters, {learner.precision} on {device}")  # fmt: skip
    digest = hashlib.sha256("".join(parts["train"].digests()).encode()).hexdigest()
    info = {"version": __version__, "device": str(device), "parameters": count, "fingerprint": digest}
    checkpoint.write_json(run.path / "run.json", info)
    with _stops() as stop:
        done = loop.fit(
            learner,
            batches["train"],
            batches["held_out"],
            run.path,
            Printer(say),
            fingerprint=digest,
            resume=resume,
            stop=stop,
        )
    checkpoint.write_json(run.path / "run.json", {**info, "seconds": done.seconds, "steps": done.step})
    say(f"{run.path}: step {done.step} of {done.steps}, {done.seconds:.0f} s")
    if stop():
        raise SystemExit(stop.code)  # pyright: ignore[reportFunctionMemberAccess]


@contextmanager
def _stops() -> Iterator[Any]:
    """The first SIGINT or SIGTERM asks the loop to save and stop; the second stops at once."""

    def stop() -> bool:
        return stop.code != 0  # pyright: ignore[reportFunctionMemberAccess]

    stop.code = 0  # pyright: ignore[reportFunctionMemberAccess]

    def ask(number: int, _: Any) -> None:
        if stop():
            raise SystemExit(128 + number)
        stop.code = 128 + number  # pyright: ignore[reportFunctionMemberAccess]

    try:
        old = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: whoever runs it handles signals
        yield stop
        return
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


__all__ = ["resume", "train"]
