"""Chooses the size of a network for the given minutes, by measuring training steps on this machine.

The presets are tuned for about five minutes on two CPU cores. A size is chosen by its number of updates within the
minutes and its number of epochs. A network needs some hundred updates to be useful; with compute for many more, a
larger network uses it better (Kaplan et al., 2020; Hoffmann et al., 2022), unless this takes many epochs. The preset's
size is kept for a wide range of updates; below it a smaller size is chosen, above it a larger one if the epochs are
few. With hardly more than one epoch, a network cannot memorise the items and dropout would only slow learning down, so
it is disabled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from likewise.config import Experiment, validate
from likewise.draws import derive_seed
from likewise.errors import Message, Setting, UserError
from likewise.planning.plan import Plan
from likewise.training import hardware
from likewise.training.batches import Batches, FieldData
from likewise.training.data_order import Order
from likewise.training.distributed import local_device
from likewise.training.learner import Learner, parameters
from likewise.training.time_budget import plan_steps

Size = Literal["tiny", "small", "base", "large"]
#: factor of the preset's width and depth
SIZES: dict[Size, float] = {"tiny": 0.5, "small": 0.75, "base": 1.0, "large": 1.5}
#: number of updates below which a smaller size is tried, and above which a larger one is
_FEW, _MANY = 500, 15_000
#: number of epochs above which no larger size is chosen, as it would memorise the items
_OFTEN = 10.0
#: number of epochs below which the dropout of a preset is disabled
_SELDOM = 1.5
#: settings of a backbone that do not count as a choice of its size
_NO_SIZE = {"backbone.dropout", "backbone.given"}
#: number of items used for measuring
_TRIED = 2048
#: by backbone, the number that divides all widths: whole attention heads; 8 for other backbones
_STEP = {"transformer": 32}


@dataclass(frozen=True)
class Tried:
    """The measured cost of a size. seconds: per step. steps, epochs: within the given minutes."""

    size: Size
    seconds: float
    steps: int
    epochs: float
    parameters: int


def sized(experiment: Experiment, size: Size) -> Experiment:
    """The experiment with a network of another size; the learning rate is divided by the square root of its factor.

    The rate of Muon is unchanged: the scale of its updates does not depend on the width (Bernstein and Newhouse, 2024).
    """
    factor, plan = SIZES[size], experiment.to_dict()
    if factor == 1:
        return experiment
    sizes, training = plan["backbone"], plan["training"]
    step = _STEP.get(sizes["name"], 8)
    if "width" not in sizes:
        return experiment
    sizes["width"] = max(step, round(sizes["width"] * factor / step) * step)
    if "depth" in sizes:
        sizes["depth"] = max(1, round(sizes["depth"] * factor))
    training["lr"] = float(f"{training['lr'] / factor**0.5:.3g}")
    return validate(plan)


def fit_budget(plan: Plan, options: Mapping[str, Any], tell: Callable[[str], None], trial: float = 20.0) -> Plan:
    """The plan with the size that fits its minutes, or with `options["size"]`; reports the choice and its reason.

    options: the arguments of `train`. Sizes that the user set are kept, and so is a plan with a number of steps. tell:
    receives the report of one line. trial: time limit for measuring a size, in seconds. Raises UserError for a size
    that does not exist or does not apply to the plan.
    """
    size = options.get("size")
    if size is not None:
        return _with(plan, _checked(plan, size))
    settings = plan.experiment.training
    own_preset = str(options.get("preset") or "").endswith(".toml")
    if not plan.has_networks or plan.origin is not None or settings.steps is not None or own_preset:
        return plan
    own = {k for k in (options.get("set_") or {}) if k.startswith("backbone.")}
    base = measure(plan, "base", trial)
    scales = not own - _NO_SIZE and "width" in type(plan.experiment.backbone).model_fields
    chosen = _best_size(plan, base, trial) if scales else base
    found = _with(plan, chosen.size)
    sizes = found.experiment.backbone.model_dump()
    without_dropout = sizes.get("dropout", 0) > 0 and "backbone.dropout" not in own and chosen.epochs < _SELDOM
    if without_dropout:
        found = dataclasses.replace(found, experiment=_with_dropout(found.experiment, 0.0))
    shape = ", ".join(f"{k} {sizes[k]}" for k in ("width", "depth") if k in sizes)
    why = {
        "base": "the size asked for" if own - _NO_SIZE else "the preset's size",
        "large": f"size large, as the preset's would be updated {base.steps:,} times",
        "small": f"size small, as the preset's would be updated {base.steps:,} times only",
        "tiny": f"size tiny, as the preset's would be updated {base.steps:,} times only",
    }[chosen.size]
    tell(
        f"budget: {settings.minutes:g} min here are about {chosen.steps:,} steps of {settings.batch} "
        f"({chosen.seconds * 1000:.3g} ms each), every item {chosen.epochs:.1f} times: {why} ({shape}, "
        f"{chosen.parameters:,} parameters), lr {found.experiment.training.lr:g}, {settings.schedule}"
        + (", no dropout" if without_dropout else "")
    )
    return found


def _checked(plan: Plan, size: Any) -> Size:
    """The size that the user named. Raises UserError if it does not exist or does not apply to the plan."""
    if size not in SIZES:
        raise UserError(f"there are {', '.join(SIZES)}", setting="size", value=size)
    if not plan.has_networks:
        raise UserError(
            f"{getattr(plan.experiment.family, 'name', '')} has no network",
            setting="size",
            value=size,
            fix="leave it out",
        )
    if plan.origin is not None:
        raise UserError(
            "a pretrained model has its own",
            setting="size",
            value=size,
            fix=Message("leave it out, or ", Setting("from_")),
        )
    if "width" not in type(plan.experiment.backbone).model_fields:
        name = getattr(plan.experiment.backbone, "name", "the backbone")
        raise UserError(
            f"{name} has no width",
            setting="size",
            value=size,
            fix=Message("set its own settings, ", Setting("backbone.NAME", "VALUE")),
        )
    return size


def _best_size(plan: Plan, base: Tried, trial: float) -> Tried:
    """The size with enough updates and not too many epochs. base: the measured cost of the preset's size."""
    order: list[Size] = ["small", "tiny"] if base.steps < _FEW else []
    if base.steps > _MANY and base.epochs < _OFTEN:
        order = ["large"]
    chosen = base
    for other in order:
        tried = measure(plan, other, trial)
        if other == "large" and (tried.steps < _MANY / 3 or tried.epochs > _OFTEN):
            break
        if other != "large" and tried.steps < 1.15 * chosen.steps:
            break  # hardly faster: the smaller network has no advantage
        chosen = tried
        if tried.steps >= _FEW:
            break
    return chosen


def _with_dropout(experiment: Experiment, dropout: float) -> Experiment:
    whole = experiment.to_dict()
    whole["backbone"]["dropout"] = dropout
    return validate(whole)


def measure(plan: Plan, size: Size, trial: float = 20.0) -> Tried:
    """Measure training steps at a size. The network is discarded afterwards."""
    plan = _with(plan, size)
    settings = plan.experiment.training
    hardware.tune(settings.threads)
    learner, batches = begin(plan)
    order = Order(len(batches), settings.batch, derive_seed(settings.seed, "order"), batches.lengths)
    steps, each = plan_steps(learner, batches, order, settings.minutes, trial)
    return Tried(size, each, steps, steps * settings.batch / items(plan, batches), parameters(learner.model))


def items(plan: Plan, batches: Batches) -> int:
    """The estimated number of training items (records, or windows of them), from the subset `batches` of `begin`."""
    return max(1, len(batches) * len(plan.train) // min(len(plan.train), _TRIED))


def begin(plan: Plan) -> tuple[Learner, Batches]:
    """An untrained learner of the plan, and batches of its first `_TRIED` training records."""
    some = plan.train.subset(range(min(len(plan.train), _TRIED)))

    columns = some.columns
    batches = Batches(
        FieldData.of(plan.encoding, columns[plan.scan.records.target], windows=True),
        {name: FieldData.of(encoding, columns[name]) for name, encoding in plan.conditions.items()},
    )
    settings = plan.experiment.training
    torch.manual_seed(derive_seed(settings.seed, "weights") >> 1)
    alone = settings.model_copy(update={"parallel": "ddp", "exact_elastic": False, "compile": False})
    device = hardware.choose_device(local_device(settings.device) if plan.has_networks else "cpu")
    return Learner(plan.untrained(), alone, device), batches


def _with(plan: Plan, size: Size) -> Plan:
    return dataclasses.replace(plan, experiment=sized(plan.experiment, size))
