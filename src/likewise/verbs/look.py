"""Look, the preflight: describes the data and their faults, the plan of training, and its cost on this machine."""

from __future__ import annotations

import resource
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from likewise.config import spelled_out
from likewise.draws import derive_seed
from likewise.errors import Message, Setting, UserError, joined
from likewise.modalities.views import Viewed
from likewise.planning import budget
from likewise.planning.plan import Plan, make_plan
from likewise.quality import labels
from likewise.quality.assess import CHECKS, Quality, assess
from likewise.quality.support import Facts, Support, support
from likewise.report import look as page
from likewise.spaces import Tokens
from likewise.training import checkpoint, hardware
from likewise.training.data_order import Order
from likewise.training.learner import parameters
from likewise.training.time_budget import plan_steps
from likewise.verbs.options import ModelOptions
from likewise.version import __version__

#: seconds of trial steps for each size; short, as `train` measures again
_TRIAL = 1.0
#: growth of the number of different items as the data double: "much" from the first on, "little" below the second
_ADDS_MUCH, _ADDS_LITTLE = 1.5, 1.1


@dataclass(frozen=True)
class Look:
    """The results of the preflight; prints as lines.

    seconds: of all steps. memory: peak memory in bytes. checkpoint_bytes: upper bound for all checkpoints.
    """

    plan: Plan
    parameters: int
    seconds_per_step: float
    steps: int
    seconds: float
    memory: int
    checkpoint_bytes: int
    disk_free: int
    #: suspicious records and statistics; None if all records are equal
    quality: Quality | None
    support: Support
    #: number of items of an epoch: records, or windows if texts are long
    items: int
    #: the size chosen for the minutes, with the reason; empty if a size was given
    budget: str = ""

    def __str__(self) -> str:
        return self.message()

    def message(self) -> Message:
        """The summary, one fact per line."""
        scan, plan, experiment = self.plan.scan, self.plan, self.plan.experiment
        mib = 2**20
        lines = [
            plan.guess(),
            "",
            f"{scan.bytes / mib:,.1f} MiB; " + ", ".join(f"{n:,} x {kind}" for kind, n in scan.kinds.items()),
            f"{len(plan.train):,} to train on, {len(plan.held_out):,} held out by {experiment.data.split}",
            f"exact duplicates: {scan.duplicates:,}",
            f"unreadable: {len(scan.broken):,}",
        ]
        lines += [f"  {name}: {why}" for name, why in scan.broken[:5]]
        lines += [Message("note: ", note) for note in self.notes()]
        lines += ["", *self.findings()]
        batch = experiment.training.batch
        epochs = self.steps * batch / self.items
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
        lines += ["", self.support.paragraph(), Message("try: ", self.support.command)]
        return joined("\n", lines)

    def notes(self) -> list[str]:
        return [*self.plan.scan.notes, *self.plan.notes, *(self.quality.notes if self.quality else [])]

    def findings(self) -> list[str]:
        """The results of the data checks, one per line."""
        quality = self.quality
        if quality is None:
            return ["all records are equal: nothing to check"]
        namer = self._namer()
        lines = []
        for check, title in CHECKS.items():
            found = quality.of(check)
            if found:
                first = found[0]
                lines.append(f"{len(found):,} {title}; first {namer.name(first.record)}: {namer.reason(first)}")
        quiet = [title for check, title in CHECKS.items() if not quality.of(check)]
        if quiet:
            lines.append(f"none found: {', '.join(quiet)}")
        if uneven := [_balance(each.name, each.balance) for each in quality.labelled if each.balance.imbalanced]:
            lines.append(f"imbalanced, largest class over smallest: {_few(uneven)}")
        if rare := [f"{len(each.balance.rare):,} of {each.name}" for each in quality.labelled if each.balance.rare]:
            lines.append(f"rare classes, under {labels.FEWEST} items: {_few(rare)}")
        if unknowing := [each.name for each in quality.labelled if each.judged and not each.judged.knowing]:
            lines.append(f"labels not checked, as the rest of a record tells too little of them: {_few(unknowing)}")
        lines += [
            f"pairs not checked: {name} says too little of {self.plan.scan.records.target} to plain features"
            for name, matched in quality.matched.items()
            if not matched.knowing
        ]
        return [*lines, *_diversity(quality)]

    def to_json(self, wording: Callable[[str], str] = str) -> dict[str, Any]:
        """The content of look.json without the data checks; commands and settings are spelt by `wording`."""
        scan, plan, experiment = self.plan.scan, self.plan, self.plan.experiment
        return {
            "version": __version__,
            "path": str(scan.records.path),
            "name": scan.records.path.name,
            "layout": scan.records.layout,
            "records": scan.count,
            "bytes": scan.bytes,
            "kinds": scan.kinds,
            "unreadable": [{"item": name, "why": why} for name, why in scan.broken],
            "duplicates": scan.duplicates,
            "train": len(plan.train),
            "held_out": len(plan.held_out),
            "target": scan.records.target,
            "modality": plan.encoding.describe(),
            "encodings": plan.encodings,
            "given": list(scan.records.given),
            "family": getattr(experiment.family, "name", ""),
            "backbone": getattr(experiment.backbone, "name", ""),
            "parameters": self.parameters,
            "batch": experiment.training.batch,
            "steps": self.steps,
            "seconds_per_step": self.seconds_per_step,
            "support": {
                "rules": [{"sentence": s.sentence, "source": s.source} for s in self.support.advice],
                "command": wording(Message(self.support.command)),
            },
            "notes": [wording(note) for note in self.notes()],
        }

    def write(self, folder: str | Path, wording: Callable[[str], str] = str) -> None:
        """Write look.html, look.json and suspects.csv."""
        page.write(Path(folder), self.to_json(wording), self.findings(), self.quality, self._namer())

    def _namer(self) -> page.Namer:
        given = {name: encoding.modality for name, encoding in self.plan.conditions.items()}
        return page.Namer(self.plan.scan.records, self.plan.modality, given)


def _balance(name: str, found: labels.Balance) -> str:
    first, *_, last = found.counts.items()
    return f"{name} {found.ratio:,.0f} times ({first[0]!r} {first[1]:,}, {last[0]!r} {last[1]:,})"


def _few(names: list[str], most: int = 3) -> str:
    """The first names, so that the summary fits on a screen; the page lists all."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _diversity(quality: Quality) -> list[str]:
    curve, gain, nearer = quality.diversity.vendi, quality.diversity.gain, quality.diversity.nearer
    if gain is None:
        return []
    count, score = curve[-1]
    adds = "still adds much" if gain >= _ADDS_MUCH else "adds little" if gain < _ADDS_LITTLE else "adds some"
    line = f"diversity: {count:,} items count as {score:,.0f} different ones, half of them as {curve[-2][1]:,.0f}"
    if nearer is not None:
        line += f"; the last doubling brought the nearest item {max(0.0, nearer):.0%} nearer"
    return [f"{line}: twice the data {adds}"]


def look(
    path: str | Path,
    tell: Callable[[int, int], None] = lambda done, count: None,
    out: str | Path | None = None,
    wording: Callable[[str], str] = str,
    **options: Unpack[ModelOptions],
) -> Look:
    """Read and check the data, make the plan that `train` would follow (same options), and time a few real steps.

    tell: receives (files read, files in total). out: a folder for look.html, look.json and suspects.csv. wording:
    spells settings and commands in these files; as in Python by default. The data are not changed. Raises ValueError
    for wrong input, or if `out` is inside the data.
    """
    if out is not None and Path(path).is_dir() and Path(out).resolve().is_relative_to(Path(path).resolve()):
        raise UserError(
            f"{out}: is inside the data, which a look does not change",
            fix=Message("give ", Setting("out"), " a folder elsewhere"),
        )
    named = spelled_out(options)
    size = named.pop("size", None)
    plan = make_plan(path, tell=tell, **named)
    said: list[str] = []
    plan = budget.fit_budget(plan, {**named, "size": size}, said.append, trial=_TRIAL)
    settings = plan.experiment.training
    hardware.tune(settings.threads)
    learner, batches = budget.begin(plan)
    order = Order(len(batches), settings.batch, derive_seed(settings.seed, "order"), batches.lengths)
    steps, each = plan_steps(learner, batches, order, settings.minutes, _TRIAL)
    if learner.observing:  # the length of one pass is set by the data, not by the minutes
        steps = Order(len(plan.train), settings.batch, 0, once=True).batches(learner.model.observes)
        learner.step(batches, order.batch(0), 0, steps)
        steps = min(settings.steps or steps, steps)
    steps = steps if learner.observing else settings.steps or steps
    size = checkpoint.size(*learner.tensors())
    if learner.observing:  # the kept items grow with the data
        size = size * min(len(plan.train), learner.model.observes) // min(settings.batch, learner.model.observes)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    fields = {k: m for k, m in plan.conditions.items() if not isinstance(plan.train.columns[k], Viewed)}
    quality = assess(plan.scan, plan.modality, fields, settings.seed)
    space, items = plan.encoding.space, budget.items(plan, batches)
    facts = Facts(
        path=str(path), train=len(plan.train), held_out=len(plan.held_out),
        tokens=(space.mean_length or space.length) * items / len(plan.train) if isinstance(space, Tokens) else None,
        family=getattr(plan.experiment.family, "name", ""), parameters=parameters(learner.model),
        batch=settings.batch, steps=steps, quality=quality, augment=getattr(plan.experiment.family, "augment", "none"),
    )  # fmt: skip
    found = Look(
        plan, facts.parameters, each, steps, each * steps, peak, size * (settings.keep_checkpoints + 2),
        shutil.disk_usage(Path.cwd()).free, quality, support(facts), items, said[0] if said else "",
    )  # fmt: skip
    if out is not None:
        found.write(out, wording)
    return found
