"""Checks the autoencoder of a latent model (`--through RUN`) and collects the settings that a plan takes from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from likewise import catalog
from likewise.errors import Message, Setting, UserError
from likewise.modalities.latents import Autoencoder
from likewise.runs.run import Run


def autoencoder(path: Path) -> Run:
    """The run of an autoencoder. Raises ValueError if no other model can be trained on its latents."""
    run = Run(path)
    family = getattr(run.experiment.family, "name", "")
    if not run.experiment.family.autoencodes:
        raise UserError(
            f"{family} finds no latents of items",
            setting="through",
            value=path,
            fix=Message("train one with ", Setting("family", "vae"), " or codec"),
        )
    if run.autoencoder is not None:
        raise UserError("it is itself seen through another run", setting="through", value=path, fix="give that one")
    if run.conditions:
        raise UserError(
            f"it is given {', '.join(run.conditions)}, and latents are decoded from nothing else",
            setting="through",
            value=path,
            fix=Message(
                "train it with ", Setting("unconditional"), " (what is trained through it may be given anything)"
            ),
        )
    run.checkpoint()
    return run


def backbone_over(family: str, seen: Autoencoder) -> str:
    """The default backbone of a family for latents or codes, where no preset names one."""
    if seen.codes and not isinstance(catalog.find("family", family)().roles(seen.codes), str):
        return "transformer"
    return "conv" if seen.latents.positions else "mlp"


def inherited(run: Run, as_: str | None, own: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an autoencoder's plan that also apply to a model of its latents: data, target and target field.

    as_: the modality that the user named. own: settings that the user stated. Raises UserError for another modality
    than the autoencoder's, and for settings of the target other than its encoding.
    """
    plan = run.experiment.to_dict()
    kind = plan["target"]["modality"]
    if as_ not in (None, kind):
        raise UserError(f"{run.path} was trained on {kind}", setting="as_", value=as_)
    chosen = own.get("target", {})
    if other := [key for key in chosen if key != "encoding"]:
        raise UserError(f"items are read as {run.path} reads them", setting=f"target.{other[0]}", fix="leave it out")
    return {
        "data": {key: value for key, value in plan["data"].items() if key != "path"},
        "target": {**{key: value for key, value in plan["target"].items() if key != "encoding"}, **chosen},
        "target_field": plan["target_field"],
    }
