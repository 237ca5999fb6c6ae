"""`likewise chat`: chat with a run that was trained on conversations."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from likewise.cli.parser import Verbs, pairs, set_flag


def add(verbs: Verbs) -> None:
    p = verbs.add(
        "chat", _run, "talk with a run that was trained on conversations",
        "runs/talks", "runs/talks --seed 7 --set temperature=0.8 --system 'You are brief.'",
    )  # fmt: skip
    p.add_argument("run")
    p.add_argument("--seed", type=int, default=0, help="the same words to the same seed get the same replies")
    p.add_argument("--system", default="", metavar="TEXT", help="what the model is told before you speak")
    set_flag(p, "how to draw: temperature=0.8, ...")


def _run(a: argparse.Namespace) -> None:
    from likewise.runs.run import Run
    from likewise.verbs.chat import Chat, chat, typed

    talk = Chat(Run(Path(a.run)), a.seed, pairs(a.set, "--set"), a.system)
    if sys.stdin.isatty():
        print("end with /exit; /reset forgets, /seed N draws other replies", file=sys.stderr)
    try:
        chat(talk, typed(), lambda text: print(text, flush=True), lambda text: print(text, file=sys.stderr))
    except KeyboardInterrupt:
        print(file=sys.stderr)
