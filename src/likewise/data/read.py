"""Reads a user's path as records: detects the layout, then selects the target and the given fields."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from likewise import catalog
from likewise.data.layouts.base import Layout, Source
from likewise.data.layouts.files import kinds_of_files
from likewise.data.records import Records
from likewise.data.tables import is_text


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
    """Read the data at `path`. Raises ValueError whose message of one line names the file and the fix.

    memory: maximum MiB of records in memory; larger data are read on demand. views: returns the views of a modality,
    {name: modality of the view}, which may be conditions too; their columns are not added here.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    if path.suffix.lower() == ".zip":
        raise ValueError(f"{path}: unpack the archive first, then give its folder")
    source = Source(path, unit, memory, as_, (*(given or ()), *([target] if target else ())))
    found = find_layout(source).read(source)
    if not len(found):
        raise ValueError(f"{path}: it holds no records")
    if found.target == "row" and (given or as_ or target):
        found = _split_row(found, tuple(given or ()), target)
    chosen, wanted = _choose_fields(found, target, given)
    modalities = {**found.modalities, **({chosen: as_} if as_ else {})}
    seen = views(modalities[chosen]) if chosen in modalities else {}
    for name in (chosen, *wanted):
        if name in seen and name not in found.columns:
            modalities[name] = seen[name]
        elif name not in found.columns:
            or_view = f", and views of {chosen} are {', '.join(seen)}" if seen else ""
            raise ValueError(f"{path}: no field {name!r}; its fields are {', '.join(found.columns)}{or_view}")
    return replace(found, path=path, modalities=modalities, target=chosen, given=wanted)


def find_layout(source: Source) -> Layout:
    """Detect the layout of the files. Raises ValueError that lists what can be read."""
    known: list[Layout] = [catalog.find("layout", name)() for name in catalog.names("layout")]
    known.sort(key=lambda layout: layout.rank)
    for _, group in itertools.groupby(known, lambda layout: layout.rank):
        files, layout = max(((layout.detect(source), layout) for layout in group), key=lambda found: found[0])
        if files:
            return layout
    path, tables = source.path, source.tables
    if not source.is_folder:
        names = ".txt, .csv, .tsv, .jsonl, .parquet, .yaml, .tmx, .po, .fasta, .smi or a folder"
        raise ValueError(f"{path}: {source.suffix} files are not known; give {names}")
    suffixes = sorted(source.by_suffix)
    found = f"{len(tables)} tables: give one of them" if tables else f"only {', '.join(suffixes[:5])}"
    items = ", ".join(f"{kind.item}s" for kind in kinds_of_files())
    wanted = f"{items}, .txt or .po files, two parallel texts or single table"
    raise ValueError(f"{path}: no {wanted} in it ({found if suffixes else 'it is empty'})")


def _choose_fields(found: Records, target: str | None, given: Sequence[str] | None) -> tuple[str, tuple[str, ...]]:
    """The names of the target and of the given fields: the user's choice, else the layout's defaults."""
    chosen = target or found.target
    wanted = found.given if given is None else tuple(given)
    if chosen not in wanted:
        return chosen, wanted
    if len(found.columns) == 2 and len(set(found.modalities.values())) == 1:
        # With exactly two fields of one modality, naming one determines the other.
        first, second = found.columns
        other = first if chosen == second else second
        if target is None:
            return other, wanted
        if given is None:
            return chosen, (other,)
    elif given is None:
        return chosen, (found.target,)  # swap the roles: a caption, given its picture
    return chosen, wanted


def _split_row(found: Records, given: tuple[str, ...], target: str | None) -> Records:
    """Make a field of each column of a table; remove the given columns from the field `row`."""
    rows = cast(list[dict[str, Any]], found.columns["row"])  # tables are in memory
    names = list(dict.fromkeys(k for row in rows for k in row))
    for name in (*given, *([target] if target and target != "row" else [])):
        if name not in names:
            raise ValueError(f"{found.path}: no column {name!r}; its columns are {', '.join(names)}")
    columns: dict[str, Any] = {k: [row.get(k) for row in rows] for k in names}
    modalities = {k: "text" if is_text(v) else "label" for k, v in columns.items()}
    columns["row"] = [{k: v for k, v in row.items() if k not in given} for row in rows]
    return Records(found.path, found.layout, {**modalities, "row": "table"}, columns, "row", ())
