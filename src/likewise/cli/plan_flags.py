"""The flags of the plan, which `look` and `train` share."""

from __future__ import annotations

import argparse
from typing import Any

from likewise.cli.parser import pairs, parts, set_flag

_PLAN = (
    "as_", "given", "target", "family", "backbone", "from_", "lora", "preset", "unit", "through", "minutes", "steps",
    "seed", "size",
)  # fmt: skip


def add_plan_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--as", dest="as_", metavar="MODALITY", help=f"what the target is read as: {parts('modality')}")
    p.add_argument("--target", metavar="FIELD", help="the field to learn")
    p.add_argument("--given", metavar="FIELD", action="append", help="a field to condition on; repeatable")
    p.add_argument("--unconditional", action="store_true", help="condition on nothing")
    p.add_argument("--family", help=f"how to learn: {parts('family')}")
    p.add_argument("--backbone", help=f"the network: {parts('backbone')}")
    p.add_argument(
        "--few-step", action="store_true",
        help="of a flow: learn to draw in 1 to 16 steps, too (default 4; short for --set family.few_step=true)",
    )  # fmt: skip
    p.add_argument(
        "--from", dest="from_", metavar="DIR",
        help="start from a pretrained model of text: a folder with config.json, tokenizer.json and model.safetensors",
    )  # fmt: skip
    p.add_argument(
        "--lora", nargs="?", type=int, const=16, metavar="RANK",
        help="with --from: freeze it, and learn updates of this rank (default 16)",
    )  # fmt: skip
    p.add_argument("--preset", help="a shipped preset's name, or a .toml file of yours")
    p.add_argument("--unit", choices=("line", "paragraph", "document"), help="what one record of a text file is")
    p.add_argument("--through", metavar="RUN", help="learn the latents of this run, a vae or codec of the same data")
    p.add_argument("--minutes", type=float, help="how long to train (default 5)")
    p.add_argument("--size", choices=("tiny", "small", "base", "large"), help="of the network (default: by minutes)")
    p.add_argument("--steps", type=int, help="how many steps to train, instead of minutes")
    p.add_argument("--seed", type=int, help="of the weights, the order and the noise (default 0)")
    set_flag(p, "any setting, as in training.lr=1e-3; repeatable")


def plan_options(a: argparse.Namespace) -> dict[str, Any]:
    """The flags as keyword arguments of `likewise.look` and `likewise.train`."""
    options = {name: getattr(a, name) for name in _PLAN}
    if a.unconditional:
        options["given"] = []
    set_ = pairs(a.set, "--set")
    if a.few_step:
        set_["family.few_step"] = True
    return {**options, "set_": set_}
