"""`likewise verify` and `likewise prove`: check a run for damage, and test recovery from kills and damage."""

from __future__ import annotations

import argparse
from pathlib import Path

from likewise.cli.parser import Verbs


def add(verbs: Verbs) -> None:
    p = verbs.add("verify", _verify, "check every file of a run, and draw its stored samples again", "runs/digits")
    p.add_argument("run")
    p = verbs.add(
        "prove", _prove, "kill training and damage checkpoints at random, and see that nothing is lost",
        "kills --count 200 --processes 2", "flips --count 1000", "elastic",
    )  # fmt: skip
    p.add_argument("what", choices=("kills", "flips", "elastic"))
    p.add_argument("--count", type=int, help="how many (default 200 kills, 1000 flips)")
    p.add_argument("--processes", type=int, default=1, help="that train together (kills; default 1)")
    p.add_argument(
        "--family", action="append", help="of the runs; repeatable (default three for kills, all for elastic)"
    )
    p.add_argument("--seed", type=int, default=0, help="of the moments and places (default 0)")


def _verify(a: argparse.Namespace) -> None:
    from likewise.verbs.verify import verify

    found = verify(Path(a.run))
    print(found)
    if found.damaged:
        raise SystemExit(1)


def _prove(a: argparse.Namespace) -> None:
    from likewise.verbs.prove import FAMILIES, elastic, flips, kills

    def say(text: str) -> None:
        print(text, flush=True)

    for family in a.family or ():
        if family not in FAMILIES:
            raise ValueError(f"--family {family}: there are {', '.join(FAMILIES)}")
    if a.what == "flips":
        found = flips(a.count or 1000, a.seed, say)
    elif a.what == "elastic":
        found = elastic(families=tuple(a.family or FAMILIES), say=say)
    else:
        found = kills(a.count or 200, tuple(a.family or FAMILIES[:3]), a.processes, a.seed, say)
    print("\n".join([str(found), *found.failures[1:]]))
    if found.failures:
        raise SystemExit(1)
