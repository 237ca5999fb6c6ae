"""The settings of one experiment: data, target, conditions, family, backbone and training.

Reading and writing are strict: an unknown key is an error that names the nearest known key, and `experiment.toml` holds
every setting, defaults included.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from likewise import catalog
from likewise.backbones.base import Backbone
from likewise.errors import UserError
from likewise.families.base import Family
from likewise.modalities.base import ModalitySettings


class Data(BaseModel):
    """Where the records come from and how they are divided."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(default="", description="the file or folder that was read")
    unit: Literal["line", "paragraph", "document"] | None = Field(
        default=None, description="what one record of a text file is; by default according to the data"
    )
    memory: int = Field(
        default=128, ge=0, description="MiB of records kept in memory; larger data are read record by record"
    )
    val_fraction: float = Field(default=0.05, gt=0, lt=1, description="share of the records held out for validation")
    split: Literal["hash", "tail"] = Field(
        default="hash",
        description="what decides which records are held out: a hash of the content, or the end of the file",
    )


class Training(BaseModel):
    """Settings of the training loop. The length is `steps` if given, else `minutes`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, description="of the weights, the order and the noise")
    minutes: float = Field(default=5.0, gt=0, allow_inf_nan=False, description="training time")
    steps: int | None = Field(default=None, ge=1, description="optimizer steps, instead of minutes")
    batch: int = Field(
        default=64, ge=1, description="mean number of items per optimizer step; texts of a step have similar lengths"
    )
    tokens: int | None = Field(
        default=None, ge=1, description="tokens per optimizer step for items of different lengths; determines batch"
    )
    accumulate: int = Field(
        default=1, ge=1, description="number of parts in which each batch is computed, to save memory"
    )
    optimizer: Literal["adamw", "adam", "rmsprop", "sgd", "muon"] = Field(
        default="adamw", description="muon: Muon for matrices, AdamW for the rest"
    )
    lr: float = Field(default=1e-3, gt=0, allow_inf_nan=False, description="learning rate")
    muon_lr: float = Field(
        default=0.02, gt=0, allow_inf_nan=False, description="Muon's learning rate for matrices; the rest have lr"
    )
    betas: tuple[float, float] = Field(default=(0.9, 0.99), description="of adamw and adam")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of sgd, rmsprop and muon")
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    grad_clip: float | None = Field(
        default=1.0, gt=0, description="largest gradient norm, for each player (generator, discriminator) by itself"
    )
    schedule: Literal["constant", "cosine", "linear", "wsd"] = "wsd"
    warmup: float = Field(
        default=0.02, ge=0, le=1, description="share of the steps during which the learning rate rises"
    )
    decay: float = Field(
        default=0.5, ge=0, le=1, description="share of the steps during which the schedule wsd falls, at the end"
    )
    ema: float = Field(
        default=0.0, ge=0, lt=1, description="decay of the averaged weights (EMA) that sample; 0: no average"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="of products and convolutions; auto: bfloat16 where hardware has it"
    )
    compile: bool = Field(default=False, description="compile the networks with torch.compile")
    device: str = Field(default="auto", description="a device of torch; auto: a GPU if there is one")
    threads: int | None = Field(default=None, ge=1, description="of torch; by default its own choice")
    evaluate_every: int | None = Field(
        default=None, ge=1, description="steps between validations; by default according to the run's length"
    )
    checkpoint_every: int | None = Field(
        default=None, ge=1, description="steps between checkpoints; by default according to the run's length"
    )
    keep_checkpoints: int = Field(
        default=2, ge=1, description="number of newest checkpoints that are kept, beside the best one"
    )
    patience: int | None = Field(
        default=8, ge=1, description="validations without a new best loss before training stops"
    )
    on_nonfinite: Literal["stop", "skip", "rollback"] = Field(
        default="stop",
        description="if a loss or gradient is not finite: stop, skip the update, or go back to the last checkpoint",
    )
    nonfinite_limit: int = Field(default=10, ge=1, description="skipped updates after which training stops")
    parallel: Literal["ddp", "fsdp"] = Field(
        default="ddp", description="with torchrun: each process holds all weights (ddp) or a shard of them (fsdp)"
    )
    exact_elastic: bool = Field(default=False, description="the same weights, bit for bit, with 1, 2, 4 or 8 processes")
    wait_minutes: float = Field(
        default=10.0, gt=0, description="minutes that a process waits for the others before it ends"
    )
    checkpoint_activations: bool = Field(
        default=False, description="compute activations again in the backward pass, to save memory"
    )
    loggers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = Field(
        default=(), description="where the lines of metrics.jsonl are sent as well"
    )


class Experiment(BaseModel):
    """The resolved plan of a run, as stored in `experiment.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    data: Data = Data()
    target_field: str = ""
    target: ModalitySettings
    condition: dict[str, ModalitySettings] = {}
    family: Family
    backbone: Backbone
    training: Training = Training()
    through: str = Field(default="", description="the autoencoder's run whose latents are learned; a copy is kept")

    @field_validator("target", mode="before")
    @classmethod
    def _target(cls, value: Any) -> Any:
        return _named("modality", "modality", value)

    @field_validator("condition", mode="before")
    @classmethod
    def _condition(cls, value: Any) -> Any:
        return {k: _named("modality", "modality", v) for k, v in dict(value).items()}

    @field_validator("family", "backbone", mode="before")
    @classmethod
    def _part(cls, value: Any, info: Any) -> Any:
        return _named(info.field_name, "name", value)

    @model_validator(mode="after")
    def _fields_differ(self) -> Experiment:
        if self.target_field and self.target_field in self.condition:
            raise ValueError(f"field {self.target_field!r} is both wanted and given")
        return self

    def parts(self) -> list[tuple[str, str]]:
        """The kind and name of every part."""
        return parts_of(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values, defaults included; settings that are None are left out."""
        return json.loads(json.dumps(_without_none(_dump(self))))


def parts_of(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The kind and name of every part that the tables of an experiment name."""
    given = plan.get("condition")
    tables = [("modality", "modality", plan.get("target"))]
    tables += [("modality", "modality", each) for each in given.values()] if isinstance(given, Mapping) else []
    tables += [(kind, "name", plan.get(kind)) for kind in ("family", "backbone")]
    found = [(kind, str(each[key])) for kind, key, each in tables if isinstance(each, Mapping) and key in each]
    encoded = [each for kind, _, each in tables if kind == "modality" and isinstance(each, Mapping)]
    encoded = [each for each in encoded if each.get("encoding") not in (None, *catalog.encodings(catalog.ANY))]
    return [*found, *(("encoding", f"{each.get('modality')}.{each['encoding']}") for each in encoded)]


def _named(kind: str, key: str, value: Any) -> Any:
    """The settings object that a mapping describes; value[key] names its class."""
    if not isinstance(value, Mapping):
        return value
    found = catalog.find(kind, value.get(key))
    settings = found.Settings if kind == "modality" else found
    return settings.model_validate(dict(value))


def add_part(part: Any) -> str:
    """Register a part, or its class, under its name in this process; returns the name. See `catalog.register`.

    Raises ValueError if it is not a part, or if another part has the same name.
    """
    cls = part if isinstance(part, type) else type(part)
    kind, field = getattr(cls, "part_kind", None), getattr(cls, "model_fields", {}).get("name")
    name = getattr(cls, "name", None) if field is None else field.default
    if kind is None or not isinstance(name, str):
        raise ValueError(
            f"{cls.__name__} is no part with a name: give a Backbone, Family, Modality, Encoding or Metric"
        )
    owner = getattr(cls, "modality_name", "")  # of an encoding
    catalog.register(kind, f"{owner}.{name}" if owner else name, cls)
    return name


def spelled_out(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `train`, with parts given as objects replaced by their names and settings.

    Settings in `set_` override those of an object.
    """
    out, settings = dict(options), {}
    for key in ("as_", "family", "backbone"):
        value = out.get(key)
        if value is None or isinstance(value, str):
            continue
        out[key] = add_part(value)
        if isinstance(value, BaseModel):
            settings |= {f"{key}.{k}": v for k, v in _dump(value).items() if k != "name"}
    if settings:
        out["set_"] = {**settings, **(out.get("set_") or {})}
    return out


def _dump(value: Any) -> Any:
    """Like model_dump, but by the actual types of the values instead of the declared types of the fields."""
    if isinstance(value, BaseModel):
        return {name: _dump(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {k: _dump(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_dump(v) for v in value]
    return value


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return value


#: former names of settings, which run folders, presets and samples of earlier versions still contain
RENAMED = {
    "data.held_out": "val_fraction",
    "training.clip": "grad_clip",
    "training.keep": "keep_checkpoints",
    "training.track": "loggers",
    "family.adversary": "adversarial",
    "family.codes": "codebook_size",
    "family.times": "time_sampling",
    "family.weak": "guide_model",
    "family.weighting": "loss_weighting",
    "family.sampling.guidance": "guidance_scale",
}


def current_names(plan: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`plan` with former setting names (`RENAMED`) replaced by today's. Raises ValueError if both are given.

    prefix: the path of the settings in an experiment, with a final dot: "family.sampling." for those of sampling.
    """
    found: dict[str, Any] = {}
    for key, value in plan.items():
        name = RENAMED.get(f"{prefix}{key}", key)
        if name in found or (name != key and name in plan):
            raise ValueError(f"{prefix}{key} is the former name of {prefix}{name}; give only the latter")
        found[name] = current_names(value, f"{prefix}{key}.") if isinstance(value, Mapping) else value
    return found


def parse_value(text: str) -> Any:
    """The value of `--set key=value`: parsed as TOML if it is valid TOML, else the text itself."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def set_key(plan: dict[str, Any], dotted: str, value: Any) -> None:
    """Set plan["training"]["lr"] = value, for dotted = "training.lr". Raises UserError if a parent is not a mapping."""
    *parents, last = dotted.split(".")
    for parent in parents:
        plan = plan.setdefault(parent, {})
        if not isinstance(plan, dict):
            raise UserError(f"{parent!r} has no parts", setting="set_", value=dotted)
    plan[last] = value


def validate(plan: Mapping[str, Any]) -> Experiment:
    """The experiment that a plan describes. Raises ValueError with one line that names key, value and fix."""
    plan = current_names(plan)
    try:
        return Experiment.model_validate(plan)
    except ValidationError as error:
        raise ValueError(explain(error, Experiment, plan)) from None


def explain(error: ValidationError, root: type[BaseModel], plan: Mapping[str, Any] | None = None) -> str:
    """The first problem in `error` as one line: the key, the problem, and the nearest known key."""
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = _keys_at(root, where[:-1], plan or {})
        nearest = get_close_matches(where[-1], known, 1, 0.5)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(known)}"
        return f"unknown key {'.'.join(where)!r}; {hint}"
    if not where:
        return message
    shown = first.get("input")
    given = "" if isinstance(shown, (Mapping, BaseModel)) else f" (got {shown!r})"
    return f"{'.'.join(where)}: {message[:1].lower()}{message[1:]}{given}"


def _keys_at(root: type[BaseModel], where: list[str], plan: Mapping[str, Any]) -> list[str]:
    """The known keys at a path of the plan; `name` and `modality` select the settings class."""
    holder: Any = root
    for part in where:
        plan = plan.get(part, {}) if isinstance(plan, Mapping) else {}
        if part in ("family", "backbone") and isinstance(plan, Mapping):
            holder = catalog.find(part, plan.get("name"))
        elif isinstance(plan, Mapping) and "modality" in plan:
            holder = catalog.find("modality", plan["modality"]).Settings
        elif isinstance(holder, type) and issubclass(holder, BaseModel) and part in holder.model_fields:
            found = holder.model_fields[part]
            holder = type(found.default) if isinstance(found.default, BaseModel) else found.annotation
    return list(holder.model_fields) if isinstance(holder, type) and issubclass(holder, BaseModel) else []


def read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not TOML: {error}") from None


def to_toml(table: Mapping[str, Any]) -> str:
    """Nested mappings of plain values as TOML (the standard library reads TOML but does not write it)."""
    lines: list[str] = []

    def write(part: Mapping[str, Any], prefix: str) -> None:
        tables = {k: v for k, v in part.items() if isinstance(v, Mapping)}
        lines.extend(f"{_toml_key(k)} = {_toml_value(v)}" for k, v in part.items() if k not in tables)
        for key, inner in tables.items():
            name = f"{prefix}{_toml_key(key)}"
            lines.extend(["", f"[{name}]"])
            write(inner, f"{name}.")

    write(table, "")
    return "\n".join(lines).strip() + "\n"


def _toml_key(key: str) -> str:
    plain = key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key)
    return key if plain else json.dumps(key, ensure_ascii=False)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)  # JSON strings are TOML basic strings
    return repr(value)
