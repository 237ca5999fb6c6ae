"""`likewise explain`: write the page of explanations of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from likewise.cli.parser import Verbs, given_flag, pairs


def add(verbs: Verbs) -> None:
    p = verbs.add(
        "explain", _run, "show what a run's samples depend on, on one page",
        "runs/digits", "runs/digits 17 --seed 3", "runs/digits my-three.png --given label=3", "runs/poems line.txt",
    )  # fmt: skip
    p.add_argument("run")
    p.add_argument("sample", nargs="?", help="the number of a sample, or a file of yours (default: the first samples)")
    p.add_argument("-n", type=int, default=4, help="how many samples, from that number on (default 4)")
    p.add_argument("--seed", type=int, default=0, help="of the samples (default 0)")
    given_flag(p)


def _run(a: argparse.Namespace) -> None:
    from likewise.runs.run import Run
    from likewise.verbs.explain import explain

    explain(Run(Path(a.run)), a.sample, a.n, a.seed, pairs(a.given, "--given"), progress=print)
    print(Path(a.run) / "report" / "explain.html")
