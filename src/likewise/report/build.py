"""Builds a report: gathers the evidence, computes the rows of each section, adds a verdict, and writes the page.

`report.page` defines the content of report.json; `report.evidence` defines the compared data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from likewise.report.card import write_card
from likewise.report.evidence import Evidence, gather, shown_items
from likewise.report.page import SCHEMA, Shown, write
from likewise.report.sections import OF_RECONSTRUCTIONS, SECTIONS
from likewise.report.verdict import verdict
from likewise.runs.run import Run
from likewise.version import __version__

#: keys of metrics.jsonl that are not loss terms
_NOT_LOSSES = {"step", "steps", "seconds", "split", "lr", "items_per_second", "tokens_per_second", "best", "best_step"}


def build(
    run: Run,
    n: int = 1000,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    features: str = "pca",
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Measure `n` samples of `run`, drawn with `seed`, and write the report: see `verbs.evaluate`."""
    if n < 1:
        raise ValueError(f"n = {n}: evaluate needs at least 1 sample (1000 is usual)")
    tell = progress or (lambda _: None)
    started = time.perf_counter()
    tell(f"drawing {n} samples")
    evidence = gather(run, n, seed, features, settings)
    drawn = time.perf_counter()
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "run": _about(run),
        "n": len(evidence.fakes),
        "n_compared": evidence.compared,
        "n_train": len(evidence.train.values),
        "drawn": run.experiment.family.generates,
        "seed": seed,
        "sampling": run.sampler.changed_settings(settings),
        "protocol": evidence.stamp,
        "judge": None,
        "copies": None,
        "columns": [],
        "metrics": [],
        "skipped": evidence.skipped,
    }
    shown = Shown()
    last = ""
    for doing, section in SECTIONS if report["drawn"] else OF_RECONSTRUCTIONS:
        if doing != last:
            tell(last := doing)
        report["metrics"] += list(section(evidence, report, shown))
    report["verdict"] = verdict(report)
    report["seconds"] = {"sampling": round(drawn - started, 2), "measuring": round(time.perf_counter() - drawn, 2)}
    tell("writing the report")
    _show(evidence, shown)
    write(run.path / "report", report, shown)
    tell(f"model card: {write_card(run, report, evidence.fakes)}")
    return report


def _show(evidence: Evidence, shown: Shown) -> None:
    """Fill `shown` with the samples and the real data beside them."""
    picked = evidence.beside
    fakes, reals = evidence.fakes, [evidence.held_out.values[i] for i in picked]
    given = evidence.samples.given if evidence.held_out.given else [{}] * len(fakes)
    real_given = [{name: part[i] for name, part in evidence.held_out.given.items()} for i in picked]
    shown.kind, shown.columns, shown.fakes = shown_items(evidence.run.modality, fakes, given)
    _, _, shown.reals = shown_items(evidence.run.modality, reals, real_given)
    if evidence.held_out.given:
        fields = evidence.run.conditions
        shown.captions = [
            ", ".join(fields[name].modality.to_html(value) for name, value in asked.items() if name in fields)
            for asked in given[: len(shown.fakes)]
        ]
    shown.curves = _curves(evidence.run.metrics())


def _curves(lines: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """metrics.jsonl as {term: {split: [(step, value)]}}, terms in order of first appearance."""
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for line in lines:
        if line.get("split", "train") not in ("train", "val"):
            continue  # checkpoints and alarms
        for term, value in line.items():
            if (
                term in _NOT_LOSSES
                or isinstance(value, bool)
                or not isinstance(value, (int, float))
                or "step" not in line
            ):
                continue
            series = curves.setdefault(term, {}).setdefault(str(line.get("split", "train")), [])
            series.append((float(line["step"]), float(value)))
    return curves


def _about(run: Run) -> dict[str, Any]:
    plan = run.experiment.to_dict()
    lines = run.metrics()
    return {
        "name": run.name,
        "what": run.encoding.describe(),
        "given": {name: encoding.describe() for name, encoding in run.conditions.items()},
        "modality": run.modality.name,
        "encoding": run.encoding.name,
        "given_encodings": {name: encoding.name for name, encoding in run.conditions.items()},
        "family": plan["family"]["name"],
        "backbone": plan["backbone"]["name"],
        "steps": max((int(line.get("step", 0)) for line in lines), default=0),
        "weights": run.weights_hash,
        "version": __version__,
        "info": dict(run.info),
    }
