"""The output of `likewise look`: `look.html` with the suspicious records, `look.json`, and `suspects.csv`.

docs/reference/look-json.md lists the keys of look.json.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from likewise.data.records import Records
from likewise.modalities.base import Modality
from likewise.quality.assess import CHECKS, Check, Quality, Suspect
from likewise.report import charts
from likewise.report.page import environment, write_whole

SCHEMA = 1
#: the maximum number of cases of a section by page style; and the total size of its items, in characters of HTML
_MOST = {"figures": 24, "texts": 10, "rows": 12}
_ROOM = 900_000
_BESIDE = 3
#: the maximum number of characters shown of a text
_CHARACTERS = 1000
_CLASSES = 20

_HINTS: dict[Check, str] = {
    "conflict": "Equal items with more than one label. At most one of the labels can be right.",
    "label": "Two classifiers not trained on the label predict another one: the nearest neighbours (shown beside the "
    "item) and a linear discriminant fitted on other items. The label of a rare or unusual item may still be right.",
    "pair": "The prediction from one side matches many random items better than the pair's own other side.",
    "outlier": "Far from all other items; shown beside its nearest neighbours. Rare items are not necessarily wrong.",
    "near": "Closer to each other than expected by chance. Models memorise repeated items first.",
    "equal": "Records with identical content, byte for byte.",
}


@dataclass(frozen=True)
class Case:
    """One suspicious record as the page shows it: HTML, or for rows a list of cells."""

    reason: str
    item: Any
    caption: str
    beside: list[tuple[Any, str]]


@dataclass(frozen=True)
class Section:
    check: Check
    title: str
    hint: str
    count: int
    cases: list[Case]


class Namer:
    """Names, captions and HTML of records."""

    def __init__(self, records: Records, modality: Modality, conditions: Mapping[str, Modality]) -> None:
        self.records, self.modality, self.conditions = records, modality, conditions
        self.kind, self.columns = modality.page_style, []
        if self.kind == "rows":
            self.columns = list(modality.row_of(modality.read(records.columns[records.target][0])))

    def name(self, record: int) -> str:
        """The path relative to the data folder if the record is a file, otherwise its number."""
        value = self.records.columns[self.records.target][record]
        if isinstance(value, Path):
            inside = value.is_relative_to(self.records.path)
            return str(value.relative_to(self.records.path) if inside else value)
        return f"record {record}"

    def excerpt(self, record: int, most: int = 80) -> str:
        """A one-line excerpt of the record: its path, or the beginning of its text."""
        value = self.records.columns[self.records.target][record]
        if isinstance(value, Path):
            return self.name(record)
        text = self.modality.caption(value)
        return " ".join(text[: 2 * most].split())[:most]

    def to_html(self, record: int) -> Any:
        modality = self.modality
        value = modality.read(self.records.columns[self.records.target][record])
        if self.kind == "rows":
            row = modality.row_of(value)
            return ["" if row.get(k) is None else str(row[k]) for k in self.columns]
        if "text" in modality.forms:
            value = modality.read(modality.text_of(value)[:_CHARACTERS])
        return modality.to_html(value)

    def reason(self, suspect: Suspect) -> str:
        """The reason of the suspicion, with the name of the repeated record if there is one."""
        repeats = suspect.check in ("equal", "near", "conflict") and suspect.beside
        return f"{suspect.reason}: {self.name(suspect.beside[0])}" if repeats else suspect.reason

    def caption(self, record: int) -> str:
        columns = self.records.columns
        given = [f"{name}: {m.caption(columns[name][record])[:300]}" for name, m in self.conditions.items()]
        return " \u00b7 ".join([*given, self.name(record)])


def sections(quality: Quality, namer: Namer) -> list[Section]:
    """The suspects by check; equal and near duplicates as whole groups."""
    found = []
    for check, title in CHECKS.items():
        suspects = quality.of(check)
        cases = _groups(quality, suspects) if check in ("near", "equal") else suspects
        if not suspects:
            continue
        shown, room = [], _ROOM
        for suspect in cases[: _MOST[namer.kind]]:
            beside = [(namer.to_html(i), namer.caption(i)) for i in suspect.beside[:_BESIDE]]
            case = Case(suspect.reason, namer.to_html(suspect.record), namer.caption(suspect.record), beside)
            room -= len(str(case.item)) + sum(len(str(item)) for item, _ in beside)
            if shown and room < 0:
                break
            shown.append(case)
        found.append(Section(check, title, _HINTS[check], len(suspects), shown))
    return found


def _groups(quality: Quality, suspects: Sequence[Suspect]) -> list[Suspect]:
    """One suspect for each group that contains any of the suspects, the largest group first."""
    members = {s.record for s in suspects}
    out = []
    for group in quality.groups:
        repeats = [i for i in group if i in members]
        if repeats:
            first = next(s for s in suspects if s.record == repeats[0]).beside[0]
            others = tuple(i for i in repeats if i != first)
            out.append(Suspect(first, suspects[0].check, "", f"{len(others) + 1:,} records", len(group), others))
    return sorted(out, key=lambda s: -len(s.beside))


def write(
    folder: Path, about: Mapping[str, Any], headlines: Sequence[str], quality: Quality | None, namer: Namer
) -> None:
    """Write look.html, look.json and suspects.csv into `folder`, each by atomic replacement.

    about: the keys of look.json other than `quality`; see docs/reference/look-json.md.
    """
    folder.mkdir(parents=True, exist_ok=True)
    suspects = quality.suspects if quality else []
    rows = [
        {
            "record": s.record, "item": namer.excerpt(s.record), "check": s.check, "field": s.field,
            "reason": namer.reason(s), "score": round(float(s.score), 4),
        }
        for s in suspects
    ]  # fmt: skip
    table = io.StringIO()
    writer = csv.DictWriter(table, ["record", "item", "check", "field", "reason", "score"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(folder / "suspects.csv", table.getvalue())
    whole = {"schema": SCHEMA, **about, "quality": quality and quality.to_json()}
    write_whole(folder / "look.json", json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    page = environment().get_template("look.html").render(
        about=about, headlines=headlines, quality=quality, kind=namer.kind, columns=namer.columns,
        sections=sections(quality, namer) if quality else [],
        bars=[] if quality is None else [
            (each, charts.bars(each.name, [*each.balance.counts.items()][:_CLASSES])) for each in quality.labelled
        ],
        curves=[] if quality is None else _curves(quality),
        most_classes=_CLASSES,
    )  # fmt: skip
    write_whole(folder / "look.html", page)
    assert os.path.getsize(folder / "look.html") < 5 * 2**20, "sections are limited by _ROOM"


def _curves(quality: Quality) -> list[tuple[str, str, Any]]:
    """Title, explanation and chart of each curve."""
    both = (
        ("Vendi score", "The effective number of different items in a set of that size.", quality.diversity.vendi),
        (
            "distance to the nearest",
            "The mean distance from an item to the nearest of that many others, over that of a random pair.",
            quality.diversity.nearest,
        ),
    )
    return [
        (title, what, charts.lines(title, {title: [(float(n), v) for n, v in curve]}, by="number of items"))
        for title, what, curve in both
        if len(curve) > 1
    ]
