"""Writes `explain.html`, a page without external files, and `explain.json`.

explain.json, schema 1:

    schema, run (name, what, given, family, backbone, weights), seed
    subjects    the explained items: name, given, index, drawn (true for samples of the run)
    sections    by name: title, and the data of the section (documented in the section's file)
    skipped     parts that could not be shown for this run, with the reason
"""

from __future__ import annotations

import difflib
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from likewise.explain.probe import Probe
from likewise.modalities.base import Modality
from likewise.report.page import cell, environment, printable, write_whole
from likewise.runs.run import Run
from likewise.spaces import Tokens

SCHEMA = 1
#: largest total size of the items of one section, in characters of HTML
_ROOM = 600_000


@dataclass(frozen=True)
class Strip:
    """Items side by side; the others are compared with the first.

    kind: "figures"; "pairs" of figures; "texts"; "wide", one figure that scrolls; or "rows", a table with a line for
    each field and a column for each item.
    """

    title: str
    kind: str
    items: Sequence[Markup]
    captions: Sequence[str]
    #: for rows: (field, for each item (text of the cell, whether it differs from the first item's))
    cells: Sequence[tuple[str, Sequence[tuple[str, bool]]]] = ()
    same: str = ""  #: text that lists the fields in which all items are equal

    @property
    def size(self) -> int:
        return sum(map(len, self.items)) + sum(len(text) for _, line in self.cells for text, _ in line)


@dataclass
class Section:
    """One section of the page. how: how to read it. limits: conclusions that it does not support."""

    name: str
    title: str
    how: str
    limits: str
    strips: list[Strip] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)  #: sentences
    data: dict[str, Any] = field(default_factory=dict)  #: for explain.json
    left_out: int = 0  #: number of strips left out for size


def strip(
    modality: Modality, title: str, values: Sequence[Any], captions: Sequence[str], changes: bool = True
) -> Strip:
    """Values side by side. changes: in texts and rows, mark differences from the first value."""
    if modality.page_style == "rows":
        return _rows(title, modality.as_form(values, "row"), captions, changes)
    if "text" in modality.forms and changes:
        first, *_ = texts = modality.as_form(values, "text")
        return Strip(title, modality.page_style, [marked(first, text) for text in texts], captions)
    return fragments(modality, title, [modality.to_html(value) for value in values], captions)


def _rows(title: str, values: Sequence[Mapping[str, Any]], captions: Sequence[str], changes: bool) -> Strip:
    first = values[0]
    names = list(dict.fromkeys(name for value in values for name in value))
    cells = [
        (name, [(cell(v.get(name, "?")), changes and v.get(name, "?") != first.get(name, "?")) for v in values])
        for name in names
    ]
    if len(values) == 1 or not changes:
        return Strip(title, "rows", [], captions, cells)
    same = ", ".join(f"{name} {line[0][0]}" for name, line in cells if not any(differs for _, differs in line))
    cells = [(name, line) for name, line in cells if any(differs for _, differs in line)]
    return Strip(title, "rows", [], captions, cells, same)


def paired(modality: Modality, title: str, pairs: Sequence[tuple[tuple[Any, str], tuple[Any, str]]]) -> list[Strip]:
    """Pairs of values with captions: one strip for all figures; otherwise one strip per pair."""
    if modality.page_style != "figures":
        return [
            strip(modality, title, [a, b], [about_a, about_b]) for (a, about_a), (b, about_b) in pairs
        ]  # fmt: skip
    return [figure_pairs(title, [(modality.to_html(each), caption) for pair in pairs for each, caption in pair])]


def figure_pairs(title: str, items: Sequence[tuple[str, str]]) -> Strip:
    """A strip of figures as (HTML, caption), where each two consecutive figures are a pair."""
    return Strip(title, "pairs", [Markup(each) for each, _ in items], [caption for _, caption in items])


def fragments(modality: Modality, title: str, items: Sequence[str], captions: Sequence[str]) -> Strip:
    """A strip of HTML fragments made by a modality."""
    kind = "figures" if modality.page_style == "figures" else "texts"
    return Strip(title, kind, [Markup(item) for item in items], captions)


def marked(before: str, after: str) -> Markup:
    """The text `after` as HTML, with words that differ from `before` marked."""
    old, new = (re.findall(r"\s+|\w+|[^\w\s]", text) for text in (before, after))
    out = []
    for what, _, _, start, stop in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        part = html.escape("".join(new[start:stop]))
        out.append(part if what == "equal" or not part else f"<mark>{part}</mark>")
    return Markup(f"<p>{''.join(out)}</p>")


def given_words(given: Mapping[str, Any], run: Run) -> str:
    """A condition as text: "label 3, text a red heart"."""
    said = {k: "any" if v is None else run.conditions[k].modality.caption(v) for k, v in given.items()}
    return ", ".join(f"{name} {value}" for name, value in said.items())


def token_note(probe: Probe) -> list[str]:
    """A note on samples that are drawn token by token, as sentences; empty for other models."""
    if not isinstance(probe.model.target, Tokens):
        return []
    return ["Its samples are drawn token by token: from the first token that differs on, all that follows may differ."]


def about(run: Run) -> dict[str, Any]:
    """The description of a run for the page: name, target, conditions, family, backbone, weights."""
    plan = run.experiment.to_dict()
    return {
        "name": run.name,
        "what": run.encoding.describe(),
        "given": {name: encoding.describe() for name, encoding in run.conditions.items()},
        "family": plan["family"]["name"],
        "backbone": plan["backbone"]["name"],
        "weights": run.weights_hash,
    }


def write(folder: Path, explained: Mapping[str, Any], sections: Sequence[Section], name: str = "explain") -> Path:
    """Write NAME.json and NAME.html into `folder`, each atomically; returns the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {**explained, "sections": {s.name: {"title": s.title, **s.data} for s in sections}}
    text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False, default=str)
    write_whole(folder / f"{name}.json", text + "\n")
    for section in sections:
        _fit(section)
    page = environment().get_template("explain.html").render(explained=whole, sections=sections, name=name)
    write_whole(folder / f"{name}.html", printable(page))
    return folder / f"{name}.html"


def _fit(section: Section) -> None:
    """Leave out the last strips of a section above `_ROOM`, so that the page stays small enough to send."""
    kept, left = [], _ROOM
    for each in section.strips:
        left -= each.size
        if left >= 0 or not kept:
            kept.append(each)
    section.left_out = len(section.strips) - len(kept)
    section.strips = kept
