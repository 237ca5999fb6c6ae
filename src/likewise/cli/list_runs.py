"""`likewise list`: list the runs in a folder, from their small files and without importing torch."""

from __future__ import annotations

import argparse
from pathlib import Path

from likewise.cli.parser import Verbs


def add(verbs: Verbs) -> None:
    p = verbs.add("list", _run, "list the runs in a folder", "", "elsewhere/runs")
    p.add_argument("folder", nargs="?", default="runs")


def _run(a: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    from likewise.runs.listing import list_runs

    runs = list_runs(Path(a.folder))
    if not runs:
        raise ValueError(f"{a.folder}: no runs in it; likewise train PATH makes one")
    table = Table("run", "learns", "family", "backbone", "steps", "minutes", "val loss")
    for run in runs:
        steps = "unfinished" if run.steps is None else str(run.steps)
        loss = "-" if run.loss is None else f"{run.loss:.4f}"
        table.add_row(str(run.path), run.learns, run.family, run.backbone, steps, f"{run.seconds / 60:.1f}", loss)
    Console().print(table)
