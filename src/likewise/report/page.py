"""Writes a report: `report.json`, whose keys are defined by `schema.json` beside this file, and `index.html`, a
self-contained page.
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

#: the version of report.json's layout, raised when the meaning of a key changes or a key is removed
SCHEMA = 2

#: the maximum total size of the pictures of one section, in characters of HTML
_ROOM = 1_200_000

Row = Mapping[str, Any]
Curves = dict[str, dict[str, list[tuple[float, float]]]]


@dataclass
class Shown:
    """Items that the page shows with the numbers: HTML from `Modality.to_html`, or for rows lists of cell texts."""

    kind: str = "figures"  #: "figures", "texts" or "rows"
    columns: list[str] = field(default_factory=list)  #: the column names of rows
    fakes: Sequence[Any] = ()
    reals: Sequence[Any] = ()
    captions: Sequence[str] = ()  #: the condition of each fake, as HTML
    recognised: Sequence[Any] = ()  #: the fakes that the judge recognised with the highest confidence
    missed: Sequence[Any] = ()  #: the fakes that the judge classified as real
    accused: Sequence[Any] = ()  #: the real items that the judge classified as fake
    #: the judge's score of each of `recognised`, `missed` and `accused`: the share of the other side with a lower score
    suspicions: dict[str, list[str]] = field(default_factory=dict)
    #: (sample number, the sample, its nearest training items with their distances)
    neighbours: list[tuple[int, Any, list[tuple[Any, float]]]] = field(default_factory=list)
    curves: Curves = field(default_factory=dict)


def write(folder: Path, report: Mapping[str, Any], shown: Shown) -> None:
    """Write report.json and index.html into `folder`, each by atomic replacement."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "report.json", json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_whole(folder / "index.html", printable(render(report, shown)))


def cell(value: Any) -> str:
    """The text of a table cell: numbers with at most six digits; empty if the value is missing."""
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def write_whole(path: Path, content: str) -> None:
    """Replace a file atomically: a reader sees the old or the new content, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(content, encoding="utf-8")
    draft.replace(path)


def render(report: Mapping[str, Any], shown: Shown) -> str:
    """The HTML page of a report."""
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
    """The rows, given by name, under the headings of the page."""

    def of(*measures: str) -> list[str]:
        """The names of the rows of these measures, including those of single fields ("measure:field")."""
        return [name for name in rows if name.partition(":")[0] in measures]

    groups = [
        ("The judge: a classifier of real and generated items", [n for n in rows if n.startswith(("judge_", "own_"))]),
        ("Fidelity and diversity", ["precision", "recall", "f1", "density", "coverage", *of("modes", "modes_kl")]),
        ("Distance from real data", ["kid", "frechet", "frechet_infinity"]),
        ("Likelihood", ["bits", "bits_train"]),
        ("Latent", ["latent_kl", "latent_active"]),
        ("Reconstruction", ["reconstruction", "psnr"]),
        ("Codebook", ["codes_used", "perplexity"]),
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
    """Samples of one run in a comparison."""

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
    """The page with characters that HTML forbids made visible; untrained text models generate control characters."""
    return page.translate(_FORBIDDEN)


#: C0 controls map to their control pictures (U+2400 and up); other controls, surrogates and noncharacters to U+FFFD
_FORBIDDEN = {c: 0x2400 + c for c in range(32) if chr(c) not in "\t\n\f\r"} | {0x7F: 0x2421}
_FORBIDDEN |= dict.fromkeys((*range(0x80, 0xA0), *range(0xD800, 0xE000), *range(0xFDD0, 0xFDF0)), 0xFFFD)
_FORBIDDEN |= {plane + end: 0xFFFD for plane in range(0, 0x110000, 0x10000) for end in (0xFFFE, 0xFFFF)}


def environment(html: bool = True) -> Environment:
    """The Jinja environment of the templates; for pages with escaping of all text that is not marked as HTML."""
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
    """A picture's HTML with an alternative text of name and caption; other HTML unchanged. caption: HTML."""
    text = " ".join(filter(None, (name, Markup(caption).striptags())))
    return Markup(re.sub(r'alt="[^"]*"', lambda _: f'alt="{escape(text)}"', fragment, count=1))


def interval(row: Mapping[str, Any], percent: bool = False) -> str:
    """ "58% to 64%"; empty if there is no interval."""
    if row["low"] is None or row["high"] is None:
        return ""
    return f"{charts.number(row['low'], percent)} to {charts.number(row['high'], percent)}"


def fitted(shown: Shown) -> Shown:
    """`shown`, limited to as many figures as fit the page's maximum size."""
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
    """How many of the fragments fit into `share` of the maximum size."""
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
    """The name of a loss term for a reader; a leading underscore marks a term that was logged but not minimised."""
    plain = name.lstrip("_").replace("_", " ")
    return f"{plain} (logged only)" if name.startswith("_") else plain


def _others(rows: Mapping[str, Any]) -> list[str]:
    return ["bits", *(n for n in rows if n.startswith("agreement:")), "columns", "distinct_2", "psnr", "f1", "coverage"]
