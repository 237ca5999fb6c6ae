"""Train: from a path to a run."""

from __future__ import annotations

import fcntl
import hashlib
import signal
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from likewise.display import Display
from likewise.families.base import Model
from likewise.plan import Plan, make_plan, records_again
from likewise.records import Records
from likewise.run import Run
from likewise.training import checkpoint, loop, machine
from likewise.training.batches import Batches
from likewise.training.learner import Learner, parameters
from likewise.training.track import require, tracker, values_of
from likewise.version import __version__

#: how many real items of each split are kept inside the run, for its reports
_KEPT = 4000
_PREVIEWS = 16


def train(
    path: str | Path,
    *,
    out: str | Path | None = None,
    as_: str | None = None,
    given: Sequence[str] | None = None,
    target: str | None = None,
    family: str | None = None,
    backbone: str | None = None,
    preset: str | None = None,
    unit: str | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int | None = None,
    set_: dict[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
) -> Run:
    """Train a model of what is at `path` and return its run, a folder `out` (default runs/NAME).

    Every argument that is left out is guessed from the data, and the guess is shown before it acts. given: names of
    the fields to condition on. set_: settings by dotted name, as in {"training.lr": 1e-3}. Raises ValueError of one
    line for bad input, before anything is written.
    """
    folder = Path(out) if out else Path("runs") / Path(path).stem
    if folder.exists() and not (
        folder.is_dir() and ((folder / "experiment.toml").is_file() or not any(folder.iterdir()))
    ):
        raise ValueError(f"{folder}: already holds something that is not a run; give another --out")
    plan = make_plan(
        path, as_=as_, given=given, target=target, family=family, backbone=backbone, preset=preset, unit=unit,
        minutes=minutes, steps=steps, seed=seed, set_=set_,
    )  # fmt: skip
    if folder.is_dir() and any(folder.iterdir()):
        difference = _difference(Run(folder).experiment.to_dict(), plan.experiment.to_dict())
        raise ValueError(
            f"{folder}: already holds a run ({difference}); give another --out, or go on with --resume {folder}"
        )
    if not _writable(folder):
        raise ValueError(f"{folder}: cannot be written to; give another --out")
    machine.choose_device(plan.experiment.training.device)
    for name in plan.experiment.training.track:
        require(name)
    tell = say or (lambda text: print(text, flush=True))
    tell(plan.guess())
    _warn(plan, tell)
    run = Run.create(folder, plan.experiment, plan.modality, plan.encoding, plan.conditions)
    records = plan.scan.records
    for split, part in (("train", plan.train), ("held_out", plan.held_out)):
        # Drawn from all of them: the first ones of a folder of classes are all of one class.
        chosen = np.random.default_rng(0).permutation(len(part))[:_KEPT]
        kept = part.subset(np.sort(chosen))
        run.keep_reference(split, kept.columns[records.target], {k: kept.columns[k] for k in records.given})
    _fit(run, plan.train, plan.held_out, resume=False, say=say)
    return run


def resume(path: str | Path, say: Callable[[str], None] | None = None) -> Run:
    """Go on with an interrupted run; its weights will be those of a run that was not interrupted."""
    run = Run(Path(path))
    train_part, held_out = records_again(run.experiment, run.modality, run.conditions)
    _fit(run, train_part, held_out, resume=True, say=say)
    return run


def _writable(folder: Path) -> bool:
    """Whether the folder, or the nearest of its parents that is there, takes new files."""
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    try:
        with tempfile.TemporaryDirectory(dir=there):  # permission bits do not tell: file systems refuse, too
            return True
    except OSError:
        return False


def _difference(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> str:
    """The first settings that differ, as "training.seed 0, now 1"."""
    found = []
    for key in dict.fromkeys([*old, *new]):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            inner = _difference(a, b, f"{prefix}{key}.")
            found += [] if inner == _SAME else [inner]
        elif a != b:
            found.append(f"{prefix}{key} {a}, now {b}")
    return "; ".join(found[:3]) or _SAME


_SAME = "of the same plan"


def _warn(plan: Plan, tell: Callable[[str], None]) -> None:
    """What the preflight found wrong; silent where all is well."""
    scan = plan.scan
    for note in (*scan.notes, *plan.modality.notes):
        tell(f"note: {note}")
    if scan.broken:
        name, why = scan.broken[0]
        tell(f"note: {len(scan.broken)} unreadable files are left out, the first is {name}: {why}")
    if scan.duplicates:
        tell(f"note: {scan.duplicates:,} records repeat another; copies stay on one side of the split")


def _fit(run: Run, train_part: Records, held_out: Records, resume: bool, say: Callable[[str], None] | None) -> None:
    lock = (run.path / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system drops it with the process, even by kill -9
    except OSError:
        raise ValueError(f"{run.path}: another process is training this run") from None
    settings = run.experiment.training
    machine.tune(settings.threads)
    device = machine.choose_device(settings.device)

    def batches(part: Records) -> Batches:
        return Batches(
            run.channel(part.columns[part.target]), {k: run.channel(part.columns[k], k) for k in run.conditions}
        )

    train_batches = batches(train_part)
    held_batches = batches(held_out)
    learner = Learner(run.untrained(), settings, device)
    count = parameters(learner.model)
    digest = hashlib.sha256("".join(train_part.digests()).encode()).hexdigest()
    info = {"version": __version__, "device": str(device), "precision": learner.precision, "parameters": count}
    info |= {"fingerprint": digest, "train": len(train_part), "held_out": len(held_out)}
    checkpoint.write_json(run.path / "run.json", info)
    with Display(say) as display, _Stop() as stop:
        display.say(
            f"{len(train_batches):,} to train on, {len(held_batches):,} held out; {count:,} parameters, "
            f"{learner.precision} on {device}"
        )
        watcher = _Tracked(display, [tracker(name, run.path) for name in settings.track])
        done = loop.fit(
            learner,
            train_batches,
            held_batches,
            run.path,
            watcher,
            fingerprint=digest,
            resume=resume,
            preview=_previewer(run, held_batches),
            stop=lambda: stop.code != 0,
        )
    checkpoint.write_json(run.path / "run.json", {**info, "seconds": round(done.seconds, 2), "steps": done.step})
    watcher.say(f"{run.path}: {done.step} of {done.steps} steps in {done.seconds:.0f} s")
    if stop.code:
        watcher.say(f"stopped; go on with: likewise train --resume {run.path}")
        raise SystemExit(stop.code)


@dataclass(frozen=True)
class _Tracked:
    """The display, and whoever else is told."""

    display: Display
    senders: list[Callable[[dict[str, float], int], None]]

    def line(self, line: dict[str, Any], /) -> None:
        self.display.line(line)
        for send in self.senders:
            send(values_of(line), line["step"])

    def say(self, message: str, /) -> None:
        self.display.say(message)


def _previewer(run: Run, held_out: Batches) -> Callable[[Model, int], str | None]:
    """Draws the same few samples, of the held-out items' conditions, every time."""

    def preview(model: Model, step: int) -> str:
        folder = run.path / "samples"
        folder.mkdir(exist_ok=True)
        given = run.reference_given("held_out", _PREVIEWS)
        drawn = run.sample(len(given) or _PREVIEWS, seed=0, given=given or None, model=model, block=_PREVIEWS)
        picture = run.modality.sheet(drawn.values)
        if picture is not None:
            path = folder / f"preview-{step:07d}.png"
            path.write_bytes(picture)
            return str(path)
        path = folder / f"preview-{step:07d}.txt"
        path.write_text("\n".join(str(v) for v in drawn.values) + "\n", encoding="utf-8")
        return str(path)

    return preview


class _Stop:
    """The first SIGINT or SIGTERM asks the loop to save and stop; the second stops at once."""

    def __init__(self) -> None:
        self.code = 0
        self._old: dict[int, Any] = {}

    def _ask(self, number: int, _: Any) -> None:
        if self.code:
            raise SystemExit(128 + number)
        self.code = 128 + number

    def __enter__(self) -> _Stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._old[number] = signal.signal(number, self._ask)
            except ValueError:  # not the main thread: signals are somebody else's
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
