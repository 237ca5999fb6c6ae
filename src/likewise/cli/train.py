"""`likewise train`: train a model, or resume an interrupted run."""

from __future__ import annotations

import argparse
import os

from likewise.cli.parser import Verbs
from likewise.cli.plan_flags import add_plan_flags, plan_options


def add(verbs: Verbs) -> None:
    p = verbs.add(
        "train", _run, "train a model of what is at PATH",
        "photos/ --minutes 10", "poems.txt --backbone gru", "rows.csv --given sex --family flow",
        "digits/ --family flow --few-step",
        "letters.txt --from models/qwen --lora", "poems.txt --through runs/poems-vae --family gan", "--resume runs/a",
    )  # fmt: skip
    p.add_argument("path", nargs="?", help="a folder, or a .txt, .csv, .tsv, .jsonl, .parquet, .yaml, .tmx or .po file")
    p.add_argument("--out", help="the run's folder (default runs/NAME)")
    p.add_argument("--resume", metavar="RUN", help="go on with an interrupted run, instead of PATH")
    p.add_argument("--fsdp", action="store_true", help="under torchrun: shard weights, gradients and optimizer state")
    p.add_argument(
        "--exact-elastic", action="store_true", help="under torchrun: bitwise equal weights with 1, 2, 4 or 8 processes"
    )
    add_plan_flags(p)


def _run(a: argparse.Namespace) -> None:
    from likewise.cli.wording import say
    from likewise.verbs.train import resume, train

    if a.resume:
        resume(a.resume, wording=say)
        return
    if a.path is None:
        raise ValueError("train what? give a path, or --resume RUN")
    options = plan_options(a)
    if a.fsdp:
        options["set_"]["training.parallel"] = "fsdp"
    if a.exact_elastic:
        options["set_"]["training.exact_elastic"] = True
    run = train(a.path, out=a.out, wording=say, **options)
    if os.environ.get("RANK", "0") == "0":
        then = f"sample {run.path}" if run.experiment.family.generates else f"train {a.path} --through {run.path}"
        print(f"next: likewise {then}; likewise evaluate {run.path}")
