"""Builds a plan from a path: the data, the target, the model and the training. The user can override every choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import torch

from likewise.assemble import assemble
from likewise.backbones.pretrained import Pretrained
from likewise.config import Experiment, Training
from likewise.data.records import Records
from likewise.errors import Message, Setting, joined
from likewise.families.base import Family, Model
from likewise.modalities import views
from likewise.modalities.base import BadValue, Modality
from likewise.modalities.encoding import Encoding
from likewise.planning import encodings
from likewise.planning.choices import choose, read_fields, settle
from likewise.planning.fields import fit_fields
from likewise.planning.request import PlanOptions, Request, read_request
from likewise.planning.split import representable
from likewise.quality.scan import Scan, scan
from likewise.runs.run import Run
from likewise.spaces import Space, Tokens

#: maximum batch size where it follows from `training.tokens`
_MOST_ITEMS = 512


@dataclass(frozen=True)
class Plan:
    """All decisions before the first step: settings, data, encodings."""

    experiment: Experiment
    scan: Scan
    train: Records
    held_out: Records
    #: the encoding of the target, and of each condition by field
    encoding: Encoding
    conditions: dict[str, Encoding]
    preset: str
    #: folder of the pretrained model; None without one
    origin: Path | None = None
    #: the autoencoder whose latents are learned; None if the items themselves are
    through: Run | None = None

    def untrained(self) -> Model:
        spaces = {name: encoding.space for name, encoding in self.conditions.items()}
        return assemble(self.encoding.space, spaces, self.experiment.family, self.experiment.backbone)

    @property
    def modality(self) -> Modality:
        """The modality of the target."""
        return self.encoding.modality

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user on how the target is read and encoded."""
        return (*self.modality.notes, *self.encoding.notes)

    @property
    def encodings(self) -> dict[str, str]:
        """The name of the encoding of each field, the target first."""
        fields = {self.scan.records.target: self.encoding, **self.conditions}
        return {field: encoding.name for field, encoding in fields.items()}

    @property
    def has_networks(self) -> bool:
        return self.experiment.family.has_networks

    def guess(self) -> Message:
        """A summary of the plan for the user: each choice, and the setting that changes it."""
        records, experiment = self.scan.records, self.experiment
        fields = ", ".join(f"{name} as {self.conditions[name].name}" for name in records.given)
        given = (", given ", fields, " (", Setting("given"), ", ", Setting("condition.FIELD.encoding"), ")")
        backbone = (" on ", _changed_by(getattr(experiment.backbone, "name", ""), "backbone"))
        lines = [
            f"{records.path}: {records.layout}, {self.scan.count:,} records",
            Message(
                "learning ", _changed_by(records.target, "target"), " as ", _changed_by(self.modality.name, "as_"),
                f": {self.encoding.describe()}",
                *((" of ", _changed_by(self.through.path, "through")) if self.through else ()),
                ", as ", _changed_by(self.encoding.name, "target.encoding"),
                *(given if fields else ()),
            ),
            Message(
                "with ", _changed_by(getattr(experiment.family, "name", ""), "family"),
                *(backbone if self.has_networks else (", no network",)),
                f", preset {self.preset} (", Setting("preset"), ", ", Setting("set_", "KEY=VALUE"), ")",
            ),
        ]  # fmt: skip
        return joined("\n", [*lines, self._begins()] if self.origin else lines)

    def _begins(self) -> Message:
        """A summary of training from a pretrained model: the trained weights, optimizer and learning rate."""
        sizes, training = self.experiment.backbone, self.experiment.training
        assert isinstance(sizes, Pretrained)
        lora = Message("frozen, with updates of rank ", _changed_by(sizes.lora, "lora"))
        return Message(
            "starting from ", _changed_by(self.origin, "from_"),
            f", {sizes.kind}, {sizes.depth} blocks of {sizes.width}: ",
            "all weights learn" if sizes.lora is None else lora,
            f", {training.optimizer} at lr {training.lr:g}",
        )  # fmt: skip


def _changed_by(value: object, setting: str) -> Message:
    """A chosen value, with the setting that changes it in brackets."""
    return Message(f"{value} (", Setting(setting), ")")


def make_plan(
    path: str | Path, *, tell: Callable[[int, int], None] = lambda done, count: None, **options: Unpack[PlanOptions]
) -> Plan:
    """Read the data and make all decisions before the first step.

    tell: receives the number of files read so far, and of all files. Raises ValueError if the data, options and
    settings do not fit together.
    """
    request = read_request(path, options)
    records = read_fields(request)
    choice = choose(request, records.modalities[records.target])
    experiment = settle(request, records, choice)
    parts = _fit_and_split(request, experiment, scan(records, tell))
    plan = Plan(
        _fitted(request, experiment, parts), parts.scan, parts.train, parts.held_out, parts.encoding, parts.conditions,
        choice.preset, request.origin, request.autoencoder,
    )  # fmt: skip
    with torch.device("meta") if request.origin else nullcontext():  # a pretrained model may be large
        plan.untrained()  # raises for parts that do not fit together; the model is not used
    return plan


@dataclass(frozen=True)
class _Parts:
    """The records of each split, and the encodings fitted to the training records."""

    scan: Scan
    train: Records
    held_out: Records
    encoding: Encoding
    conditions: dict[str, Encoding]


def _fit_and_split(request: Request, experiment: Experiment, scanned: Scan) -> _Parts:
    """Divide the records, fit the encodings to the training records, and add to the notes of the scan."""
    rows, held = scanned.records.split(experiment.data.val_fraction, experiment.data.split)
    train = scanned.records.subset(rows)
    try:
        encoding, conditions, said = fit_fields(train, experiment, request.autoencoder)
    except BadValue as error:
        raise ValueError(f"{request.path}: {error}") from None
    scanned.notes.extend(said)
    scanned = replace(scanned, records=views.add(scanned.records, encoding.modality))
    train = views.add(train, encoding.modality)
    held_out, said = representable(scanned.records.subset(held), encoding, conditions)
    scanned.notes.extend(said)
    if not len(held_out):
        held_out = train
        scanned.notes.append("too few different records to hold any out: held-out figures are of the training data")
    return _Parts(scanned, train, held_out, encoding, conditions)


def _fitted(request: Request, experiment: Experiment, parts: _Parts) -> Experiment:
    """The experiment with settings that depend on the fitted encodings: their names, the batch size, the family's."""
    space = parts.encoding.space
    training = _by_tokens(experiment.training, space, request.states_batch)
    family, said = _settled(experiment.family, space, parts.conditions, len(parts.train))
    parts.scan.notes.extend(said)
    named = encodings.named(experiment, parts.encoding, parts.conditions)
    return named.model_copy(update={"training": training, "family": family})


def _settled(family: Family, target: Space, conditions: Mapping[str, Encoding], items: int) -> tuple[Family, list[str]]:
    """The family with its settings that depend on the data decided, and notes on these choices."""
    settled = family.settled(target, {name: encoding.space for name, encoding in conditions.items()}, items)
    before, after = family.model_dump(), settled.model_dump()
    chosen = [key for key in after if after[key] != before[key] and after[key] not in (False, "none")]
    return settled, [
        Message(
            f"family.{key} = {str(after[key]).lower()}, chosen for these {items:,} items (",
            Setting(f"family.{key}"),
            ")",
        )
        for key in chosen
    ]


def _by_tokens(training: Training, space: Space, stated: bool) -> Training:
    """Convert `training.tokens` to `training.batch`, unless the user `stated` the latter."""
    if training.tokens is None:
        return training
    batch = training.batch
    if isinstance(space, Tokens) and not stated:
        batch = int(min(max(8, round(training.tokens / (space.mean_length or space.length) / 8) * 8), _MOST_ITEMS))
    return training.model_copy(update={"batch": batch, "tokens": None})
