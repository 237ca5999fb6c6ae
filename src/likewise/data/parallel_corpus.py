"""Readers of texts and translations: two parallel files, a translation memory (TMX), message catalogues (gettext).

Each reader returns columns of equal length by language, the condition first, and notes for the user.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

from likewise.data.tables import read_text
from likewise.errors import Message, Setting, UserError

Columns = dict[str, list[str]]
#: language codes in names of files: en, deu, pt_BR, zh-Hant
_LANGUAGE = re.compile(r"[a-z]{2,3}([-_][A-Za-z0-9]{2,8})?")
#: elements in a TMX segment that hold markup codes of another program, which are not part of the text
_CODES = {"bpt", "ept", "it", "ph", "ut"}
_NAME = "{http://www.w3.org/XML/1998/namespace}lang"


def languages(names: Sequence[str]) -> dict[str, str] | None:
    """Two file names that differ only in their language, by language (a.en and a.de, a.en.txt and a.de.txt)."""
    if len(names) != 2:
        return None
    parts = [name.removesuffix(".txt").rpartition(".") for name in sorted(names)]
    found = {language: name for (_, _, language), name in zip(parts, sorted(names), strict=True)}
    one_stem = parts[0][0] == parts[1][0] != "" and len({name.endswith(".txt") for name in names}) == 1
    return found if one_stem and len(found) == 2 and all(map(_LANGUAGE.fullmatch, found)) else None


def read_lines(files: dict[str, Path]) -> tuple[Columns, list[str]]:
    """Read two files whose lines correspond, by language in alphabetical order. Raises ValueError."""
    columns: Columns = {}
    notes: list[str] = []
    for language in sorted(files):
        text, said = read_text(files[language])
        columns[language] = [line.strip() for line in text.removesuffix("\n").split("\n")]
        notes += said
    (one, first), (other, second) = columns.items()
    if len(first) != len(second):
        raise ValueError(
            f"{files[one]}: it has {len(first):,} lines and {files[other].name} has {len(second):,}; "
            "line i of one must be the translation of line i of the other"
        )
    return _full(columns, notes, "lines")


def read_tmx(path: Path, fields: Sequence[str] = ()) -> tuple[Columns, list[str]]:
    """Read a translation memory of two languages, or of the two in `fields`; the source language comes first."""
    _refuse_entities(path)
    units: list[dict[str, str]] = []
    spelling: dict[str, str] = {}  # EN-US and en-US are one language; the first spelling is kept
    source = ""
    try:
        parents: list[Any] = []
        for event, element in ElementTree.iterparse(path, ("start", "end")):
            tag = _tag(element)
            if event == "start":
                parents.append(element)
                continue
            parents.pop()
            if tag == "header":
                source = element.get("srclang", "").lower()
            elif tag == "tu":
                unit: dict[str, str] = {}
                for variant in element:
                    name = variant.get(_NAME) or variant.get("lang")
                    segment = next((part for part in variant if _tag(part) == "seg"), None)
                    if name and segment is not None:
                        unit.setdefault(spelling.setdefault(name.lower(), name), " ".join(_said(segment).split()))
                units.append(unit)
                parents[-1].remove(element)  # frees its memory
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: not XML that can be read ({error})") from None
    known = sorted(spelling.values())
    chosen = list(dict.fromkeys(fields)) if len(known) > 2 else known
    for name in chosen:
        if name not in known:
            raise ValueError(f"{path}: no language {name!r}; its languages are {', '.join(known) or 'none'}")
    if len(chosen) != 2:
        has = f"its languages are {', '.join(known) or 'none'}"
        fix = Message("name them by ", Setting("given"), " and ", Setting("target")) if len(known) > 2 else ""
        raise UserError(f"{path}: {has}; a translation has two", fix=fix)
    chosen.sort(key=lambda name: (name.lower() != source, name))
    return _full({name: [unit.get(name, "") for unit in units] for name in chosen}, [], "units")


def read_po(files: Sequence[Path]) -> tuple[Columns, list[str]]:
    """Read messages and translations, one pair per plural form, without fuzzy, obsolete and untranslated ones."""
    try:
        from polib import pofile
    except ImportError:
        raise ValueError(
            f"{files[0]}: reading it takes polib, which is not installed: pip install 'likewise[po]'"
        ) from None
    pairs: list[tuple[str, str]] = []
    left_out = 0
    for path in files:
        try:
            entries = list(pofile(str(path)))
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a catalogue that can be read ({' '.join(str(error).split())})") from None
        for entry in entries:
            if entry.obsolete or entry.fuzzy:
                left_out += 1
            elif entry.msgid_plural:
                forms = [form for _, form in sorted(entry.msgstr_plural.items())]
                # A language with a single form uses it for all numbers, so it translates the plural.
                one = entry.msgid if len(forms) > 1 else entry.msgid_plural
                pairs += [(entry.msgid_plural if i else one, form) for i, form in enumerate(forms)]
            else:
                pairs.append((entry.msgid, entry.msgstr))
    columns = {"msgid": [a.strip() for a, _ in pairs], "msgstr": [b.strip() for _, b in pairs]}
    notes = [f"{left_out:,} fuzzy or obsolete messages are left out"] if left_out else []
    return _full(columns, notes, "messages")


def _full(columns: Columns, notes: list[str], what: str) -> tuple[Columns, list[str]]:
    """The pairs in which neither side is empty."""
    first, second = columns.values()
    kept = [i for i in range(len(first)) if first[i] and second[i]]
    if gone := len(first) - len(kept):
        notes = [*notes, f"{gone:,} of {len(first):,} {what} are left out: one side is empty"]
    return {name: [column[i] for i in kept] for name, column in columns.items()}, notes


def _tag(element: Any) -> str:
    return element.tag.rpartition("}")[2]


def _said(element: Any) -> str:
    """The text of a segment, including highlighted parts, without markup codes."""
    inside = (("" if _tag(part) in _CODES else _said(part)) + (part.tail or "") for part in element)
    return (element.text or "") + "".join(inside)


class _Begun(Exception):
    """Ends parsing at the root element; declarations can only precede it."""


def _refuse_entities(path: Path) -> None:
    """Raise ValueError for entity declarations: they allow exponential expansion, and TMX does not need them."""

    def refuse(name: str, *_: object) -> NoReturn:
        raise ValueError(f"{path}: it declares the entity {name!r}, which is refused; write out what it stands for")

    def begun(*_: object) -> NoReturn:
        raise _Begun

    parser = expat.ParserCreate()
    parser.EntityDeclHandler, parser.StartElementHandler = refuse, begun
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except (_Begun, expat.ExpatError):  # invalid XML is reported by the reader
        return
