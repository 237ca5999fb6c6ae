"""Rows of what the command a user types came to: kept in results/NAME.json, and as a table in results/NAME.md."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

import likewise
from likewise.runs.run import Run

_RESULTS = Path(__file__).parent / "results"


def trained(path: Path, out: Path, minutes: float, *arguments: str) -> tuple[Run, str]:
    """The run that `likewise train path --minutes M arguments` makes, and the command.

    One that is there is taken, and trained to its end where it was broken off.
    """
    words = ["--resume", str(out)]
    if not out.exists():
        words = [str(path), "--out", str(out), "--minutes", f"{minutes:g}", *arguments]
    subprocess.run([sys.executable, "-m", "likewise", "train", *words], check=True)
    run = Run(out)
    shown = path.name if path.is_dir() else f"{path.parent.name}/{path.name}"
    took = run.experiment.training.minutes
    return run, " ".join(["likewise train", shown, "--minutes", f"{took:g}", *arguments])


def keep(table: str, name: str, row: dict[str, Any]) -> None:
    """Put a row into a table, beside those that were not run again. row: "command", and what was found, in words."""
    _RESULTS.mkdir(exist_ok=True)
    file = _RESULTS / f"{table}.json"
    rows = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    rows[name] = {"likewise": likewise.__version__, "torch": torch.__version__, **row}
    file.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = [f"## {table}", "", "| what | command | found |", "|---|---|---|"]
    for each, found in rows.items():
        said = "; ".join(f"{k}: {v}" for k, v in found.items() if k not in ("command", "likewise", "torch"))
        lines.append(f"| {each} | `{found['command']}` | {said} |")
    (_RESULTS / f"{table}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(json.dumps({name: row}, indent=1, ensure_ascii=False), flush=True)
