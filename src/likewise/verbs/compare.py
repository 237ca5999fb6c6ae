"""Compare runs: one table of their reports, and a page with their samples side by side.

Runs that differ only in the training seed are one experiment. An additional column gives its mean over seeds, with
Student's 95% interval; it includes the variation between trainings, which the interval of a single run does not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from likewise.metrics.intervals import generator, over_seeds
from likewise.report.build import build
from likewise.report.charts import number
from likewise.report.evidence import shown_items
from likewise.report.page import SCHEMA, Sheet, interval, write_comparison
from likewise.runs.run import Run

Row = dict[str, Any]

_WAYS = {"higher": "higher", "lower": "lower", "real": "near real"}


@dataclass(frozen=True)
class Comparison:
    """The measures of several runs: prints as a table."""

    names: list[str]
    rows: list[list[Row | None]]  #: for each measure of any run, its row in each run's report; None if absent
    best: list[set[int]]  #: for each measure, the indices of runs that are best or not distinguishable from the best
    warnings: list[str]
    page: Path

    def __rich__(self) -> Table:
        caption = "\n".join([*self.warnings, f"bold: best, or not told apart from the best; page: {self.page}"])
        table = Table(title="Runs compared", caption=caption, caption_justify="left")
        table.add_column("measure")
        table.add_column("better")
        for name in self.names:
            table.add_column(Text(name), justify="right")
        for row, best in zip(self.rows, self.best, strict=True):
            first = next(each for each in row if each)
            cells = [_cell(each, i in best) for i, each in enumerate(row)]
            table.add_row(Text(first["title"]), _WAYS[first["better"]], *cells)
        return table


def compare(
    runs: Sequence[Any], out: Path | str | None = None, seed: int = 0, progress: Callable[[str], None] | None = None
) -> Comparison:
    """Compare two or more runs; runs without a report of their current weights are evaluated first.

    The page is written to `out`, by default `compare-NAMES.html` in the first run's report folder. Raises ValueError
    for fewer than two runs.
    """
    if len(runs) < 2:
        raise ValueError(f"{len(runs)} run: compare needs at least two")
    tell = progress or (lambda _: None)
    reports = [_report(run, seed, tell) for run in runs]
    names = _names(runs)
    groups = _seeds(runs)
    columns = [*names, *(f"{names[group[0]]} and {len(group) - 1} more seeds: mean" for group in groups)]
    grouped = {i for group in groups for i in group}
    rows, best, differing = [], [], []
    tables = [{row["name"]: row for row in report["metrics"]} for report in reports]
    for measure in dict.fromkeys(name for table in tables for name in table):
        row = [table.get(measure) for table in tables]
        stamps = {each["stamp"] for each in row if each}
        row += [_mean([row[i] for i in group]) for group in groups]
        rows.append(row)
        # A mean over seeds replaces its runs in the ranking, so that no run is best by a lucky seed.
        alone = [None if i in grouped else each for i, each in enumerate(row)]
        best.append(_best(alone) if len(stamps) == 1 else set())
        if len(stamps) > 1:
            differing.append(next(each["title"] for each in row if each))
    warnings = []
    if differing:
        what = f"{len(differing)} of {len(rows)} measures" if len(differing) < len(rows) else "no measure"
        warnings.append(
            f"protocol stamps differ: {what} {'cannot' if len(differing) < len(rows) else 'can'} be compared "
            f"({_why(reports)}); evaluate the runs with equal n and seed on the same data"
        )
    path = Path(out) if out else runs[0].path / "report" / f"compare-{'-'.join(names)[:80].replace('/', '-')}.html"
    comparison = Comparison(columns, rows, best, warnings, path)
    tell("drawing samples side by side")
    write_comparison(path, comparison, [_sheet(run, name, seed) for run, name in zip(runs, names, strict=True)])
    return comparison


def _report(run: Run, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    path = run.path / "report" / "report.json"
    if path.exists():
        report = json.loads(path.read_text(encoding="utf-8"))
        if report.get("schema") == SCHEMA and report["run"]["weights"] == run.weights_hash:
            return report
    tell(f"evaluating {run.name}")
    return build(run, seed=seed, progress=tell)


def _names(runs: Sequence[Run]) -> list[str]:
    """The names of the runs; their folders if two have the same name."""
    names = [run.name for run in runs]
    return [str(run.path) if names.count(run.name) > 1 else run.name for run in runs]


def _seeds(runs: Sequence[Run]) -> list[list[int]]:
    """Groups of indices of runs that differ only in the training seed, with equal data."""
    groups: dict[str, list[int]] = {}
    for i, run in enumerate(runs):
        plan = run.experiment.to_dict()
        training = {key: value for key, value in plan.get("training", {}).items() if key != "seed"}
        one = {**plan, "training": training, "fingerprint": run.info.get("fingerprint")}
        groups.setdefault(json.dumps(one, sort_keys=True, default=str), []).append(i)
    return [group for group in groups.values() if len(group) > 1]


def _mean(rows: Sequence[Row | None]) -> Row | None:
    """The mean of one measure over seeds; None if a run lacks it or the protocols differ."""
    known = [row for row in rows if row and row["value"] is not None]
    if len(known) < len(rows) or len({row["stamp"] for row in known}) > 1:
        return None
    found = over_seeds([row["value"] for row in known])
    return {**known[0], "value": found.value, "low": found.low, "high": found.high, "seeds": len(known)}


def _best(row: Sequence[Row | None]) -> set[int]:
    """The indices of the best run and of all runs whose interval contains the best value."""
    marks = {i: _badness(each) for i, each in enumerate(row) if each and each["value"] is not None}
    marks = {i: mark for i, mark in marks.items() if mark is not None}
    if len(marks) < 2:
        return set()
    winner = min(marks, key=lambda i: marks[i])
    value = (row[winner] or {})["value"]
    return {i for i in marks if i == winner or _holds(row[i] or {}, value)}


def _badness(row: Row) -> float | None:
    """A score where lower is better; None if the measure has no direction."""
    value = row["value"]
    if row["better"] == "real":
        return abs(value - row["floor"]["value"]) if row["floor"] else None
    return -value if row["better"] == "higher" else value


def _holds(row: Row, value: float) -> bool:
    return row["low"] is not None and row["high"] is not None and row["low"] <= value <= row["high"]


def _why(reports: Sequence[Mapping[str, Any]]) -> str:
    """The parts of the protocols that differ, as text."""
    keys = [key for key in reports[0]["protocol"] if len({str(r["protocol"].get(key)) for r in reports}) > 1]
    if len({report["n_compared"] for report in reports}) > 1 or len({report["n"] for report in reports}) > 1:
        keys.append("n")
    return ", ".join(keys) or "settings"


def _cell(row: Row | None, best: bool) -> Text:
    if row is None:
        return Text("-")
    text = Text(number(row["value"], row["percent"]), style="bold" if best else "")
    if spread := interval(row, row["percent"]):
        text.append(f"\n{spread}", style="dim")
    return text


def _sheet(run: Run, name: str, seed: int, count: int = 32) -> Sheet:
    """A sheet of samples; runs of the same data get the same conditions."""
    held_out = run.reference("held_out")
    if not run.experiment.family.generates:
        return Sheet(name, run.encoding.describe(), *shown_items(run.modality, run.reconstruct(held_out.x[:count])[0]))
    given = None
    if held_out.given:
        order = generator(seed, "compare").permutation(len(held_out.values))
        given = [{key: part[order[i % len(order)]] for key, part in held_out.given.items()} for i in range(count)]
    return Sheet(
        name, run.encoding.describe(), *shown_items(run.modality, run.sample(count, seed=seed, given=given).values)
    )
