"""`likewise look`: describe the data, the plan of training and its cost."""

from __future__ import annotations

import argparse
import sys

from likewise.cli.parser import Verbs
from likewise.cli.plan_flags import add_plan_flags, plan_options
from likewise.cli.wording import say


def add(verbs: Verbs) -> None:
    p = verbs.add(
        "look", _run, "read the data, and say what is wrong with them, and what training would learn and cost",
        "photos/ --out looked", "rows.csv --family gan",
    )  # fmt: skip
    p.add_argument("path")
    p.add_argument("--out", metavar="DIR", help="write look.html, look.json and suspects.csv, the list of suspects")
    add_plan_flags(p)


def _run(a: argparse.Namespace) -> None:
    from likewise.verbs.look import look

    def tell(done: int, count: int) -> None:
        if sys.stderr.isatty():
            print(f"\rread {done:,} of {count:,}", end="", file=sys.stderr)

    print(say(look(a.path, tell, out=a.out, wording=say, **plan_options(a)).message()))
