"""`likewise compare`: compare the reports and samples of several runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from likewise.cli.parser import Verbs


def add(verbs: Verbs) -> None:
    p = verbs.add("compare", _run, "measure several runs side by side", "runs/flow runs/gan")
    p.add_argument("runs", nargs="+")
    p.add_argument("--out", help="the page to write")


def _run(a: argparse.Namespace) -> None:
    from rich import print as show

    from likewise.runs.run import Run
    from likewise.verbs.compare import compare

    show(compare([Run(Path(r)) for r in a.runs], out=a.out, progress=print))
