"""A table (.csv, .tsv, .jsonl, .parquet): rows, one or two columns of texts, or conversations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from likewise.data import conversations
from likewise.data.columns import Stream
from likewise.data.indexed import Lines
from likewise.data.layouts.base import Layout, Source
from likewise.data.layouts.conversations import as_records
from likewise.data.layouts.texts import stream
from likewise.data.records import Records
from likewise.data.tables import is_text, json_row, read_rows

#: rows of a large table from which columns and their types are inferred
_LOOKED_AT = 1000


class Table(Layout):
    """A table file, or a folder with exactly one table and no files of other layouts."""

    rank = 7

    def detect(self, source: Source) -> int:
        return int(len(source.tables) == 1)

    def read(self, source: Source) -> Records:
        path = source.root / source.tables[0]
        return _streamed(path, source) or _in_memory(path)


def _in_memory(path: Path) -> Records:
    rows = read_rows(path)
    if not rows:
        raise ValueError(f"{path}: the file has no rows")
    if talks := conversations.of_rows(path, rows):
        return as_records(path, talks)
    names = list(dict.fromkeys(k for row in rows for k in row))
    rows = [{k: row.get(k) for k in names} for row in rows]  # a name that is absent from a row is a missing cell
    columns: dict[str, Any] = {k: [row[k] for row in rows] for k in names}
    if len(names) <= 2 and all(is_text(column) for column in columns.values()):
        return _texts(path, names, columns, [])
    return Records(path, "table", {"row": "table"}, {"row": rows}, "row")


def _texts(path: Path, names: Sequence[str], columns: dict[str, Any], notes: list[str]) -> Records:
    """One column of texts, or two, the first of which is the condition."""
    modalities = dict.fromkeys(names, "text")
    return Records(path, "table of texts", modalities, columns, names[-1], tuple(names[:-1]), notes)


def _streamed(path: Path, source: Source) -> Records | None:
    """A large .jsonl or .tsv of texts, read on demand; None if it is small or not a table of texts."""
    suffix = path.suffix.lower()
    if suffix not in (".jsonl", ".tsv") or not source.too_large([path]):
        return None
    lines = stream([path], "line")
    columns = _json_columns(path, lines) if suffix == ".jsonl" else _tab_columns(path, lines)
    names = list(columns)
    values = [[column[i] for i in range(min(_LOOKED_AT, len(column)))] for column in columns.values()]
    if not names or len(names) > 2 or conversations.sides(names) or not all(map(is_text, values)):
        return None
    return _texts(path, names, {**columns}, lines.notes)


def _json_columns(path: Path, lines: Lines) -> dict[str, Stream]:
    some = [json_row(path, lines[i]) for i in range(min(_LOOKED_AT, len(lines)))]
    names = dict.fromkeys(k for row in some for k in row)
    return {k: lines.map(lambda v, k=k: json_row(path, v).get(k)) for k in names}


def _tab_columns(path: Path, lines: Lines) -> dict[str, Stream]:
    names = lines[0].split("\t")
    rest = lines.subset(range(1, len(lines)))
    return {k: rest.map(lambda v, i=i: _cell(path, v, i, len(names))) for i, k in enumerate(names)}


def _cell(path: Path, line: str, number: int, count: int) -> str:
    cells = line.split("\t")
    if len(cells) != count:
        raise ValueError(f"{path}: a row with {len(cells)} cells, its header has {count}: {line[:80]!r}")
    return cells[number]
