"""A user's path to records of named fields. Layouts are detected here and nowhere else."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
#: a text longer than this many bytes is not one record of anything that can be learned whole
_MOST_BYTES = 64 * 2**20
#: characters from which a file is a collection rather than one record
_LONG = 4000
_TABLES = {".csv", ".tsv", ".parquet", ".jsonl"}


@dataclass(frozen=True)
class Records:
    """Records by column: columns[field][i] is the raw value of record i (a Path, a string, a mapping)."""

    path: Path
    layout: str
    modalities: dict[str, str]
    columns: dict[str, list[Any]]
    target: str
    given: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    known_digests: list[str] | None = None

    def __len__(self) -> int:
        return len(self.columns[self.target])

    def subset(self, indices: Sequence[int] | NDArray[np.int64], digests: list[str] | None = None) -> Records:
        """The records at `indices`; digests: their content hashes, if somebody has them already."""
        picked = {k: [v[i] for i in indices] for k, v in self.columns.items()}
        if digests is None and self.known_digests is not None:
            digests = [self.known_digests[i] for i in indices]
        return replace(self, columns=picked, known_digests=digests)

    def digests(self) -> list[str]:
        """A hash of each record's target: files by their bytes, the rest by their text."""
        return self.known_digests or [_digest(v) for v in self.columns[self.target]]

    def split(self, held_out: float, how: str = "hash") -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices of the training and the held-out records; equal records are never on both sides.

        hash: by each record's own content, so that adding data moves no record. tail: the last share of them.
        """
        digests = self.digests()
        count = len(digests)
        if how == "tail":
            first = count - max(1, round(held_out * count))
            seen = set(digests[:first])
            kept = [i for i in range(first, count) if digests[i] not in seen]
            return np.arange(first), np.array(kept, np.int64)
        place = np.array([int(d[:12], 16) / 16**12 for d in digests])
        chosen = place < held_out
        if not chosen.any() and len(set(digests)) > 1:
            chosen = place == place.min()
        if chosen.all():
            chosen = (place == place.min()) & (len(set(digests)) > 1)
        return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _digest(value: Any) -> str:
    data = value.read_bytes() if isinstance(value, Path) else json.dumps(value, default=str).encode()
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def read_records(
    path: str | Path,
    *,
    unit: str | None = None,
    as_: str | None = None,
    target: str | None = None,
    given: Sequence[str] | None = None,
) -> Records:
    """Read what is at `path`. Raises ValueError of one line that names the file and the fix."""
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    if path.suffix.lower() == ".zip":
        raise ValueError(f"{path}: unpack the archive first, then give its folder")
    found = _folder(path, unit) if path.is_dir() else _file(path, unit)
    if not len(found):
        raise ValueError(f"{path}: it holds no records")
    if found.target == "row" and (given or as_ or target):
        found = _split_row(found, tuple(given or ()), target)
    chosen = target or found.target
    wanted = found.given if given is None else tuple(given)
    for name in (chosen, *wanted):
        if name not in found.columns:
            raise ValueError(f"{path}: no field {name!r}; its fields are {', '.join(found.columns)}")
    modalities = {**found.modalities, **({chosen: as_} if as_ else {})}
    return Records(path, found.layout, modalities, found.columns, chosen, wanted, found.notes)


def _text(path: Path) -> tuple[str, list[str]]:
    raw = path.read_bytes()
    if not raw:
        raise ValueError(f"{path}: the file is empty")
    try:
        return raw.decode("utf-8-sig").replace("\x00", ""), []
    except UnicodeDecodeError as error:
        return raw.decode("latin-1"), [f"{path}: not UTF-8 at byte {error.start}; read as latin-1"]


def _bounded(path: Path, unit: str) -> None:
    """Refuse a text that is one endless record before it is in memory; read in pieces."""
    if path.stat().st_size <= _MOST_BYTES:
        return
    end = {"line": b"\n", "paragraph": b"\n\n"}.get(unit)
    run = 0
    with path.open("rb") as file:
        while piece := file.read(_MOST_BYTES // 8):
            parts = piece.split(end) if end else [piece]
            run = run + len(parts[0]) if len(parts) == 1 else len(parts[-1])
            if run > _MOST_BYTES:
                hint = "break it into lines" if unit == "line" else "give --unit line"
                raise ValueError(
                    f"{path}: a {unit} of more than {_MOST_BYTES >> 20} MiB is too long for one record; {hint}"
                )


def _units(text: str, unit: str) -> list[str]:
    parts = {"line": text.splitlines, "paragraph": lambda: text.split("\n\n"), "document": lambda: [text]}[unit]()
    return [p.strip() for p in parts if p.strip()]


def _file(path: Path, unit: str | None) -> Records:
    suffix = path.suffix.lower()
    if suffix in _TABLES:
        return _table(path)
    if suffix in PICTURES:
        raise ValueError(f"{path}: one picture is not a data set; give the folder of pictures")
    if suffix not in (".txt", ".text", ".md", ""):
        raise ValueError(f"{path}: {suffix} files are not known; give .txt, .csv, .tsv, .jsonl, .parquet or a folder")
    _bounded(path, unit or "line")
    text, notes = _text(path)
    return Records(path, "text file", {"text": "text"}, {"text": _units(text, unit or "line")}, "text", (), notes)


def _rows(path: Path) -> list[dict[str, Any]]:
    import polars as pl

    if path.suffix.lower() == ".jsonl":
        rows = []
        for i, line in enumerate(_text(path)[0].splitlines(), 1):
            try:
                row = json.loads(line) if line.strip() else None
            except ValueError as error:
                raise ValueError(f"{path}, line {i}: not JSON ({error})") from None
            if row is not None and not isinstance(row, dict):
                raise ValueError(f"{path}, line {i}: expected an object, with a name for each field")
            if row is not None:
                rows.append(row)
        return rows
    try:
        if path.suffix.lower() == ".parquet":
            return pl.read_parquet(path).to_dicts()
        separator = "\t" if path.suffix.lower() == ".tsv" else ","
        text = _text(path)[0]
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
    """Where a table first has another number of cells than its header, as ", line 7 (3 cells, its header has 2)"."""
    if path.suffix.lower() == ".parquet":
        return ""
    tabs = path.suffix.lower() == ".tsv"
    rows = csv.reader(
        io.StringIO(_text(path)[0]),
        delimiter="\t" if tabs else ",",
        quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
    )
    header = next(rows, [])
    for row in rows:
        if row and len(row) != len(header):
            return f", line {rows.line_num} ({len(row)} cells, its header has {len(header)})"
    return ""


def _is_text(values: list[Any]) -> bool:
    some = [v for v in values[:1000] if v is not None]
    return bool(some) and all(isinstance(v, str) for v in some) and sum(" " in v for v in some) > 0.5 * len(some)


def _table(path: Path) -> Records:
    rows = _rows(path)
    if not rows:
        raise ValueError(f"{path}: the file has no rows")
    names = list(dict.fromkeys(k for row in rows for k in row))
    rows = [{k: row.get(k) for k in names} for row in rows]  # a name that a row leaves out is a missing cell
    columns = {k: [row[k] for row in rows] for k in names}
    texts = [k for k in names if _is_text(columns[k])]
    if len(names) <= 2 and len(texts) == len(names):
        target, given = names[-1], tuple(names[:-1])
        return Records(path, "table of texts", dict.fromkeys(names, "text"), columns, target, given)
    return Records(path, "table", {"row": "table"}, {"row": rows}, "row")


def _split_row(found: Records, given: tuple[str, ...], target: str | None) -> Records:
    """Take the given columns out of the row, and the target too if it is one column."""
    rows: list[dict[str, Any]] = found.columns["row"]
    names = list(dict.fromkeys(k for row in rows for k in row))
    for name in (*given, *([target] if target and target != "row" else [])):
        if name not in names:
            raise ValueError(f"{found.path}: no column {name!r}; its columns are {', '.join(names)}")
    columns: dict[str, list[Any]] = {k: [row.get(k) for row in rows] for k in names}
    modalities = {k: "text" if _is_text(v) else "label" for k, v in columns.items()}
    columns["row"] = [{k: v for k, v in row.items() if k not in given} for row in rows]
    return Records(found.path, found.layout, {**modalities, "row": "table"}, columns, "row", ())


def _folder(path: Path, unit: str | None) -> Records:
    for name in ("metadata.jsonl", "metadata.csv"):
        if (path / name).is_file():
            return _metadata(path, path / name)
    files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
    for suffixes, read in ((PICTURES, _pictures), ({".txt"}, _texts)):
        chosen = [p for p in files if p.suffix.lower() in suffixes]
        if chosen:
            return read(path, chosen, unit)
    kinds = sorted({p.suffix for p in files})[:5]
    raise ValueError(
        f"{path}: no pictures or .txt files in it" + (f" (only {', '.join(kinds)})" if kinds else "; it is empty")
    )


_Reader = Callable[[Path, list[Path], str | None], Records]


def _pictures(path: Path, files: list[Path], unit: str | None) -> Records:
    parents = {p.parent for p in files}
    if path not in parents and len(parents) > 1 and all(p.parent == path for p in parents):
        labels = [p.parent.name for p in files]
        fields = {"image": "image", "label": "label"}
        return Records(
            path, "image folder with classes", fields, {"image": files, "label": labels}, "image", ("label",)
        )
    return Records(path, "image folder", {"image": "image"}, {"image": files}, "image")


def _texts(path: Path, files: list[Path], unit: str | None) -> Records:
    values: list[str] = []
    notes: list[str] = []
    for file in files:
        _bounded(file, unit or "document")
        text, said = _text(file)
        values += _units(text, unit or "document")
        notes += said
    if unit is None and np.median([len(v) for v in values]) > _LONG:
        values = [line for v in values for line in _units(v, "line")]
        notes.append("the files are long: each line is a record (--unit paragraph or document changes it)")
    return Records(path, "text folder", {"text": "text"}, {"text": values}, "text", (), notes)


def _metadata(path: Path, table: Path) -> Records:
    rows = _rows(table)
    if not rows or "file_name" not in rows[0]:
        raise ValueError(f"{table}: every row needs a file_name")
    missing = [r["file_name"] for r in rows if not (path / str(r["file_name"])).is_file()]
    if missing:
        raise ValueError(f"{table}: {len(missing)} of its files are missing, the first is {missing[0]}")
    columns: dict[str, list[Any]] = {"image": [path / str(r["file_name"]) for r in rows]}
    modalities = {"image": "image"}
    for name in dict.fromkeys(k for r in rows for k in r if k != "file_name"):
        values = [r.get(name) for r in rows]
        if all(isinstance(v, (str, int)) or v is None for v in values):
            columns[name] = [None if v is None else str(v) for v in values]
            modalities[name] = "label" if len(set(columns[name])) <= 0.05 * len(rows) else "text"
    given = tuple(k for k in ("text", "caption", "label") if k in columns)[:1]
    return Records(path, "images with metadata", modalities, columns, "image", given)
