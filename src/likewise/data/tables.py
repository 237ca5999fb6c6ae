"""Reads one file as a text or as the rows of a table, in memory; errors name the line."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

#: letters of scripts without spaces between words: Thai, Lao, Myanmar, Khmer, kana, Han
_UNSPACED = re.compile(
    "[\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
#: minimum number of such letters that counts as several words: class names have up to four
_SENTENCE = 5


def read_text(path: Path) -> tuple[str, list[str]]:
    """A file's text, read as UTF-8 or latin-1, without NUL and with LF line ends; and notes for the user."""
    raw = path.read_bytes()
    if not raw:
        raise ValueError(f"{path}: the file is empty")
    try:
        text, notes = raw.decode("utf-8-sig"), []
    except UnicodeDecodeError as error:
        text, notes = raw.decode("latin-1"), [f"{path}: not UTF-8 at byte {error.start}; read as latin-1"]
    return text.replace("\x00", "").replace("\r\n", "\n"), notes


def json_row(path: Path, line: str) -> dict[str, Any]:
    """One line of a .jsonl file as a row. path: the name of the file in errors. Raises ValueError."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}): {line[:80]!r}") from None
    if not isinstance(row, dict):
        raise ValueError(f"{path}: expected an object, with a name for each field: {line[:80]!r}")
    return row


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a .csv, .tsv, .jsonl or .parquet file as {column: value}; an empty cell is None."""
    import polars as pl

    if path.suffix.lower() == ".jsonl":
        rows = []
        for i, line in enumerate(read_text(path)[0].split("\n"), 1):
            if line.strip():
                rows.append(json_row(Path(f"{path}, line {i}"), line))
        return rows
    try:
        if path.suffix.lower() == ".parquet":
            return pl.read_parquet(path).to_dicts()
        separator = "\t" if path.suffix.lower() == ".tsv" else ","
        text = read_text(path)[0]
        quote = None if separator == "\t" else '"'
        return pl.read_csv(
            text.encode(),
            separator=separator,
            infer_schema_length=None,
            null_values=["", "NA", "NaN"],
            quote_char=quote,
        ).to_dicts()
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path}{_ragged(path)}: {str(error).splitlines()[0]}") from None


def _ragged(path: Path) -> str:
    """The first row whose number of cells differs from the header's, as ", line 7 (3 cells, its header has 2)"."""
    if path.suffix.lower() == ".parquet":
        return ""
    tabs = path.suffix.lower() == ".tsv"
    rows = csv.reader(
        io.StringIO(read_text(path)[0]),
        delimiter="\t" if tabs else ",",
        quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
    )
    header = next(rows, [])
    for row in rows:
        if row and len(row) != len(header):
            return f", line {rows.line_num} ({len(row)} cells, its header has {len(header)})"
    return ""


def is_text(values: list[Any]) -> bool:
    """Whether a column holds texts and not class names: most of its first 1,000 values have several words."""
    some = [v for v in values[:1000] if v is not None]
    return bool(some) and all(isinstance(v, str) for v in some) and sum(map(_wordy, some)) > 0.5 * len(some)


def _wordy(value: str) -> bool:
    return " " in value or len(_UNSPACED.findall(value)) >= _SENTENCE
