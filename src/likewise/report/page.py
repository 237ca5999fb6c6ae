"""Writing a report: `report.json`, whose keys `schema.json` beside this file says, and `index.html`, one page that
needs nothing from outside of itself.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from likewise.metrics.catalog import metrics
from likewise.report import charts

#: the number of report.json's layout, raised when a key's meaning changes or a key goes
SCHEMA = 2

#: how large the pictures of one section may be together, in characters of HTML
_ROOM = 1_200_000

Row = Mapping[str, Any]
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
    accused: Sequence[Any] = ()  #: the real items that were taken for fakes
    #: how suspect each of `recognised`, `missed` and `accused` is: the share of the other side that is less so
    suspicions: dict[str, list[str]] = field(default_factory=dict)
    #: (which sample, the sample, its nearest training items with their distances)
    neighbours: list[tuple[int, Any, list[tuple[Any, float]]]] = field(default_factory=list)
    curves: Curves = field(default_factory=dict)


def write(folder: Path, report: Mapping[str, Any], shown: Shown) -> None:
    """Write report.json and index.html into `folder`, each complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "report.json", json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_whole(folder / "index.html", printable(render(report, shown)))


def cell(value: Any) -> str:
    """A table cell's text: of a number at most six digits, of a missing value nothing."""
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def write_whole(path: Path, content: str) -> None:
    """Replace a file at once: a reader sees the old one or the new one, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(content, encoding="utf-8")
    draft.replace(path)


def render(report: Mapping[str, Any], shown: Shown) -> str:
    """The page of a report."""
    rows = {row["name"]: row for row in report["metrics"]}
    return environment().get_template("report.html").render(
        report=report,
        rows=rows,
        groups=groups_of(rows),
        shown=fitted(shown),
        item_columns=shown.columns[len(report["run"]["given"]) :],
        strip=_strip,
        lead_cells=lambda rows, first: [[cell, *row] for cell, row in zip(first, rows, strict=False)],
        curves={_term(term): charts.lines(_term(term), series) for term, series in shown.curves.items()},
        histograms={c["name"]: charts.histogram(c["name"], c["bins"][:40]) for c in report["columns"]},
        lead=[rows[n] for n in ("judge_accuracy", "precision", "recall", "kid", *_others(rows)) if n in rows][:6],
    )  # fmt: skip


def groups_of(rows: Mapping[str, Row]) -> list[tuple[str, list[Row]]]:
    """The rows, by name, under the titles that a reader finds them by."""

    def of(*measures: str) -> list[str]:
        """The rows of measures, each of the whole or of a field."""
        return [name for name in rows if name.partition(":")[0] in measures]

    groups = [
        ("The judge: a classifier of real and generated items", [n for n in rows if n.startswith(("judge_", "own_"))]),
        ("Fidelity and diversity", ["precision", "recall", "f1", "density", "coverage", *of("modes", "modes_kl")]),
        ("Distance from real data", ["kid", "frechet", "frechet_infinity"]),
        ("Likelihood", ["bits", "bits_train"]),
        ("The latent", ["latent_kl", "latent_active"]),
        ("Reconstruction", ["reconstruction", "psnr"]),
        ("The codes", ["codes_used", "perplexity"]),
        ("Agreement with the condition", of("agreement", "r_precision")),
        ("Usefulness: train on samples, test on real", of("tstr")),
        ("Copy check", ["copies_exact", "copies", "authenticity"]),
        ("Membership attacks", ["membership", "membership_loss"]),
        ("Motion", ["motion", "motion_distance", "smoothness", "frozen"]),
        ("Molecules", ["valid", "unique", "novel"]),
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
    stand = {name for _, names in groups for name in names}
    for metric in metrics()[0]:
        names = next((names for title, names in groups if title == metric.group), None)
        if names is None:
            groups.append((metric.group, names := []))
        names += [name for name in metric.measures if name not in stand]
    return [(title, [rows[n] for n in names if n in rows]) for title, names in groups if set(names) & rows.keys()]


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
    write_whole(path, printable(page))


def printable(page: str) -> str:
    """The page with what HTML forbids made visible: an untrained model of texts writes control characters, too."""
    return page.translate(_FORBIDDEN)


#: C0 controls as their pictures (U+2400 and on), other controls, halves of pairs and noncharacters as U+FFFD
_FORBIDDEN = {c: 0x2400 + c for c in range(32) if chr(c) not in "\t\n\f\r"} | {0x7F: 0x2421}
_FORBIDDEN |= dict.fromkeys((*range(0x80, 0xA0), *range(0xD800, 0xE000), *range(0xFDD0, 0xFDF0)), 0xFFFD)
_FORBIDDEN |= {plane + end: 0xFFFD for plane in range(0, 0x110000, 0x10000) for end in (0xFFFE, 0xFFFF)}


def environment(html: bool = True) -> Environment:
    """Jinja, for pages with escaping on: what is not marked as HTML by us is text."""
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["number"] = charts.number
    found.filters["interval"] = interval
    found.filters["fragment"] = Markup
    found.filters["called"] = called
    return found


def called(fragment: str, name: str, caption: str = "") -> Markup:
    """A picture's HTML with an alternative text that says which it is; other HTML as it is. caption: HTML."""
    said = " ".join(filter(None, (name, Markup(caption).striptags())))
    return Markup(re.sub(r'alt="[^"]*"', lambda _: f'alt="{escape(said)}"', fragment, count=1))


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
        accused=shown.accused[: _room(shown.accused, 0.25)],
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


def _term(name: str) -> str:
    """A loss term for a reader; a leading underscore says that it was watched, not minimized."""
    plain = name.lstrip("_").replace("_", " ")
    return f"{plain} (watched)" if name.startswith("_") else plain


def _others(rows: Mapping[str, Any]) -> list[str]:
    return ["bits", *(n for n in rows if n.startswith("agreement:")), "columns", "distinct_2", "psnr", "f1", "coverage"]
