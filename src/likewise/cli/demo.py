"""`likewise demo`: train on a small data set of an installed package."""

from __future__ import annotations

import argparse
from pathlib import Path

from likewise.cli.parser import Verbs


def add(verbs: Verbs) -> None:
    p = verbs.add(
        "demo", _run, "train on data that a dependency ships, and write samples and a report", "", "text", "table"
    )
    p.add_argument("kind", nargs="?", default="images", choices=("images", "text", "table"))
    p.add_argument("--minutes", type=float, default=1.0)
    p.add_argument("--out", default="demo", help="folder for data, run and report (default demo)")


def _run(a: argparse.Namespace) -> None:
    from likewise.verbs.demo import demo

    print(demo(a.kind, Path(a.out), a.minutes))
