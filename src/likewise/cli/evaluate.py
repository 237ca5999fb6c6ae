"""`likewise evaluate`: measure a run and write its report."""

from __future__ import annotations

import argparse
from pathlib import Path

from likewise.cli.parser import Verbs, pairs, set_flag


def add(verbs: Verbs) -> None:
    p = verbs.add(
        "evaluate", _run, "measure a run and write its report",
        "runs/digits", "runs/digits -n 4000 --features efficientnet", "runs/en-de --set beams=4",
    )  # fmt: skip
    p.add_argument("run")
    p.add_argument("-n", type=int, default=1000, help="samples to draw (default 1000)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument(
        "--report", default="all", choices=("all", "surprisal"),
        help="all (default), or surprisal: held-out texts coloured by how expected each token is (-n: of so many)",
    )  # fmt: skip
    p.add_argument(
        "--features", default="pca", metavar="NAME",
        help="what items are compared by: pca (default), efficientnet, minilm, FILE.onnx or MODULE:CALLABLE",
    )  # fmt: skip
    set_flag(p, "how to draw, as for sample; repeatable")


def _run(a: argparse.Namespace) -> None:
    from likewise.runs.run import Run
    from likewise.verbs.evaluate import evaluate

    if a.report == "surprisal":
        if a.set:
            raise ValueError("--set: it says how samples are drawn, and a page of surprisal draws none; leave it out")
        from likewise.explain.surprisal import write_surprisal

        print(write_surprisal(Run(Path(a.run)), a.n, a.seed, progress=print))
        return
    settings = pairs(a.set, "--set")
    report = evaluate(Run(Path(a.run)), n=a.n, seed=a.seed, progress=print, features=a.features, settings=settings)
    for sentence in report.get("verdict", []):
        print(sentence)
    print(Path(a.run) / "report" / "index.html")
