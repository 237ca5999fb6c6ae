"""From a path to a plan: what the data are, what is learned from them and how; every guess shown and overridable.

The defaults of a kind of model are presets, `presets/MODALITY-FAMILY.toml`; a more special one that also names the
backbone, `presets/MODALITY-FAMILY-BACKBONE.toml`, is laid over it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from likewise import catalog
from likewise.assemble import assemble, choose_encoding
from likewise.backbones.pretrained import Pretrained
from likewise.config import Data, Experiment, Training, read_toml, set_key, validate
from likewise.data.layouts import read_records
from likewise.data.records import Records
from likewise.families.base import Family, Model
from likewise.modalities import views
from likewise.modalities.base import BadValue, Encoding, Modality
from likewise.modalities.latents import Latents
from likewise.planning import huggingface
from likewise.planning.autoencoder import autoencoder, backbone_over, inherited
from likewise.quality.scan import Scan, scan
from likewise.runs.run import Run
from likewise.spaces import Space, Tokens

#: which family is tried first for a modality
_FAMILY = {
    "image": "flow",
    "video": "flow",
    "text": "autoregressive",
    "dialogue": "autoregressive",
    "table": "flow",
    "label": "autoregressive",
    "palette": "flow",
}
#: held-out records of which it is asked whether what they are given is known
_MOST_TRIED = 100_000
#: captions below which a hint is given that their meaning can be had from elsewhere
_FEW_CAPTIONS = 20_000
#: items of one batch, at most, where they are chosen by their tokens
_MOST_ITEMS = 512
_PRESETS = files("likewise") / "presets"


@dataclass(frozen=True)
class Plan:
    """Everything that is settled before the first step."""

    experiment: Experiment
    scan: Scan
    train: Records
    held_out: Records
    modality: Modality
    conditions: dict[str, Modality]
    encoding: Encoding
    preset: str
    #: the folder of the model that training starts from; None if from nothing
    origin: Path | None = None
    #: the autoencoder whose latents are learned; None if the items themselves are
    through: Run | None = None

    def untrained(self) -> Model:
        spaces = {k: m.space(m.encodings[0]) for k, m in self.conditions.items()}
        target = self.modality.space(self.encoding)
        return assemble(target, spaces, self.experiment.family, self.experiment.backbone)

    @property
    def has_networks(self) -> bool:
        return self.experiment.family.has_networks

    def guess(self) -> str:
        """What will be learned and how, and what changes each of these."""
        records, experiment = self.scan.records, self.experiment
        given = f" given {', '.join(records.given)} (--given)" if records.given else ""
        origin = f"\n{self._begins()}" if self.origin else ""
        return (
            f"{records.path}: {records.layout}, {self.scan.count:,} records\n"
            f"learning {records.target} (--target) as {self.modality.name} (--as): {self.modality.describe()}"
            + (f" of {self.through.path} (--through)" if self.through else "")
            + f"{given}\n"
            f"with {getattr(experiment.family, 'name', '')} (--family)"
            + (f" on {getattr(experiment.backbone, 'name', '')} (--backbone)" if self.has_networks else ", no network")
            + f", preset {self.preset} (--preset, --set key=value)"
            + origin
        )

    def _begins(self) -> str:
        """What is learned of the pretrained model, and how fast."""
        sizes, training = self.experiment.backbone, self.experiment.training
        assert isinstance(sizes, Pretrained)
        what = "all weights learn" if sizes.lora is None else f"frozen, with updates of rank {sizes.lora} (--lora)"
        return (
            f"starting from {self.origin} (--from), {sizes.kind}, {sizes.depth} blocks of {sizes.width}: {what}, "
            f"{training.optimizer} at lr {training.lr:g}"
        )


def preset_names() -> list[str]:
    return sorted(p.name.removesuffix(".toml") for p in _PRESETS.iterdir() if p.name.endswith(".toml"))


def _preset(name: str) -> dict[str, Any]:
    """A shipped preset by name, or a user's own by path."""
    if name.endswith(".toml"):
        return read_toml(Path(name))
    if name not in preset_names():
        raise ValueError(f"no preset {name!r}; there are {', '.join(preset_names())}, or give a .toml file")
    return read_toml(Path(str(_PRESETS / f"{name}.toml")))


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(below)
    for key, value in above.items():
        out[key] = _merge(out[key], value) if isinstance(value, Mapping) and isinstance(out.get(key), dict) else value
    return out


def make_plan(
    path: str | Path,
    *,
    as_: str | None = None,
    given: Sequence[str] | None = None,
    target: str | None = None,
    family: str | None = None,
    backbone: str | None = None,
    preset: str | None = None,
    unit: str | None = None,
    through: str | Path | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int | None = None,
    from_: str | Path | None = None,
    lora: int | None = None,
    set_: Mapping[str, Any] | None = None,
    tell: Callable[[int, int], None] = lambda done, count: None,
) -> Plan:
    """Read the data and settle everything. Raises ValueError of one line for anything that cannot be.

    from_: the folder of a pretrained model that training starts from. lora: rank of the updates that are learned then.
    """
    origin = Path(from_).resolve() if from_ is not None else None
    if origin is None and lora is not None:
        raise ValueError("--lora: it is of a pretrained model; give its folder too, --from DIR")
    if origin is not None and through is not None:
        raise ValueError("--through: latents are no text, which a pretrained model writes; leave out --from")
    if lora is not None and lora < 1:
        raise ValueError(f"--lora {lora}: a rank is at least 1")
    asked = _preset(preset) if preset else {}
    encoder = autoencoder(Path(through)) if through else None
    own: dict[str, Any] = {}
    for key, value in (set_ or {}).items():
        set_key(own, key, value)
    timing = {k: v for k, v in (("minutes", minutes), ("steps", steps), ("seed", seed)) if v is not None}
    _early(asked, _merge({"training": timing}, own))
    taken = inherited(encoder, as_, own) if encoder else {}
    data = {**taken.get("data", {}), **asked.get("data", {}), **own.get("data", {})}
    given = given if given is not None else ([*asked["condition"]] if "condition" in asked else None)
    family = family or own.get("family", {}).get("name") or asked.get("family", {}).get("name")
    if given is None and family is not None and not catalog.find("family", family).generates:
        given = []  # what only makes codes of items is given nothing else
    as_ = as_ or taken.get("target", asked.get("target", {})).get("modality")
    target = target or taken.get("target_field")
    try:
        records = read_records(
            path, unit=unit or data.get("unit"), as_=as_, target=target, given=given,
            memory=data.get("memory", Data().memory), views=views.kinds,
        )  # fmt: skip
    except ValueError as error:
        if encoder is None:
            raise
        raise ValueError(f"{error} (read as for --through {encoder.path}, which was trained on {as_})") from None
    records = _read_as(records, _merge(asked, own).get("condition", {}))
    kind = records.modalities[records.target]
    if catalog.find("modality", kind).condition_only:
        raise ValueError(f"--as {kind}: it is only read, and cannot be made; give another modality")
    start: dict[str, Any] = {}
    if origin is not None:
        start = huggingface.settings(origin, lora or own.get("backbone", {}).get("lora"))
    seen = encoder.as_autoencoder() if encoder else None
    family = family or own.get("family", {}).get("name") or asked.get("family", {}).get("name")
    family = family or (("autoregressive" if seen.codes else "flow") if seen else _FAMILY[kind])
    if own.get("family", {}).get("few_step") and "few_step" not in catalog.find("family", family).model_fields:
        raise ValueError(f"--few-step: {family} takes no steps from noise to data that could be fewer; flow does")
    backbone = backbone or own.get("backbone", {}).get("name") or asked.get("backbone", {}).get("name")
    general = f"{'latent' if encoder else kind}-{family}"
    base: dict[str, Any] = _preset(general) if general in preset_names() else {}
    networks = catalog.find("family", family).has_networks
    if not networks:  # one pass, as fast as the data can be read
        base = _merge({"training": {"batch": 1024}}, base)
    usual = (backbone_over(family, seen) if seen else "transformer") if networks else "none"
    backbone = backbone or (start or base.get("backbone", {})).get("name") or usual
    if (backbone == "pretrained") != (origin is not None):
        raise ValueError(
            f"--from: starts from a pretrained model, not from {backbone}; leave out --backbone"
            if origin
            else "--backbone pretrained: which one? give its folder, --from DIR"
        )
    if origin is not None and kind != "text":
        raise ValueError(f"--from: a pretrained model writes text, and what is learned here is {kind}; --as text")
    if backbone != base.get("backbone", {}).get("name"):
        base.pop("backbone", None)  # its sizes are another network's
    special = f"{general}-{'lora' if start.get('lora') else backbone}"
    base = _merge(base, _preset(special) if special in preset_names() else {})
    stated = {
        "data": {"path": str(Path(path).resolve()), **({"unit": unit} if unit else {})},
        "target_field": records.target,
        "target": _reading(kind, origin),
        "through": str(encoder.path.resolve()) if encoder else "",
        "condition": {k: _reading(records.modalities[k], origin) for k in records.given},
        "family": {"name": family},
        "backbone": {"name": backbone, **start},
        "training": timing,
    }
    if any(part.get("family", {}).get("few_step") for part in (asked, own)):
        if preset in preset_names():  # a shipped one gives way, too
            base, asked = _merge(base, asked), {}
        base = _merge(base, _preset("flow-few-step"))
    base = _merge(base, {"data": taken.get("data", {})})
    whole = _merge(_merge(_merge(base, asked), stated), own)
    if encoder:
        whole["target"] = taken["target"]  # a preset's are of another modality's items
    experiment = validate(whole)
    scanned = scan(records, tell)
    rows, held = scanned.records.split(experiment.data.held_out, experiment.data.split)
    train = scanned.records.subset(rows)
    try:
        modality, conditions = _learned(records, train, experiment, encoder, scanned.notes)
    except BadValue as error:
        raise ValueError(f"{path}: {error}") from None
    plain = modality.inner if isinstance(modality, Latents) else modality
    scanned = replace(scanned, records=views.add(scanned.records, plain))
    train = views.add(train, plain)
    held_out, said = representable(scanned.records.subset(held), modality, conditions)
    scanned.notes.extend(said)
    if not len(held_out):
        held_out = train
        scanned.notes.append("too few different records to hold any out: held-out figures are of the training data")
    encoding = choose_encoding(modality, experiment.family)
    stated_batch = any("batch" in part.get("training", {}) for part in (asked, own))
    training = _by_tokens(experiment.training, modality.space(encoding), stated_batch)
    settled, said = _settled(experiment.family, modality.space(encoding), conditions, len(train))
    scanned.notes.extend(said)
    experiment = experiment.model_copy(update={"encoding": encoding, "training": training, "family": settled})
    name = preset or next((p for p in (special, general) if p in preset_names()), "none")
    plan = Plan(experiment, scanned, train, held_out, modality, conditions, encoding, name, origin, encoder)
    with torch.device("meta") if origin else nullcontext():  # a pretrained model may be large, and this one is not used
        plan.untrained()  # refuses what does not fit
    return plan


def _read_as(records: Records, conditions: Mapping[str, Any]) -> Records:
    """The records with given fields read as what a user says they are (`--set condition.text.modality=sentence`)."""
    said = {
        k: v["modality"]
        for k, v in conditions.items()
        if k in records.given and isinstance(v, Mapping) and v.get("modality")
    }
    return replace(records, modalities={**records.modalities, **said}) if said else records


def _learned(
    records: Records, train: Records, experiment: Experiment, encoder: Run | None, notes: list[str]
) -> tuple[Modality, dict[str, Modality]]:
    """What is learned from the training files: of the target, or its latents, and of each given field."""
    modality = _target(records, train, experiment, encoder, notes)
    plain = modality.inner if isinstance(modality, Latents) else modality
    conditions: dict[str, Modality] = {}
    for name, settings in experiment.condition.items():
        if name in train.columns:
            column = train.columns[name]
        else:
            column, settings = (
                views.seen(train.columns[train.target], plain, name),
                views.settings(modality, name, settings),
            )
        kind = catalog.find("modality", records.modalities[name])
        conditions[name] = kind.fit(column, kind.given_settings(settings), experiment.training.seed)
        few = kind.name == "text" and plain.name in ("image", "video") and len(column) < _FEW_CAPTIONS
        if few and all(v.isascii() for v in itertools.islice(column, 100) if v is not None):
            notes.append(
                f"{len(column):,} of {name} are few to learn a language from: if they are English, --set "
                f"condition.{name}.modality=sentence takes what they mean from MiniLM instead (extra metrics)"
            )
    return modality, conditions


def _target(
    records: Records, train: Records, experiment: Experiment, encoder: Run | None, notes: list[str]
) -> Modality:
    """What is learned of the target, or its latents."""
    seed, values = experiment.training.seed, train.columns[records.target]
    if encoder is not None:
        if train.fingerprint() != encoder.info.get("fingerprint"):
            raise ValueError(
                f"--through {encoder.path}: it was not trained on the same records as are trained on here, so it may "
                "have seen those that are held out; give the path and the split it had "
                f"({encoder.experiment.data.path}), or train it again on these data"
            )
        return Latents.fit(values, encoder.as_autoencoder(), seed)
    modality = catalog.find("modality", records.modalities[records.target]).fit(values, experiment.target, seed)
    if experiment.family.windows and (whole := modality.in_windows()) is not modality:
        if not train.streamed:
            return whole
        notes.append(
            "long texts are cut, not read in windows, as the data are read piece by piece: a larger data.memory (MiB) "
            "reads them whole"
        )
    return modality


def _settled(family: Family, target: Space, conditions: Mapping[str, Modality], items: int) -> tuple[Family, list[str]]:
    """The family's settings with what they leave to the data decided, and what was chosen."""
    settled = family.settled(target, {k: m.space(m.encodings[0]) for k, m in conditions.items()}, items)
    before, after = family.model_dump(), settled.model_dump()
    chosen = [key for key in after if after[key] != before[key] and after[key] not in (False, "none")]
    return settled, [
        f"family.{key} = {str(after[key]).lower()}, chosen for these {items:,} items (--set family.{key}=...)"
        for key in chosen
    ]


def _by_tokens(training: Training, space: Space, stated: bool) -> Training:
    """`training.tokens` made into `training.batch`, unless that is `stated` by the user."""
    if training.tokens is None:
        return training
    batch = training.batch
    if isinstance(space, Tokens) and not stated:
        batch = int(min(max(8, round(training.tokens / (space.mean_length or space.length) / 8) * 8), _MOST_ITEMS))
    return training.model_copy(update={"batch": batch, "tokens": None})


def _reading(kind: str, origin: Path | None) -> dict[str, Any]:
    """The settings of a modality, which reads text as the pretrained model does if there is one."""
    borrows = origin is not None and "pretrained" in catalog.find("modality", kind).Settings.model_fields
    return {"modality": kind, **({"pretrained": str(origin)} if borrows else {})}


def _early(*plans: dict[str, Any]) -> None:
    """Refuse bad training settings before any data are read."""
    for plan in plans:
        probe: dict[str, Any] = {
            "target": {"modality": "label"},
            "family": {"name": "autoregressive"},
            "backbone": {"name": "transformer"},
        }
        validate({**probe, **{k: plan[k] for k in ("training", "data") if k in plan}})
        unknown = {k: v for k, v in plan.items() if k not in Experiment.model_fields}
        if unknown:
            validate({**probe, **unknown})


def representable(
    held_out: Records, modality: Modality, conditions: Mapping[str, Modality]
) -> tuple[Records, list[str]]:
    """The held-out records that a model of the training data can make at all, and notes of what it knows nothing of."""
    notes = []
    for name, given in conditions.items():
        if isinstance(held_out.columns[name], views.Viewed):
            continue  # nothing of it is unknown where nothing of the target is
        some = itertools.islice(held_out.columns[name], _MOST_TRIED)
        if new := given.unseen([v for v in some if v is not None]):
            notes.append(
                f"held out: {len(new):,} records have an unknown {name}, the first is {next(iter(new.values()))}"
            )
    new = modality.unseen(held_out.columns[held_out.target])
    if not new:
        return held_out, notes
    first = next(iter(new.values()))
    notes.append(f"held out: {len(new):,} records hold what training data never do and are left out, the first {first}")
    return held_out.subset([i for i in range(len(held_out)) if i not in new]), notes


def records_again(
    experiment: Experiment, modality: Modality, conditions: Mapping[str, Modality]
) -> tuple[Records, Records]:
    """The training and held-out records of a run that goes on, as `make_plan` found them."""
    data = experiment.data
    target = experiment.target_field
    kind = getattr(experiment.target, "modality", None)
    given = tuple(experiment.condition)
    read = read_records(
        data.path, unit=data.unit, as_=kind, target=target, given=given, memory=data.memory, views=views.kinds
    )
    found = views.add(scan(read).records, modality.inner if isinstance(modality, Latents) else modality)
    rows, held = found.split(data.held_out, data.split)
    train = found.subset(rows)
    held_out, _ = representable(found.subset(held), modality, conditions)
    return train, held_out if len(held_out) else train
