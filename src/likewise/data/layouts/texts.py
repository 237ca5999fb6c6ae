"""Layouts of texts: one file in lines, paragraphs or parts; a folder of text, source code or other prose."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from likewise.data.indexed import Files, Lines
from likewise.data.layouts.base import Layout, Source
from likewise.data.records import Records
from likewise.data.tables import read_text
from likewise.errors import Message, Setting, UserError

PROSE = {".txt", ".text", ".md", ".rst"}
#: suffixes of source code in common languages
CODE = {
    ".py", ".js", ".ts", ".jsx", ".tsx", ".java", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".go", ".rs", ".rb", ".php",
    ".swift", ".kt", ".scala", ".jl", ".r", ".lua", ".pl", ".sh", ".sql", ".hs", ".ml", ".tex", ".html", ".css",
}  # fmt: skip
#: maximum bytes of one record
_MOST_BYTES = 64 * 2**20
#: files above this median length are split into lines by default (characters, or bytes if streamed)
_LONG = 4000
#: minimum number of documents for holding out whole documents
_DOCUMENTS = 20
_ENDS = {"line": "\n", "paragraph": "\n\n"}
#: of a single document: maximum parts, and minimum lines of a part
_MOST_PARTS, _FEWEST_LINES = 200, 10


class TextFile(Layout):
    """One text file; a record is a line unless the user states another unit."""

    rank = 1

    def detect(self, source: Source) -> int:
        return int(not source.is_folder and source.suffix in PROSE | CODE | {""})

    def read(self, source: Source) -> Records:
        path, unit = source.path, source.unit or "line"
        if source.too_large([path]) and unit != "document":
            lines = stream([path], unit)
            return _records(path, "text file", lines, lines.notes)
        _bounded(path, unit)
        text, notes = read_text(path)
        found = _units(text, unit)
        if unit == "document" and len(parts := _parts(text)) > 1:
            said = f"one document, taken as {len(parts)} parts, one after another, so that some can be held out"
            found, notes = parts, [*notes, said]
        return _records(path, "text file", found, notes)


class TextFolder(Layout):
    """A folder of .txt files."""

    rank = 4

    def detect(self, source: Source) -> int:
        return source.count({".txt"})

    def read(self, source: Source) -> Records:
        return _folder(source, {".txt"})


class CodeFolder(Layout):
    """A folder of source code; if it also has a table, the table is taken as the data."""

    rank = 4

    def detect(self, source: Source) -> int:
        return 0 if source.tables else source.count(CODE)

    def read(self, source: Source) -> Records:
        return _folder(source, CODE)


class ProseFolder(Layout):
    """A folder of other prose; tried after the other texts, since code and tables often come with a README."""

    rank = 5

    def detect(self, source: Source) -> int:
        return 0 if source.tables else source.count(PROSE)

    def read(self, source: Source) -> Records:
        return _folder(source, PROSE)


def _records(
    path: Path, layout: str, values: list[str] | Lines, notes: list[str], groups: list[str] | None = None
) -> Records:
    return Records(path, layout, {"text": "text"}, {"text": values}, "text", (), notes, groups=groups)


def _folder(source: Source, suffixes: set[str]) -> Records:
    names = source.having(suffixes)
    files = source.files(names)
    return _streamed(source, names, files) if source.too_large(files) else _in_memory(source, names, files)


def _streamed(source: Source, names: Sequence[str], files: Sequence[Path]) -> Records:
    unit = source.unit
    if unit is None:
        unit = "line" if np.median([f.stat().st_size for f in files]) > _LONG else "document"
    if unit != "document":
        lines = stream(files, unit)
        said = Message(f"the files are large: each {unit} is a record (", Setting("unit"), " changes it)")
        return _records(source.path, "text folder", lines, [*lines.notes, said])
    texts = Files(source.path, names).map(lambda p: read_text(p)[0].strip())
    return Records(source.path, "text folder", {"text": "text"}, {"text": texts}, "text")


def _in_memory(source: Source, names: Sequence[str], files: Sequence[Path]) -> Records:
    unit = source.unit or "document"
    read: list[tuple[str, str]] = []
    notes: list[str] = []
    for name, file in zip(names, files, strict=True):
        _bounded(file, unit)
        text, said = read_text(file)
        read += [(name, value) for value in _units(text, unit)]
        notes += said
    if source.unit is None and np.median([len(v) for _, v in read]) > _LONG:
        read = [(name, line) for name, v in read for line in _units(v, "line")]
        notes.append(
            Message(
                "the files are long: each line is a record (", Setting("unit", "paragraph"), " or document changes it)"
            )
        )
    groups = None
    if len(read) > len(files):
        # With few documents, a held-out document would be a large share of the data.
        groups = [name for name, _ in read] if len(files) >= _DOCUMENTS else None
        said = "held out as wholes" if groups else "held out by their parts, as they are few"
        notes.append(f"the {len(files):,} files are {said}")
    return _records(source.path, "text folder", [value for _, value in read], notes, groups)


def stream(files: Sequence[Path], unit: str) -> Lines:
    """The lines or paragraphs of large files, read on demand."""
    end = _ENDS[unit].encode()
    with files[0].open("rb") as file:
        if unit == "paragraph" and b"\r\n" in file.read(2**16):
            end = b"\r\n\r\n"
    return Lines(files, end, _MOST_BYTES)


def _bounded(path: Path, unit: str) -> None:
    """Raise UserError for a text with a record that is too long, before loading it; reads in chunks."""
    if path.stat().st_size <= _MOST_BYTES:
        return
    end = {"line": b"\n", "paragraph": b"\n\n"}.get(unit)
    run = 0
    with path.open("rb") as file:
        while piece := file.read(_MOST_BYTES // 8):
            parts = piece.split(end) if end else [piece]
            run = run + len(parts[0]) if len(parts) == 1 else len(parts[-1])
            if run > _MOST_BYTES:
                hint = "break it into lines" if unit == "line" else Message("give ", Setting("unit", "line"))
                raise UserError(
                    f"{path}: a {unit} of more than {_MOST_BYTES >> 20} MiB is too long for one record", fix=hint
                )


def _units(text: str, unit: str) -> list[str]:
    parts = [text] if unit == "document" else text.split(_ENDS[unit])
    return [p.strip() for p in parts if p.strip()]


def _parts(text: str) -> list[str]:
    """A long text in at most `_MOST_PARTS` consecutive parts of about equally many lines; unsplit if it is short."""
    lines = text.strip().split("\n")
    count = min(_MOST_PARTS, len(lines) // _FEWEST_LINES)
    if count < 2:
        return [text]
    ends = [round(i * len(lines) / count) for i in range(count + 1)]
    parts = ["\n".join(lines[a:b]).strip("\n") for a, b in itertools.pairwise(ends)]
    return [part for part in parts if part]
