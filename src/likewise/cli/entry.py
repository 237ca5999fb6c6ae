"""The command `likewise`: runs a verb and prints its errors. Heavy modules are imported only when a verb runs."""

from __future__ import annotations

import argparse
import sys

from likewise.cli import chat, checks, compare, demo, evaluate, explain, export, list_runs, look, sample, train
from likewise.cli.parser import Parser, Verbs
from likewise.cli.wording import one_line
from likewise.version import __version__

#: the verbs, in the order of the help
_VERBS = (look, train, sample, chat, evaluate, compare, explain, list_runs, export, checks, demo)


def build_parser() -> argparse.ArgumentParser:
    top = Parser(
        "likewise",
        description="Point it at your data and get a generative model you can trust.",
        epilog="start with: likewise demo, or: likewise train PATH",
    )
    top.add_argument("--version", action="version", version=f"likewise {__version__}")
    verbs = Verbs(top)
    for module in _VERBS:
        module.add(verbs)
    return top


def main() -> None:
    args = build_parser().parse_args()
    try:
        args.run_verb(args)
    except (ValueError, OSError, ArithmeticError, MemoryError) as error:
        print("likewise: " + one_line(error), file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
