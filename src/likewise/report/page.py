"""Writing a report: `report.json`, and `index.html`, one page that needs nothing from outside of itself.

report.json, schema 1:

    schema, n, n_compared, n_train, seed    what was asked for: samples drawn, items compared, training items kept
    run         name, what, given, modality, family, backbone, steps, weights (hash), version, info (as in run.json)
    verdict     the sentences at the top of the page
    protocol    what every stamp below is made of: features, seed, fingerprints of the real data
    metrics     a list of rows:
        name, title, meaning, better ("higher", "lower" or "real"), percent
        value, low, high            the value and its 95% interval; null where unknown
        n_real, n_fake, seed
        floor       value, low, high of real training data in the samples' place (of held-out data, for copies and
                    texts); null where there is none, as for a likelihood
        baseline    value, low, high, and `what` the trivial baseline is; or null
        note        a sentence, or null
        protocol, stamp             rows of two reports compare only when their stamps are equal
    judge       which judge, its p_value, the samples it recognised most and least easily; or null
    copies      flagged, p_value, z, n_train, reference (which real items say what chance does: held-out or
                training), copied, and nearest training items of a few samples; or null
    columns     for tables: name, measure, distance, bins of (label, real share, sample share)
    skipped     what could not be measured, and why
    seconds     sampling, measuring
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from likewise.report import charts

SCHEMA = 1

#: how large the pictures of one section may be together, in characters of HTML
_ROOM = 1_200_000

Curves = dict[str, dict[str, list[tuple[float, float]]]]


@dataclass
class Shown:
    """What the page shows beside numbers. Figures and texts are HTML as `Modality.show` gives it, cells are text."""

    kind: str = "figures"  #: "figures", "texts" or "rows"
    columns: list[str] = field(default_factory=list)  #: of rows
    fakes: Sequence[Any] = ()
    reals: Sequence[Any] = ()
    captions: Sequence[str] = ()  #: what each fake was asked to be, as HTML
    recognised: Sequence[Any] = ()  #: the fakes that gave themselves away
    missed: Sequence[Any] = ()  #: the fakes that passed for real
    #: (which sample, the sample, its nearest training items with their distances)
    neighbours: list[tuple[int, Any, list[tuple[Any, float]]]] = field(default_factory=list)
    curves: Curves = field(default_factory=dict)


def write(folder: Path, report: Mapping[str, Any], shown: Shown) -> None:
    """Write report.json and index.html into `folder`, each complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "report.json", json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_whole(folder / "index.html", render(report, shown))


def write_whole(path: Path, content: str) -> None:
    """Replace a file at once: a reader sees the old one or the new one, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(content, encoding="utf-8")
    draft.replace(path)


def render(report: Mapping[str, Any], shown: Shown) -> str:
    """The page of a report."""
    rows = {row["name"]: row for row in report["metrics"]}
    groups = [
        ("Can a judge tell?", [n for n in rows if n.startswith("judge_")]),
        ("Fidelity and diversity", ["precision", "recall", "f1", "density", "coverage"]),
        ("Distance from real data", ["kid", "frechet", "frechet_infinity"]),
        ("Likelihood", ["bits", "bits_train"]),
        ("As asked", [n for n in rows if n.startswith("agreement:")]),
        ("Usefulness: train on samples, test on real", [n for n in rows if n.partition(":")[0] == "tstr"]),
        ("Copy check", ["copies_exact", "copies", "authenticity"]),
        ("Who was in the training data?", ["membership", "membership_loss"]),
        ("Translation", ["bleu", "chrf", "ter", "cer", "wer"]),
        (
            "Texts",
            [
                "mauve",
                "self_bleu",
                "repetition",
                "distinct_1",
                "distinct_2",
                "distinct_3",
                "length",
                "repeated",
                "ended",
            ],
        ),
        ("Columns", ["quality", "quality_shapes", "quality_pairs", "columns"]),
    ]
    return environment().get_template("report.html").render(
        report=report,
        rows=rows,
        groups=[(title, [rows[n] for n in names if n in rows]) for title, names in groups if set(names) & rows.keys()],
        shown=fitted(shown),
        item_columns=shown.columns[len(report["run"]["given"]) :],
        strip=_strip,
        curves={term: charts.lines(term, series) for term, series in shown.curves.items()},
        histograms={c["name"]: charts.histogram(c["name"], c["bins"][:40]) for c in report["columns"]},
        lead=[rows[n] for n in ("judge_accuracy", "precision", "recall", "kid", *_others(rows)) if n in rows][:6],
    )  # fmt: skip


@dataclass(frozen=True)
class Sheet:
    """Samples of one run, for a comparison."""

    name: str
    what: str
    kind: str
    columns: Sequence[str]
    items: Sequence[Any]


def write_comparison(path: Path, comparison: Any, sheets: Sequence[Sheet]) -> None:
    """Write the page of a `verbs.compare.Comparison`."""
    fitting = [replace(s, items=s.items if s.kind == "rows" else s.items[: max(1, _room(s.items))]) for s in sheets]
    page = environment().get_template("compare.html").render(comparison=comparison, sheets=fitting)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page)


def environment() -> Environment:
    """Jinja with escaping on: what is not marked as HTML by us is text."""
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["number"] = charts.number
    found.filters["interval"] = interval
    found.filters["fragment"] = Markup
    return found


def interval(row: Mapping[str, Any], percent: bool = False) -> str:
    """ "58% to 64%", or nothing where there is no interval."""
    if row["low"] is None or row["high"] is None:
        return ""
    return f"{charts.number(row['low'], percent)} to {charts.number(row['high'], percent)}"


def fitted(shown: Shown) -> Shown:
    """As many figures as there is room for, so that a page of large pictures stays small enough to send."""
    if shown.kind == "rows":
        return shown
    count = max(1, min(_room(shown.fakes), _room(shown.reals)))
    rows = ["".join([fake, *(item for item, _ in near)]) for _, fake, near in shown.neighbours]
    return replace(
        shown,
        fakes=shown.fakes[:count],
        reals=shown.reals[:count],
        captions=shown.captions[:count],
        recognised=shown.recognised[: _room(shown.recognised, 0.25)],
        missed=shown.missed[: _room(shown.missed, 0.25)],
        neighbours=shown.neighbours[: max(1, _room(rows, 0.5))],
    )


def _room(fragments: Sequence[str], share: float = 1.0) -> int:
    """How many of the fragments fit."""
    left = _ROOM * share
    for i, fragment in enumerate(fragments):
        left -= len(fragment)
        if left < 0:
            return i
    return len(fragments)


def _strip(row: Mapping[str, Any]) -> Markup:
    nan = float("nan")
    value, low, high = (nan if row[key] is None else row[key] for key in ("value", "low", "high"))
    floor, baseline = (row[key]["value"] if row[key] else None for key in ("floor", "baseline"))
    return charts.strip((value, low, high), floor, baseline, row["better"] == "lower")


def _others(rows: Mapping[str, Any]) -> list[str]:
    return ["bits", *(n for n in rows if n.startswith("agreement:")), "columns", "distinct_2", "f1", "coverage"]
