"""A user's path to records of named fields. Layouts are detected here and nowhere else."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from likewise.data import clips, conversations, parallel_corpus
from likewise.data.clips import PICTURES
from likewise.data.columns import Stream
from likewise.data.indexed import Files, Lines
from likewise.data.records import Records
from likewise.data.sequences import FASTA, SMILES, read_fasta, read_smiles
from likewise.data.tables import is_text, json_row, read_rows, read_text

#: a text longer than this many bytes is not one record of anything that can be learned whole
_MOST_BYTES = 64 * 2**20
#: characters from which a file is a collection rather than one record
_LONG = 4000
#: what a text takes in memory as records and tokens, as a multiple of its bytes
_TEXT_MEMORY = 6
#: documents of which some are held out as wholes
_DOCUMENTS = 20
#: files whose paths are kept as such
_MANY_FILES = 20_000
_ENDS = {"line": "\n", "paragraph": "\n\n"}
_TABLES = {".csv", ".tsv", ".parquet", ".jsonl"}
#: parts of a single document, at most, and lines of each, at least
_MOST_PARTS, _FEWEST_LINES = 200, 10
#: what holds text in a folder of it: prose, then source code in the languages most of it is written in
_PROSE = {".txt", ".text", ".md", ".rst"}
_CODE = {
    ".py", ".js", ".ts", ".jsx", ".tsx", ".java", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".go", ".rs", ".rb", ".php",
    ".swift", ".kt", ".scala", ".jl", ".r", ".lua", ".pl", ".sh", ".sql", ".hs", ".ml", ".tex", ".html", ".css",
}  # fmt: skip
#: ends of names that look like a language's, and are none
_OTHERS = {".md", ".po", ".mo", ".tmx", ".pdf", ".doc", ".xml", ".zip", ".gz", ".npy", ".bin", ".log", ".py", ".js"}


def read_records(
    path: str | Path,
    *,
    unit: str | None = None,
    as_: str | None = None,
    target: str | None = None,
    given: Sequence[str] | None = None,
    memory: int = 128,
    views: Callable[[str], Mapping[str, str]] = lambda kind: {},
) -> Records:
    """Read what is at `path`. Raises ValueError of one line that names the file and the fix.

    memory: MiB that records may take; of larger data, each is read when it is needed. views: what a target of a
    modality can be given beside the fields of the data, by name, and of which modality that is; no columns of theirs
    are made here.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    if path.suffix.lower() == ".zip":
        raise ValueError(f"{path}: unpack the archive first, then give its folder")
    fields = (*(given or ()), *([target] if target else ()))
    found = _folder(path, unit, memory, as_) if path.is_dir() else _file(path, unit, memory, fields)
    if not len(found):
        raise ValueError(f"{path}: it holds no records")
    if found.target == "row" and (given or as_ or target):
        found = _split_row(found, tuple(given or ()), target)
    chosen = target or found.target
    wanted = found.given if given is None else tuple(given)
    if set(found.modalities.values()) == {"text"} and len(found.columns) == 2:
        # Of two texts, one named is enough: the other one is the other.
        first, second = found.columns
        if target is None and chosen in wanted:
            chosen = first if chosen == second else second
        elif given is None and chosen in wanted:
            wanted = (first if chosen == second else second,)
    elif given is None and chosen in wanted:
        wanted = (found.target,)  # the other way round: a caption, given its picture
    modalities = {**found.modalities, **({chosen: as_} if as_ else {})}
    seen = views(modalities[chosen]) if chosen in modalities else {}
    for name in (chosen, *wanted):
        if name in seen and name not in found.columns:
            modalities[name] = seen[name]
        elif name not in found.columns:
            or_view = f", and views of {chosen} are {', '.join(seen)}" if seen else ""
            raise ValueError(f"{path}: no field {name!r}; its fields are {', '.join(found.columns)}{or_view}")
    return Records(path, found.layout, modalities, found.columns, chosen, wanted, found.notes, groups=found.groups)


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
    parts = [text] if unit == "document" else text.split(_ENDS[unit])
    return [p.strip() for p in parts if p.strip()]


def _parts(text: str) -> list[str]:
    """A long text in up to `_MOST_PARTS` parts of about as many lines each, in order; itself if it has few lines."""
    lines = text.strip().split("\n")
    count = min(_MOST_PARTS, len(lines) // _FEWEST_LINES)
    if count < 2:
        return [text]
    ends = [round(i * len(lines) / count) for i in range(count + 1)]
    parts = ["\n".join(lines[a:b]).strip("\n") for a, b in itertools.pairwise(ends)]
    return [part for part in parts if part]


def _large(files: Sequence[Path], memory: int) -> bool:
    """Whether texts take more memory than they may."""
    return _TEXT_MEMORY * sum(f.stat().st_size for f in files) > memory * 2**20


def _lines(files: Sequence[Path], unit: str) -> Lines:
    end = _ENDS[unit].encode()
    with files[0].open("rb") as file:
        if unit == "paragraph" and b"\r\n" in file.read(2**16):
            end = b"\r\n\r\n"
    return Lines(files, end, _MOST_BYTES)


def _streamed_rows(path: Path, memory: int) -> Records | None:
    """A large .jsonl or .tsv of texts, read row by row; None where it is small, or a table of other things."""
    suffix = path.suffix.lower()
    if suffix not in (".jsonl", ".tsv") or not _large([path], memory):
        return None
    lines = _lines([path], "line")
    if suffix == ".jsonl":
        some = [json_row(path, lines[i]) for i in range(min(1000, len(lines)))]
        names = list(dict.fromkeys(k for row in some for k in row))
        columns: dict[str, Stream] = {k: lines.map(lambda v, k=k: json_row(path, v).get(k)) for k in names}
    else:
        names = lines[0].split("\t")
        rest = lines.subset(range(1, len(lines)))
        columns = {k: rest.map(lambda v, i=i: _cell(path, v, i, len(names))) for i, k in enumerate(names)}
    values = {k: [column[i] for i in range(min(1000, len(column)))] for k, column in columns.items()}
    if not names or len(names) > 2 or conversations.sides(names) or not all(is_text(v) for v in values.values()):
        return None
    return Records(
        path, "table of texts", dict.fromkeys(names, "text"), {**columns}, names[-1], tuple(names[:-1]), lines.notes
    )


def _cell(path: Path, line: str, number: int, count: int) -> str:
    cells = line.split("\t")
    if len(cells) != count:
        raise ValueError(f"{path}: a row with {len(cells)} cells, its header has {count}: {line[:80]!r}")
    return cells[number]


def _file(path: Path, unit: str | None, memory: int, fields: Sequence[str] = ()) -> Records:
    suffix = path.suffix.lower()
    if suffix == ".tmx":
        return _translations(path, "translation memory", *parallel_corpus.read_tmx(path, fields))
    if suffix == ".po":
        return _translations(path, "message catalogue", *parallel_corpus.read_po([path]))
    if suffix in _TABLES:
        return _streamed_rows(path, memory) or _table(path)
    if suffix in (".yaml", ".yml"):
        return _conversations(path, conversations.of_yaml(path))
    if suffix in PICTURES | clips.FILMS:
        one, many = ("picture", "pictures") if suffix in PICTURES else ("clip", "clips")
        raise ValueError(f"{path}: one {one} is not a data set; give the folder of {many}")
    if suffix in FASTA | SMILES:
        return _sequences(path, [path])
    if suffix not in _PROSE | _CODE | {""}:
        known = ".txt, .csv, .tsv, .jsonl, .parquet, .yaml, .tmx, .po, .fasta, .smi or a folder"
        raise ValueError(f"{path}: {suffix} files are not known; give {known}")
    if _large([path], memory) and unit != "document":
        lines = _lines([path], unit or "line")
        return Records(path, "text file", {"text": "text"}, {"text": lines}, "text", (), lines.notes)
    _bounded(path, unit or "line")
    text, notes = read_text(path)
    found = _units(text, unit or "line")
    if unit == "document" and len(parts := _parts(text)) > 1:
        found = parts
        notes = [*notes, f"one document, taken as {len(parts)} parts, one after another, so that some can be held out"]
    return Records(path, "text file", {"text": "text"}, {"text": found}, "text", (), notes)


def _sequences(path: Path, files: Sequence[Path]) -> Records:
    """Proteins, DNA or molecules, one a record."""
    values: list[str] = []
    notes: list[str] = []
    for file in files:
        found, said = (read_fasta if file.suffix.lower() in FASTA else read_smiles)(file)
        values += found
        notes += said
    layout = "sequences (FASTA)" if files[0].suffix.lower() in FASTA else "molecules (SMILES)"
    return Records(path, layout, {"text": "text"}, {"text": values}, "text", (), notes)


def _translations(path: Path, layout: str, columns: parallel_corpus.Columns, notes: list[str]) -> Records:
    given, target = columns
    return Records(path, layout, dict.fromkeys(columns, "text"), {**columns}, target, (given,), notes)


def _table(path: Path) -> Records:
    rows = read_rows(path)
    if not rows:
        raise ValueError(f"{path}: the file has no rows")
    if talks := conversations.of_rows(path, rows):
        return _conversations(path, talks)
    names = list(dict.fromkeys(k for row in rows for k in row))
    rows = [{k: row.get(k) for k in names} for row in rows]  # a name that a row leaves out is a missing cell
    columns: dict[str, Any] = {k: [row[k] for row in rows] for k in names}
    texts = [k for k in names if is_text(columns[k])]
    if len(names) <= 2 and len(texts) == len(names):
        target, given = names[-1], tuple(names[:-1])
        return Records(path, "table of texts", dict.fromkeys(names, "text"), columns, target, given)
    return Records(path, "table", {"row": "table"}, {"row": rows}, "row")


def _conversations(path: Path, talks: list[list[conversations.Message]]) -> Records:
    history, reply, groups = conversations.replies(talks)
    fields = {"history": "dialogue", "reply": "text"}
    columns: dict[str, Any] = {"history": history, "reply": reply}
    return Records(path, "conversations", fields, columns, "reply", ("history",), groups=groups)


def _split_row(found: Records, given: tuple[str, ...], target: str | None) -> Records:
    """Take the given columns out of the row, and the target too if it is one column."""
    rows = cast(list[dict[str, Any]], found.columns["row"])  # tables are held in memory
    names = list(dict.fromkeys(k for row in rows for k in row))
    for name in (*given, *([target] if target and target != "row" else [])):
        if name not in names:
            raise ValueError(f"{found.path}: no column {name!r}; its columns are {', '.join(names)}")
    columns: dict[str, Any] = {k: [row.get(k) for row in rows] for k in names}
    modalities = {k: "text" if is_text(v) else "label" for k, v in columns.items()}
    columns["row"] = [{k: v for k, v in row.items() if k not in given} for row in rows]
    return Records(found.path, found.layout, {**modalities, "row": "table"}, columns, "row", ())


def _folder(path: Path, unit: str | None, memory: int, as_: str | None) -> Records:
    for name in ("metadata.jsonl", "metadata.csv"):
        if (path / name).is_file():
            return _metadata(path, path / name, as_)
    names = _names(path)
    if as_ != "image" and (found := _clips(path, names, as_ == "video")):
        return found
    by_language, suffixes = parallel_corpus.languages(names), {Path(n).suffix.lower() for n in names}
    # .fa is Persian beside .en, and a genome beside .faa
    strange = suffixes & (PICTURES | _TABLES | _OTHERS) or suffixes <= _CODE | FASTA | SMILES
    if by_language and not strange:
        files = {language: path / name for language, name in by_language.items()}
        return _translations(path, "parallel texts", *parallel_corpus.read_lines(files))
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(Path(name).suffix.lower(), []).append(name)
    tables = sorted(name for suffix in _TABLES for name in kinds.get(suffix, ()))
    # Pictures first, as texts may describe them; then what there is most of: a README does not make code prose, nor a
    # script beside it a table code.
    texts = [({".txt"}, _texts), (FASTA, _strings), (SMILES, _strings), *([] if tables else [(_CODE, _texts)])]
    texts.sort(key=lambda kind: -sum(len(kinds.get(suffix, ())) for suffix in kind[0]))
    for group, read in ((PICTURES, _pictures), *texts, *([] if tables else [(_PROSE, _texts)])):
        chosen = sorted((n for s in group for n in kinds.get(s, ())), key=lambda n: n.split(os.sep))
        if chosen:
            return read(path, chosen, unit, memory)
    if catalogues := [path / name for name in sorted(kinds.get(".po", ()))]:
        return _translations(path, "message catalogues", *parallel_corpus.read_po(catalogues))
    if len(tables) == 1:
        return _file(path / tables[0], unit, memory)
    found = f"{len(tables)} tables: give one of them" if tables else f"only {', '.join(sorted(kinds)[:5])}"
    wanted = "pictures, clips, .txt or .po files, two parallel texts or single table"
    raise ValueError(f"{path}: no {wanted} in it ({found if kinds else 'it is empty'})")


def _names(path: Path) -> list[str]:
    """The files in a folder and below, relative to it; hidden ones are left out."""
    out, waiting = [], [""]
    while waiting:
        inside = waiting.pop()
        with os.scandir(path / inside) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                name = os.path.join(inside, entry.name)
                if entry.is_dir(follow_symlinks=False):  # a link may lead round in a circle
                    waiting.append(name)
                elif entry.is_file():
                    out.append(name)
    return out


def _clips(path: Path, names: list[str], wanted: bool) -> Records | None:
    """Clips, if that is what the folder holds; frames in folders of their own only if clips are `wanted`."""
    if found := clips.clip_files(path, names, wanted):
        return _items(path, sorted(found, key=lambda n: n.split(os.sep)), "video", "clip folder")
    if wanted and (folders := clips.frame_folders(names)):
        return _items(path, folders, "video", "folders of frames")
    return None


def _pictures(path: Path, names: list[str], unit: str | None, memory: int) -> Records:
    found = _items(path, names, "image", "image folder")
    if clips.look_like_frames(names):
        found.notes.append("each folder holds as many numbered pictures: if they are the frames of a clip, --as video")
    return found


def _items(path: Path, names: list[str], kind: str, layout: str) -> Records:
    """Files, or folders of frames, each one item; the folder it is in is its label, where there are several."""
    items: list[Any] | Files = [path / n for n in names] if len(names) <= _MANY_FILES else Files(path, names)
    parents = {os.path.dirname(n) for n in names}
    if "" not in parents and len(parents) > 1 and not any(os.path.dirname(p) for p in parents):
        if isinstance(items, Files):
            labels = items.map(lambda p: p.parent.name)
        else:
            labels = [p.parent.name for p in items]
        columns = {kind: items, "label": labels}
        return Records(path, f"{layout} with classes", {kind: kind, "label": "label"}, columns, kind, ("label",))
    return Records(path, layout, {kind: kind}, {kind: items}, kind)


def _strings(path: Path, names: list[str], unit: str | None, memory: int) -> Records:
    return _sequences(path, [path / n for n in names])


def _texts(path: Path, names: list[str], unit: str | None, memory: int) -> Records:
    files = [path / n for n in names]
    if _large(files, memory):
        if unit is None:
            unit = "line" if np.median([f.stat().st_size for f in files]) > _LONG else "document"
        if unit != "document":
            lines = _lines(files, unit)
            notes = [*lines.notes, f"the files are large: each {unit} is a record (--unit changes it)"]
            return Records(path, "text folder", {"text": "text"}, {"text": lines}, "text", (), notes)
        texts = Files(path, names).map(lambda p: read_text(p)[0].strip())
        return Records(path, "text folder", {"text": "text"}, {"text": texts}, "text")
    read: list[tuple[str, str]] = []
    notes: list[str] = []
    for name, file in zip(names, files, strict=True):
        _bounded(file, unit or "document")
        text, said = read_text(file)
        read += [(name, value) for value in _units(text, unit or "document")]
        notes += said
    if unit is None and np.median([len(v) for _, v in read]) > _LONG:
        read = [(name, line) for name, v in read for line in _units(v, "line")]
        notes.append("the files are long: each line is a record (--unit paragraph or document changes it)")
    groups = None
    if len(read) > len(files):
        # Few documents would leave one of them, a large share of all, to be held out.
        groups = [name for name, _ in read] if len(files) >= _DOCUMENTS else None
        said = "held out as wholes" if groups else "held out by their parts, as they are few"
        notes.append(f"the {len(files):,} files are {said}")
    values = [value for _, value in read]
    return Records(path, "text folder", {"text": "text"}, {"text": values}, "text", (), notes, groups=groups)


def _metadata(path: Path, table: Path, as_: str | None) -> Records:
    rows = read_rows(table)
    if not rows or "file_name" not in rows[0]:
        raise ValueError(f"{table}: every row needs a file_name")
    missing = [f for f in (r["file_name"] for r in rows) if not f or not (path / str(f)).exists()]
    if missing:
        raise ValueError(f"{table}: {len(missing)} of its files are missing, the first is {missing[0]}")
    files = [str(r["file_name"]) for r in rows]
    moving = as_ != "image" and (clips.clip_files(path, files, as_ == "video") or (path / files[0]).is_dir())
    kind = "video" if moving else "image"
    columns: dict[str, Any] = {kind: [path / f for f in files] if len(rows) <= _MANY_FILES else Files(path, files)}
    modalities = {kind: kind}
    for name in dict.fromkeys(k for r in rows for k in r if k != "file_name"):
        values = [r.get(name) for r in rows]
        if all(isinstance(v, (str, int)) or v is None for v in values):
            columns[name] = [None if v is None else str(v) for v in values]
            modalities[name] = "label" if len(set(columns[name])) <= 0.05 * len(rows) else "text"
    given = tuple(k for k in ("text", "caption", "label") if k in columns)[:1]
    return Records(path, f"{'clips' if moving else 'images'} with metadata", modalities, columns, kind, given)
