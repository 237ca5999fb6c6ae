"""Writes `explain.html`, a page without external files, and `explain.json`.

explain.json, schema 1:

    schema, run (name, what, given, family, backbone, weights), seed
    subjects    what was explained: name, given, index, drawn (by the run, or a user's own)
    sections    by name: title, and what the section measured (each section's file says what)
    skipped     what could not be shown of this run, and why
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
#: how large the fragments of one section may be together, in characters of HTML
_ROOM = 600_000


@dataclass(frozen=True)
class Strip:
    """Items in a row, the first of them the one that the others are to be compared with.

    kind: "figures"; "pairs" of them; "texts"; "wide", one that is scrolled; or "rows", whose cells stand in a table: a
    line for each field, a column for each item.
    """

    title: str
    kind: str
    items: Sequence[Markup]
    captions: Sequence[str]
    #: of rows: (field, (what stands there for each item, whether it differs from the first item's))
    cells: Sequence[tuple[str, Sequence[tuple[str, bool]]]] = ()
    same: str = ""  #: fields in which no item differs, in words

    @property
    def size(self) -> int:
        return sum(map(len, self.items)) + sum(len(text) for _, line in self.cells for text, _ in line)


@dataclass
class Section:
    """One question and its answer. how: a sentence on how to read it. limits: what it does not say."""

    name: str
    title: str
    how: str
    limits: str
    strips: list[Strip] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)  #: sentences
    data: dict[str, Any] = field(default_factory=dict)  #: for explain.json
    left_out: int = 0  #: strips for which there was no room


def strip(
    modality: Modality, title: str, values: Sequence[Any], captions: Sequence[str], changes: bool = True
) -> Strip:
    """Values side by side. changes: mark in texts and rows what differs from the first value."""
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
    """Two and two values, each with its caption: figures in one strip, anything else in a strip for each pair."""
    if modality.page_style != "figures":
        return [
            strip(modality, title, [a, b], [about_a, about_b]) for (a, about_a), (b, about_b) in pairs
        ]  # fmt: skip
    return [figure_pairs(title, [(modality.to_html(each), caption) for pair in pairs for each, caption in pair])]


def figure_pairs(title: str, items: Sequence[tuple[str, str]]) -> Strip:
    """Figures as HTML, each with its caption, of which two and two belong together."""
    return Strip(title, "pairs", [Markup(each) for each, _ in items], [caption for _, caption in items])


def fragments(modality: Modality, title: str, items: Sequence[str], captions: Sequence[str]) -> Strip:
    """HTML that a modality made, side by side where it is of figures."""
    kind = "figures" if modality.page_style == "figures" else "texts"
    return Strip(title, kind, [Markup(item) for item in items], captions)


def marked(before: str, after: str) -> Markup:
    """The text `after` as HTML, in which the words that are not in `before` at their place are marked."""
    old, new = (re.findall(r"\s+|\w+|[^\w\s]", text) for text in (before, after))
    out = []
    for what, _, _, start, stop in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        part = html.escape("".join(new[start:stop]))
        out.append(part if what == "equal" or not part else f"<mark>{part}</mark>")
    return Markup(f"<p>{''.join(out)}</p>")


def given_words(given: Mapping[str, Any], run: Run) -> str:
    """What was given to the run, in words: "label 3, text a red heart"."""
    said = {k: "any" if v is None else run.conditions[k].modality.caption(v) for k, v in given.items()}
    return ", ".join(f"{name} {value}" for name, value in said.items())


def token_note(probe: Probe) -> list[str]:
    """What to know of samples that are made token by token, as sentences."""
    if not isinstance(probe.model.target, Tokens):
        return []
    return ["Its samples are drawn token by token: from the first token that differs on, all that follows may differ."]


def about(run: Run) -> dict[str, Any]:
    """What a page says of the run that it explains."""
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
    """Write NAME.json and NAME.html into `folder`, each whole or not at all; returns the page."""
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
    """Leave out the last strips of large pictures, so that the page stays small enough to send."""
    kept, left = [], _ROOM
    for each in section.strips:
        left -= each.size
        if left >= 0 or not kept:
            kept.append(each)
    section.left_out = len(section.strips) - len(kept)
    section.strips = kept
