"""From minutes to sizes: measure real steps of this model on this machine, and choose what finishes in time.

The presets are tuned for about five minutes of two CPU cores. What decides whether a size fits a budget is how often it
is updated in it and how often it sees each item: a network needs some hundred updates to become anything, and with the
compute for many more a larger one is the better use of it (Kaplan et al., 2020; Hoffmann et al., 2022), unless it would
see the same items over and over. So: the preset's size while its updates are in a wide middle, a smaller one below it,
a larger one above it while items are seen few times. What is seen hardly more than once cannot be learned by heart, and
dropout would only slow learning down: then there is none.
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
#: width and depth as multiples of the preset's
SIZES: dict[Size, float] = {"tiny": 0.5, "small": 0.75, "base": 1.0, "large": 1.5}
#: updates below which a smaller model is tried, and above which a larger one is
_FEW, _MANY = 500, 15_000
#: times each item is seen above which a larger model would only learn it by heart
_OFTEN = 10.0
#: times each item is seen below which a preset's dropout is left out
_SELDOM = 1.5
#: what a user may set of a backbone without having chosen its size
_NO_SIZE = {"backbone.dropout", "backbone.given"}
#: items that are tried
_TRIED = 2048
#: multiples that widths keep to: whole attention heads
_STEP = {"transformer": 32}


@dataclass(frozen=True)
class Tried:
    """What a size costs here."""

    size: Size
    seconds: float
    steps: int
    epochs: float
    parameters: int


def sized(experiment: Experiment, size: Size) -> Experiment:
    """The experiment with a network of another size; the learning rate falls with the root of the width.

    Muon's own rate stays: its updates have one scale at every width (Bernstein and Newhouse, 2024).
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
    """The plan with the size that goes with its minutes, or with the size asked for; says which and why in one line.

    options: what the user asked for, as `train` takes it. Sizes that were given, and runs by steps, are left alone.
    trial: seconds that a size may be tried for.
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
    """The size that the user asked for. Raises ValueError where there is no such size, or none of this plan."""
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
    """The size whose updates are neither too few nor more than the items are worth. base: the preset's size."""
    order: list[Size] = ["small", "tiny"] if base.steps < _FEW else []
    if base.steps > _MANY and base.epochs < _OFTEN:
        order = ["large"]
    chosen = base
    for other in order:
        tried = measure(plan, other, trial)
        if other == "large" and (tried.steps < _MANY / 3 or tried.epochs > _OFTEN):
            break
        if other != "large" and tried.steps < 1.15 * chosen.steps:
            break  # hardly faster: not worth the smaller network
        chosen = tried
        if tried.steps >= _FEW:
            break
    return chosen


def _with_dropout(experiment: Experiment, dropout: float) -> Experiment:
    whole = experiment.to_dict()
    whole["backbone"]["dropout"] = dropout
    return validate(whole)


def measure(plan: Plan, size: Size, trial: float = 20.0) -> Tried:
    """Take some real steps at a size. They are undone with the network: nothing of them is left."""
    plan = _with(plan, size)
    settings = plan.experiment.training
    hardware.tune(settings.threads)
    learner, batches = begin(plan)
    order = Order(len(batches), settings.batch, derive_seed(settings.seed, "order"), batches.lengths)
    steps, each = plan_steps(learner, batches, order, settings.minutes, trial)
    return Tried(size, each, steps, steps * settings.batch / items(plan, batches), parameters(learner.model))


def items(plan: Plan, batches: Batches) -> int:
    """How many items the plan trains on, of which `batches` are some as `begin` has them: records, or their windows."""
    return max(1, len(batches) * len(plan.train) // min(len(plan.train), _TRIED))


def begin(plan: Plan) -> tuple[Learner, Batches]:
    """An untrained learner of the plan, and some of its data."""
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
