"""Train: reads the data at a path, trains a model, and writes a run folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from likewise import catalog
from likewise.backbones.pretrained import Pretrained
from likewise.config import spelled_out
from likewise.data.records import Records
from likewise.errors import Command, Message, Setting, UserError
from likewise.families.base import Model
from likewise.modalities.encoding import stored
from likewise.planning import budget, huggingface
from likewise.planning.plan import Plan, make_plan
from likewise.planning.split import records_again
from likewise.runs import locks
from likewise.runs.run import PRETRAINED, Run
from likewise.training import checkpoint, distributed, hardware, loop
from likewise.training.batches import Batches
from likewise.training.display import Display
from likewise.training.distributed import World
from likewise.training.learner import Learner, NonFinite, parameters
from likewise.training.loggers import require, tracker, values_of
from likewise.training.signals import Interrupted, Stop
from likewise.verbs.options import ModelOptions
from likewise.verbs.trained import TrainedRun
from likewise.version import __version__

#: largest number, and approximate bytes, of the real items of each split that are kept in the run for reports
_KEPT, _KEPT_BYTES = 4000, 2**28
_PREVIEWS = 16


@distributed.together()
def train(
    path: str | Path,
    *,
    out: str | Path | None = None,
    say: Callable[[str], None] | None = None,
    wording: Callable[[str], str] = str,
    **options: Unpack[ModelOptions],
) -> TrainedRun:
    """Train a model of the data at `path` and return its run, written to the folder `out` (default runs/NAME).

    options: see `ModelOptions`: as_, given, target, family, backbone, preset, unit, through, minutes, steps, seed,
    size, from_, lora, set_. Omitted options are inferred from the data, and shown before training begins. Classes of
    your own, given as objects, are registered in this process; `likewise.load` opens such a run later.

    say: receives progress messages; by default a live table in a terminal, lines elsewhere. wording: spells settings
    and commands in messages; as in Python by default.

    Raises ValueError with one line for wrong input, before anything is written.
    """
    folder = Path(out) if out else Path("runs") / Path(path).stem
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0" and (folder / "experiment.toml").is_file():
        return resume(folder, say, wording)  # torchrun repeats the same command after the loss of a process
    asked = options.get("set_") or {}
    world = _join(str(asked.get("training.device", "auto")), float(asked.get("training.wait_minutes", 10.0)))
    named = spelled_out(options)
    if world.first:
        try:
            run, train_part, held_out = _begin(Path(path), folder, world, named, _teller(say, wording))
        except BaseException as error:
            world.gather(str(error) or type(error).__name__)
            raise
        world.gather("")
    else:  # the first process reads the data and writes the run folder; the others open it
        if failed := world.gather("")[0]:
            raise ValueError(f"the first process could not begin: {failed}")
        run = TrainedRun(folder)
        train_part, held_out = records_again(run.experiment, run.encoding, run.conditions)
    with locks.training(run, world):
        _fit(run, train_part, held_out, False, _display(world, say, wording), world)
    return run


def _begin(
    path: Path, folder: Path, world: World, options: dict[str, Any], tell: Callable[[str], None]
) -> tuple[TrainedRun, Records, Records]:
    """Read the data, make and show the plan, and create the run folder."""
    if folder.exists() and not (
        folder.is_dir() and ((folder / "experiment.toml").is_file() or not any(folder.iterdir()))
    ):
        raise UserError(
            f"{folder}: already holds something that is not a run", fix=Message("give another ", Setting("out"))
        )
    size = options.pop("size", None)
    plan = make_plan(path, **options)
    if folder.is_dir() and any(folder.iterdir()):
        difference = _difference(Run(folder).experiment.to_dict(), plan.experiment.to_dict())
        raise UserError(
            f"{folder}: already holds a run ({difference})",
            fix=Message("give another ", Setting("out"), ", or go on with ", Setting("resume", folder)),
        )
    if not _writable(folder):
        raise UserError(f"{folder}: cannot be written to", fix=Message("give another ", Setting("out")))
    settings = plan.experiment.training
    hardware.choose_device(settings.device)
    distributed.check(world, settings.batch, settings.exact_elastic, settings.parallel)
    for name in settings.loggers:
        require(name)
    tell(plan.guess())
    plan = budget.fit_budget(plan, {**options, "size": size}, tell)
    _warn(plan, tell)
    # Written aside and renamed, so that a killed process never leaves a partial run folder.
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}.tmp")
    with locks.laying_out(folder.parent):
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(
                f"{folder}: another process has made a run of it meanwhile",
                fix=Message("give another ", Setting("out")),
            )
        shutil.rmtree(aside, ignore_errors=True)
        try:
            _lay_out(aside, plan)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        aside.rename(folder)
    return TrainedRun(folder), plan.train, plan.held_out


def _lay_out(aside: Path, plan: Plan) -> None:
    """Write the run folder as it is before the first step: plan, fitted state, reference data."""
    run = Run.create(aside, plan.experiment, plan.encoding, plan.conditions, plan.through)
    if plan.origin is not None:
        assert isinstance(plan.experiment.backbone, Pretrained)
        huggingface.keep(plan.origin, plan.experiment.backbone, aside / PRETRAINED.parent)
    records, arrays = plan.scan.records, stored(run.modality)
    size = (arrays.packed_bytes if arrays is not None else None) or 1
    for split, part in (("train", plan.train), ("held_out", plan.held_out)):
        # Random, as the first records of a folder of classes are all of one class.
        most = max(500, min(_KEPT, _KEPT_BYTES // size))
        chosen = np.random.default_rng(0).choice(len(part), min(most, len(part)), replace=False)
        kept = part.subset(np.sort(chosen))
        run.keep_reference(split, kept.columns[records.target], {k: kept.columns[k] for k in records.given})
    checkpoint.seal(aside)


@distributed.together()
def resume(
    path: str | Path, say: Callable[[str], None] | None = None, wording: Callable[[str], str] = str
) -> TrainedRun:
    """Resume an interrupted run; its final weights equal those of an uninterrupted run."""
    run = TrainedRun(Path(path))
    settings = run.experiment.training
    world = _join(settings.device, settings.wait_minutes)
    distributed.check(world, settings.batch, settings.exact_elastic, settings.parallel)
    train_part, held_out = records_again(run.experiment, run.encoding, run.conditions)
    with locks.training(run, world):
        _fit(run, train_part, held_out, True, _display(world, say, wording), world)
    return run


def _teller(say: Callable[[str], None] | None, wording: Callable[[str], str]) -> Callable[[str], None]:
    return lambda text: (say or (lambda line: print(line, flush=True)))(wording(text))


def _display(world: World, say: Callable[[str], None] | None, wording: Callable[[str], str]) -> Display:
    """The progress display; silent in all processes but the first."""
    return Display(say if world.first else lambda _: None, wording=wording)


def _join(device: str, minutes: float) -> World:
    """Join the processes that torchrun started, which all run the same command."""
    return distributed.join(hardware.choose_device(distributed.local_device(device)), minutes)


def _writable(folder: Path) -> bool:
    """Whether files can be created in the folder, or in its nearest existing parent."""
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    try:
        with tempfile.TemporaryDirectory(dir=there):  # permission bits do not show a read-only file system
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
    """Report notes, unreadable files and duplicates, if any."""
    scan = plan.scan
    for note in (*scan.notes, *plan.notes):
        tell(Message("note: ", note))
    if scan.broken:
        name, why = scan.broken[0]
        tell(f"note: {len(scan.broken)} unreadable files are left out, the first is {name}: {why}")
    if scan.duplicates:
        tell(f"note: {scan.duplicates:,} records repeat another; copies stay on one side of the split")


def _fit(run: Run, train_part: Records, held_out: Records, resume: bool, display: Display, world: World) -> None:
    settings = run.experiment.training
    # Rounding depends on the number of threads, which must be equal everywhere for exact elastic training.
    hardware.tune(settings.threads or (1 if settings.exact_elastic else None))
    device = run.device(settings.device)

    def batches(part: Records) -> Batches:
        return Batches(
            run.field_data(part.columns[part.target], windows=True),
            {k: run.field_data(part.columns[k], k) for k in run.conditions},
        )

    if run.autoencoder is not None and world.first:
        display.say(f"encoding {len(train_part) + len(held_out):,} items, once")
    train_batches = batches(train_part)
    held_batches = batches(held_out)
    untrained = run.untrained()
    count = parameters(untrained)
    learner = Learner(untrained, settings, device, world)
    digest = train_part.fingerprint()
    info = {"version": __version__, "device": str(device), "precision": learner.precision, "parameters": count}
    info |= {"fingerprint": digest, "train": len(train_part), "held_out": len(held_out), "processes": world.size}
    if others := catalog.others(run.experiment.parts()):
        info["parts"] = others
    if world.first:
        checkpoint.write_json(run.path / "run.json", info)
    with display, Stop() as stop:
        display.say(
            f"{_counted(train_batches, train_part)} to train on, {_counted(held_batches, held_out)} held out; "
            + _kept(untrained, len(train_batches), count)
            + f", {learner.precision} on {device}"
            + (f", {world.size} processes" if world.size > 1 else "")
        )
        watcher = _Tracked(display, [tracker(name, run.path) for name in settings.loggers if world.first])
        with _explained(run, train_batches, train_part, watcher, stop):
            done = loop.train(
                learner,
                loop.Splits(train_batches, held_batches, digest),
                run.path,
                watcher,
                resume=resume,
                preview=_previewer(run, world) if run.experiment.family.generates else _there_and_back(run, world),
                stop=stop,
                compare=(run.path / PRETRAINED).is_file(),
            )
    if world.first:
        checkpoint.write_json(run.path / "run.json", {**info, "seconds": round(done.seconds, 2), "steps": done.step})
        if not stop.code and run.experiment.family.generates:
            # samples to look at, which `likewise verify` draws again
            Run(run.path).sample(_PREVIEWS).save(run.path / "samples")
        if (first := _before(run)) is not None and done.best is not None:
            worse = (
                ("; it did not get better: try a smaller training.lr, or ", Setting("lora"))
                if done.best >= first
                else ()
            )
            watcher.say(Message(f"val loss: {first:.4f} before the first step, {done.best:.4f} at best after", *worse))
    watcher.say(f"{run.path}: {done.step} of {done.steps} steps in {done.seconds:.0f} s")
    if stop.code:
        watcher.say(Message("stopped; go on with: ", Command("resume", run.path)))
        raise SystemExit(stop.code)


@contextmanager
def _explained(run: Run, batches: Batches, records: Records, watcher: loop.Watcher, stop: Stop) -> Iterator[None]:
    """Turn errors that end training early into messages that say why, and how to continue."""
    try:
        yield
    except Interrupted:
        watcher.say(Message("stopped before the first step; begin again with: ", Command("resume", run.path)))
        raise SystemExit(stop.code) from None
    except NonFinite as bad:
        bad.items = batches.records(np.array(bad.items, np.int64)).tolist()
        raise ValueError(f"{run.path}: {bad}; {_advice(bad, records)}") from None
    except RuntimeError as error:
        if not stop.code or not distributed.lost(error):
            raise
        watcher.say(Message("stopped; another process was faster; go on with: ", Command("resume", run.path)))
        raise SystemExit(stop.code) from None


def _counted(batches: Batches, records: Records) -> str:
    """The number of items, and of texts if these are divided into windows."""
    windows = f" windows of {len(records):,} texts" if len(batches) != len(records) else ""
    return f"{len(batches):,}{windows}"


def _before(run: Run) -> float | None:
    """The validation loss before the first step; None if it was not measured."""
    return next((m["loss"] for m in run.metrics() if m["split"] == "val" and m["step"] == 0), None)


def _kept(model: Model, items: int, count: int) -> str:
    """A clause on the size of the model: its parameters, or the number of kept items if it has no network."""
    if model.players():
        return f"{count:,} parameters"
    part = "all of them are" if items <= model.observes else f"{model.observes:,} of them, drawn at random, are"
    return f"no network is trained: one pass, {part} kept"


def _advice(bad: NonFinite, records: Records) -> str:
    """The remedy for a loss that is not finite; names the items that cause it, if single items do."""
    if not bad.items:
        return (
            "no single item does this, so the weights do: try a smaller training.lr, training.precision=float32, or "
            "training.on_nonfinite=rollback"
        )
    named = [_name(records.columns[records.target][i], i) for i in bad.items[:4]]
    more = f" and {len(bad.items) - 4} more" if len(bad.items) > 4 else ""
    return f"it comes of {', '.join(named)}{more}: mend or remove it, or train with training.on_nonfinite=skip"


def _name(value: Any, index: int) -> str:
    return str(value) if isinstance(value, Path) else f"training record {index} ({str(value)[:60]!r})"


@dataclass(frozen=True)
class _Tracked:
    """The display and the loggers; both receive the metrics."""

    display: Display
    senders: list[Callable[[dict[str, float], int], None]]

    def line(self, line: dict[str, Any], /) -> None:
        self.display.line(line)
        for send in self.senders if line["split"] in ("train", "val") else ():
            send(values_of(line), line["step"])

    def say(self, message: str, /) -> None:
        self.display.say(message)


#: number of real items for comparison with previews
_BESIDE = 1000


def _previewer(run: Run, world: World) -> loop.Previewer:
    """Draws the same few samples with conditions of held-out items each time, and as many new ones to measure."""
    real: dict[str, np.ndarray] = {}
    size = _PREVIEWS

    def preview(model: Model, step: int) -> loop.Preview | None:
        nonlocal size
        given = run.reference_given("held_out", _PREVIEWS)
        while True:
            try:
                drawn = run.sample(len(given) or _PREVIEWS, seed=0, given=given or None, model=model, block=size)
                fresh = run.sample(_PREVIEWS, seed=1, start=step * _PREVIEWS, model=model, block=size)
                break
            except Exception as error:
                if size == 1 or not hardware.out_of_memory(error):
                    raise
                size //= 2  # a preview must not end training for lack of memory
        if not world.first:
            return None
        for split in ("train", "held_out") if not real else ():
            real[split] = run.modality.features(run.reference(split).values[:_BESIDE])
        path = _show(run, drawn.values, step)
        features = run.modality.features(fresh.values)
        return loop.Preview(str(path), features, real["train"], real["held_out"])

    return preview


def _there_and_back(run: Run, world: World) -> loop.Previewer:
    """Shows held-out items with their reconstructions, for families that do not generate; nothing is measured."""

    def preview(model: Model, step: int) -> loop.Preview | None:
        kept = run.reference("held_out")
        chosen = np.linspace(0, len(kept.values) - 1, _PREVIEWS).astype(int)  # the first may be of one class
        back = run.reconstruct(kept.x[chosen], model=model)[0]
        if not world.first:
            return None
        pairs = zip((kept.values[i] for i in chosen), back, strict=True)
        path = _show(run, [value for pair in pairs for value in pair], step)
        none = run.modality.features(back)[:0]
        return loop.Preview(str(path), none, none, none)

    return preview


def _show(run: Run, values: list[Any], step: int) -> Path:
    folder = run.path / "samples"
    folder.mkdir(exist_ok=True)
    picture = run.modality.sheet(values)
    if picture is not None:
        path = folder / f"preview-{step:07d}.png"
        path.write_bytes(picture)
        if (moving := run.modality.moving_sheet(values)) is not None:
            path.with_suffix(".gif").write_bytes(moving)
        return path
    path = folder / f"preview-{step:07d}.txt"
    path.write_text("\n".join(str(v) for v in values) + "\n", encoding="utf-8")
    return path
