"""A folder of pictures or clips with a table of their captions, labels and other fields: metadata.jsonl or .csv."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from likewise.data.layouts.base import Layout, Source
from likewise.data.layouts.files import files_of_one_kind, suffixes_of_files
from likewise.data.layouts.items import paths
from likewise.data.records import Records
from likewise.data.tables import read_rows

_NAMES = ("metadata.jsonl", "metadata.csv")
#: default condition: the first of these fields that exists
_GIVEN = ("text", "caption", "label")
#: a column holds labels, not texts, if its share of distinct values is at most this
_LABELS = 0.05


class Metadata(Layout):
    rank = 0

    def detect(self, source: Source) -> int:
        return int(source.is_folder and _table(source.path) is not None)

    def read(self, source: Source) -> Records:
        table = _table(source.path)
        assert table is not None
        rows = read_rows(table)
        files = _files(source.path, table, rows)
        found = files_of_one_kind(source.path, files, source.as_)
        if found is None:
            known = ", ".join(sorted(suffixes_of_files()))
            raise ValueError(f"{table}: no modality reads files such as {files[0]}; known are {known}")
        kind = found[0].name
        columns: dict[str, Any] = {kind: paths(source.path, files)}
        modalities = {kind: kind}
        for name in dict.fromkeys(k for row in rows for k in row if k != "file_name"):
            values = [row.get(name) for row in rows]
            if all(isinstance(v, (str, int)) or v is None for v in values):
                columns[name] = [None if v is None else str(v) for v in values]
                modalities[name] = "label" if len(set(columns[name])) <= _LABELS * len(rows) else "text"
        given = tuple(name for name in _GIVEN if name in columns)[:1]
        return Records(source.path, f"{found[0].item}s with metadata", modalities, columns, kind, given)


def _table(folder: Path) -> Path | None:
    return next((folder / name for name in _NAMES if (folder / name).is_file()), None)


def _files(folder: Path, table: Path, rows: list[dict[str, Any]]) -> list[str]:
    """The file names of the rows. Raises ValueError if one is missing."""
    if not rows or "file_name" not in rows[0]:
        raise ValueError(f"{table}: every row needs a file_name")
    missing = [f for f in (row["file_name"] for row in rows) if not f or not (folder / str(f)).exists()]
    if missing:
        raise ValueError(f"{table}: {len(missing)} of its files are missing, the first is {missing[0]}")
    return [str(row["file_name"]) for row in rows]
