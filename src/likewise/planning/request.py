"""The user's request for a plan: options and settings from all sources, read and checked before the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from likewise.config import Experiment, set_key, validate
from likewise.errors import Message, Setting, UserError
from likewise.planning.autoencoder import autoencoder, inherited
from likewise.planning.presets import Settings, merge, preset_names, read_preset
from likewise.runs.run import Run


class Options(TypedDict, total=False):
    """Options of the user. Those that are missing or None are inferred from the data."""

    #: names of the fields to condition on; an empty sequence for none
    given: Sequence[str] | None
    #: name of the field to learn
    target: str | None
    #: name of a preset, or path of a .toml file
    preset: str | None
    #: what one record of a text file is: "line", "paragraph" or "document"
    unit: str | None
    #: the run of an autoencoder whose latents are learned instead of the items
    through: str | Path | None
    minutes: float | None
    steps: int | None
    seed: int | None
    #: folder of a pretrained model that training starts from
    from_: str | Path | None
    #: rank of low-rank updates (LoRA) to a pretrained model, whose own weights are then frozen
    lora: int | None
    #: settings by dotted name, as in {"training.lr": 1e-3}
    set_: Mapping[str, Any] | None


class PlanOptions(Options, total=False):
    """The options, with modality, family and backbone by name."""

    #: the modality of the target
    as_: str | None
    family: str | None
    backbone: str | None


@dataclass(frozen=True)
class Request:
    """The options of the user, and the settings that follow from them, by source."""

    path: str | Path
    options: PlanOptions
    #: settings of the preset that the user named
    preset: Settings
    #: settings that the user stated one by one
    own: Settings
    #: minutes, steps and seed
    timing: Settings
    #: the autoencoder whose latents are learned; None if the items themselves are
    autoencoder: Run | None
    #: settings of the autoencoder's run that also apply here
    inherited: Settings
    #: folder of the pretrained model that training starts from; None without one
    origin: Path | None

    @property
    def family(self) -> str | None:
        """The name of the family, if the user named one."""
        return self.options.get("family") or self._named("family")

    @property
    def backbone(self) -> str | None:
        """The name of the backbone, if the user named one."""
        return self.options.get("backbone") or self._named("backbone")

    @property
    def few_step(self) -> bool:
        return any(part.get("family", {}).get("few_step") for part in (self.preset, self.own))

    @property
    def preset_gives_way(self) -> bool:
        """Whether the preset for few steps overrides the named preset: only if that is part of this package."""
        return self.few_step and self.options.get("preset") in preset_names()

    @property
    def states_batch(self) -> bool:
        """Whether the user stated the batch size."""
        stated = (self.own,) if self.preset_gives_way else (self.preset, self.own)
        return any("batch" in part.get("training", {}) for part in stated)

    def _named(self, part: str) -> str | None:
        return self.own.get(part, {}).get("name") or self.preset.get(part, {}).get("name")


def read_request(path: str | Path, options: PlanOptions) -> Request:
    """Read the settings that the options name.

    Raises TypeError for an unknown option, and ValueError for settings that are invalid for all data.
    """
    if wrong := [name for name in options if name not in PlanOptions.__optional_keys__]:
        raise TypeError(
            f"no option is called {wrong[0]!r}; there are {', '.join(sorted(PlanOptions.__optional_keys__))}"
        )
    origin = _origin(options)
    name, through, as_ = options.get("preset"), options.get("through"), options.get("as_")
    preset = read_preset(name) if name else {}
    encoder = autoencoder(Path(through)) if through else None
    own: Settings = {}
    for key, value in (options.get("set_") or {}).items():
        set_key(own, key, value)
    timing: Settings = {}
    for key in ("minutes", "steps", "seed"):
        if (value := options.get(key)) is not None:
            timing[key] = value
    _check_settings(preset)
    _check_settings(merge({"training": timing}, own))
    return Request(path, options, preset, own, timing, encoder, inherited(encoder, as_, own) if encoder else {}, origin)


def _origin(options: PlanOptions) -> Path | None:
    """The folder of the pretrained model, if any. Raises UserError for options that cannot be combined with it."""
    folder, lora = options.get("from_"), options.get("lora")
    if folder is None and lora is not None:
        raise UserError(
            "it is of a pretrained model", setting="lora", fix=Message("give its folder too, ", Setting("from_", "DIR"))
        )
    if folder is not None and options.get("through") is not None:
        raise UserError(
            "latents are no text, which a pretrained model writes",
            setting="through",
            fix=Message("leave out ", Setting("from_")),
        )
    if lora is not None and lora < 1:
        raise UserError("a rank is at least 1", setting="lora", value=lora)
    return Path(folder).resolve() if folder is not None else None


def _check_settings(settings: Settings) -> None:
    """Raises ValueError for invalid settings of training and data, and for unknown settings."""
    probe: Settings = {
        "target": {"modality": "label"},
        "family": {"name": "autoregressive"},
        "backbone": {"name": "transformer"},
    }
    validate({**probe, **{k: settings[k] for k in ("training", "data") if k in settings}})
    unknown = {k: v for k, v in settings.items() if k not in Experiment.model_fields}
    if unknown:
        validate({**probe, **unknown})
