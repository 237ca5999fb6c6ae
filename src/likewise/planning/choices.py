"""Infers the fields, modalities, family and backbone that the user did not name, and builds the experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from likewise import catalog
from likewise.config import Data, Experiment, validate
from likewise.data.read import read_records
from likewise.data.records import Records
from likewise.errors import Message, Setting, UserError, listed, message_of
from likewise.modalities import views
from likewise.modalities.base import Modality
from likewise.planning import huggingface
from likewise.planning.autoencoder import backbone_over
from likewise.planning.encodings import default_family
from likewise.planning.presets import Settings, merge, preset_if_any, preset_names, read_preset
from likewise.planning.request import Request

#: batch size for families without a network, which read the data once
_BATCH_WITHOUT_NETWORK = 1024


@dataclass(frozen=True)
class Choice:
    """The family and the backbone, and their default settings."""

    family: str
    backbone: str
    #: settings of the presets of this kind of model
    defaults: Settings
    #: backbone settings of the pretrained model; empty without one
    pretrained: Settings
    #: name of the preset, for display
    preset: str


def read_fields(request: Request) -> Records:
    """Read the data and choose the target, the conditions and their modalities.

    Raises ValueError if the data cannot be read, or cannot be read in the way that the user named.
    """
    options, inherited, preset = request.options, request.inherited, request.preset
    data = {**inherited.get("data", {}), **preset.get("data", {}), **request.own.get("data", {})}
    given = options.get("given")
    if given is None and "condition" in preset:
        given = [*preset["condition"]]
    if given is None and request.family is not None and not catalog.find("family", request.family).generates:
        given = []  # a family that only encodes items has no conditions
    as_ = options.get("as_") or inherited.get("target", preset.get("target", {})).get("modality")
    try:
        records = read_records(
            request.path, unit=options.get("unit") or data.get("unit"), as_=as_,
            target=options.get("target") or inherited.get("target_field"), given=given,
            memory=data.get("memory", Data().memory), views=views.kinds,
        )  # fmt: skip
    except ValueError as error:
        if request.autoencoder is None:
            raise
        run = request.autoencoder.path
        raise UserError(
            Message(message_of(error), " (read as for ", Setting("through", run), f", which was trained on {as_})")
        ) from None
    records = _with_stated_modalities(records, merge(preset, request.own).get("condition", {}))
    kind = records.modalities[records.target]
    if catalog.find("modality", kind).condition_only:
        raise UserError("it is only read, and cannot be made", setting="as_", value=kind, fix="give another modality")
    return records


def _with_stated_modalities(records: Records, conditions: Mapping[str, Any]) -> Records:
    """The records, with the modalities of conditions that the user stated (`condition.text.modality=sentence`)."""
    stated = {
        k: v["modality"]
        for k, v in conditions.items()
        if k in records.given and isinstance(v, Mapping) and v.get("modality")
    }
    return replace(records, modalities={**records.modalities, **stated}) if stated else records


def choose(request: Request, kind: str) -> Choice:
    """Choose family and backbone for a target of modality `kind`. Raises ValueError if the options do not fit."""
    pretrained: Settings = {}
    if request.origin is not None:
        rank = request.options.get("lora") or request.own.get("backbone", {}).get("lora")
        pretrained = huggingface.settings(request.origin, rank)
    seen = request.autoencoder.as_autoencoder() if request.autoencoder else None
    modality: type[Modality] = catalog.find("modality", kind)
    encoding = request.own.get("target", {}).get("encoding") or request.preset.get("target", {}).get("encoding")
    family = request.family or default_family(kind, encoding, seen)
    settings = catalog.find("family", family)
    if request.own.get("family", {}).get("few_step") and "few_step" not in settings.model_fields:
        families = catalog.names("family")
        able = [name for name in families if "few_step" in catalog.find("family", name).model_fields]
        raise UserError(
            f"{family} takes no steps from noise to data that could be fewer",
            setting="few_step",
            fix=f"{listed(able)} can" if able else "",
        )
    general = f"{'latent' if seen else kind}-{family}"
    defaults = preset_if_any(general)
    if not settings.has_networks:
        defaults = merge({"training": {"batch": _BATCH_WITHOUT_NETWORK}}, defaults)
    usual = "none"
    if settings.has_networks:
        usual = backbone_over(family, seen) if seen else "transformer"
    named = (pretrained or defaults.get("backbone", {})).get("name")
    backbone = request.backbone or named or usual
    _check_origin(request.origin, modality, backbone)
    if backbone != defaults.get("backbone", {}).get("name"):
        defaults.pop("backbone", None)  # sizes for another backbone
    special = f"{general}-{'lora' if pretrained.get('lora') else backbone}"
    name = request.options.get("preset") or next((p for p in (special, general) if p in preset_names()), "none")
    return Choice(family, backbone, merge(defaults, preset_if_any(special)), pretrained, name)


def _check_origin(origin: Path | None, modality: type[Modality], backbone: str) -> None:
    """Raises UserError for a pretrained backbone without a folder, or a folder with another backbone or modality."""
    if (backbone == "pretrained") != (origin is not None):
        if origin is None:
            raise UserError(
                "which one?",
                setting="backbone",
                value=backbone,
                fix=Message("give its folder, ", Setting("from_", "DIR")),
            )
        raise UserError(
            f"starts from a pretrained model, not from {backbone}",
            setting="from_",
            fix=Message("leave out ", Setting("backbone")),
        )
    if origin is not None and not ("text" in modality.forms and _borrows(modality)):
        raise UserError(
            f"a pretrained model writes text, and what is learned here is {modality.name}",
            setting="from_",
            fix=Message(Setting("as_", "text")),
        )


def settle(request: Request, records: Records, choice: Choice) -> Experiment:
    """The experiment: defaults, presets and inherited settings, overridden by what the user stated.

    Raises ValueError for invalid settings.
    """
    run, unit = request.autoencoder, request.options.get("unit")
    stated: Settings = {
        "data": {"path": str(Path(request.path).resolve()), **({"unit": unit} if unit else {})},
        "target_field": records.target,
        "target": _reading(records.modalities[records.target], request.origin),
        "through": str(run.path.resolve()) if run else "",
        "condition": {k: _reading(records.modalities[k], request.origin) for k in records.given},
        "family": {"name": choice.family},
        "backbone": {"name": choice.backbone, **choice.pretrained},
        "training": request.timing,
    }
    inherited: Settings = {"data": request.inherited.get("data", {})}
    few = [read_preset("flow-few-step")] if request.few_step else []
    below, above = ([request.preset], []) if request.preset_gives_way else ([], [request.preset])
    whole = merge(choice.defaults, *below, *few, inherited, *above, stated, request.own)
    if run:
        whole["target"] = request.inherited["target"]  # the target settings of a preset are for another modality
    return validate(whole)


def _reading(kind: str, origin: Path | None) -> Settings:
    """The settings of a modality; with a pretrained model, a text uses its tokenizer."""
    borrows = origin is not None and _borrows(catalog.find("modality", kind))
    return {"modality": kind, **({"pretrained": str(origin)} if borrows else {})}


def _borrows(modality: type[Modality]) -> bool:
    """Whether the modality can use the tokenizer of a pretrained model."""
    return "pretrained" in modality.Settings.model_fields
