"""Preflight scan: reads all data once to find unreadable files, duplicates and sizes before training.

Results per file are cached by path, size and modification time, so that a second scan is fast.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from likewise import catalog
from likewise.data import cache
from likewise.data.columns import Stream
from likewise.data.indexed import changed, content, size
from likewise.data.records import Records
from likewise.modalities.base import BadValue, Modality

#: above this share of unreadable files the scan raises an error
_MOST_BROKEN = 0.1
#: the number of records of a stream that are scanned, and the approximate number of marks that are counted
_SCANNED, _COUNTED = 2000, 2_000_000
_Summary = tuple[str, str, str, str]  # content digest, description, perceptual hash, reason why it is unreadable


@dataclass(frozen=True)
class Scan:
    """Summary of the data. `records` are the readable ones."""

    records: Records
    count: int
    bytes: int
    kinds: dict[str, int]
    broken: list[tuple[str, str]]
    duplicates: int
    near_duplicates: list[tuple[str, str]]
    notes: list[str] = field(default_factory=list)
    #: `near_duplicates` as indices of `records`
    near: list[tuple[int, int]] = field(default_factory=list)


def scan(records: Records, tell: Callable[[int, int], None] = lambda done, count: None) -> Scan:
    """Read every record's target; of a stream, a sample. Raises ValueError if too many records are unreadable."""
    values = records.columns[records.target]
    if isinstance(values, Stream):
        return _scan_stream(records, values)
    reader: type[Modality] = catalog.find("modality", records.modalities[records.target])
    if isinstance(values[0], Path):
        seen = _files([Path(v) for v in values], records.path, reader, tell)
        whole = sum(map(size, values))
    else:
        seen = [_inline(v, reader) for v in values]
        whole = records.path.stat().st_size if records.path.is_file() else sum(len(str(v)) for v in values)
    broken = [(str(v), s[3]) for v, s in zip(values, seen, strict=True) if s[3]]
    if len(broken) > _MOST_BROKEN * len(values):
        raise ValueError(
            f"{broken[0][0]}: {broken[0][1]}; {len(broken)} of {len(values)} files are unreadable: mend or remove them"
        )
    good = [i for i, s in enumerate(seen) if not s[3]]
    if not good:
        raise ValueError(f"{records.path}: none of its records can be read")
    kept = [seen[i] for i in good]
    digests = [s[0] for s in kept]
    readable = records.subset(good, digests)
    near = _near([values[i] for i in good], kept, reader)
    names = [(str(values[good[a]]), str(values[good[b]])) for a, b in near]
    counts = Counter(digests)
    notes = list(records.notes)
    if len(counts) == 1 and len(good) > 1:
        notes.append("all records are equal: a model can only learn to reproduce one item")
    return Scan(
        readable, len(values), whole, dict(Counter(s[1] for s in kept).most_common(6)), broken,
        len(good) - len(counts), names, notes, near,
    )  # fmt: skip


def _scan_stream(records: Records, values: Stream) -> Scan:
    """Scan evenly spaced records of a stream; only the marks cover all records."""
    where = np.linspace(0, len(values) - 1, min(len(values), _SCANNED)).astype(int).tolist()
    some = [values[i] for i in where]
    reader: type[Modality] = catalog.find("modality", records.modalities[records.target])
    if isinstance(some[0], Path):
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            seen = list(pool.map(lambda path: _file(path, reader), some))
    else:
        seen = [_inline(v, reader) for v in some]
    broken = [(str(v), s[3]) for v, s in zip(some, seen, strict=True) if s[3]]
    if len(broken) > _MOST_BROKEN * len(some):
        raise ValueError(
            f"{broken[0][0]}: {broken[0][1]}; {len(broken)} of {len(some)} scanned files are unreadable: "
            "mend or remove them"
        )
    good = [(i, v, s) for i, v, s in zip(where, some, seen, strict=True) if not s[3]]
    near = _near([v for _, v, _ in good], [s for _, _, s in good], reader)
    notes = [
        *records.notes,
        f"the data are large: {len(some):,} of {len(values):,} records were scanned; records are read from disk when "
        "needed (data.memory)",
    ]
    return Scan(
        records, len(values), values.bytes, dict(Counter(s[1] for _, _, s in good).most_common(6)), broken,
        _estimated_duplicates(values), [(str(good[a][1]), str(good[b][1])) for a, b in near], notes,
        [(good[a][0], good[b][0]) for a, b in near],
    )  # fmt: skip


def _estimated_duplicates(values: Stream) -> int:
    """The approximate number of duplicates, from the subset of marks (hashes of items) in one residue class."""
    share = max(1, len(values) // _COUNTED)
    marks = np.concatenate([m[m % np.uint64(2**32 + 1) % np.uint64(share) == 0] for m in values.marks()])
    room = values.kinds / share
    unlike = len(np.unique(marks))
    unlike = -room * np.log1p(-unlike / room)  # correct for hash collisions of different items
    return max(0, round((len(marks) - unlike) * share))


def _inline(value: Any, reader: type[Modality]) -> _Summary:
    """Scan a value that is not a file, as a text or a row."""
    digest = hashlib.blake2b(json.dumps(value, default=str).encode(), digest_size=16).hexdigest()
    what, look = reader.summary(value)
    return digest, what, look and str(hash(look)), ""


def _files(paths: list[Path], root: Path, reader: type[Modality], tell: Callable[[int, int], None]) -> list[_Summary]:
    name = hashlib.blake2b(str(root.resolve()).encode(), digest_size=8).hexdigest()
    file = cache.folder() / f"scan-{name}.json"
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no cache, or an unreadable one: scan the files again
        known = {}
    keys = [f"{path.resolve()}|{size(path)}|{changed(path)}|{reader.name}" for path in paths]
    missing = [i for i, key in enumerate(keys) if key not in known]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda i: _file(paths[i], reader), missing)
        for done, (i, seen) in enumerate(zip(missing, found, strict=True), 1):
            known[keys[i]] = seen
            if done % 500 == 0:
                tell(done, len(missing))
    if missing:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            aside = file.with_suffix(f".{os.getpid()}")
            aside.write_text(json.dumps({key: known[key] for key in keys}), encoding="utf-8")
            aside.replace(file)
        except OSError:  # without a cache the next scan is slower, but correct
            pass
    return [tuple(known[key]) for key in keys]


def _file(path: Path, reader: type[Modality]) -> _Summary:
    digest = hashlib.blake2b(content(path), digest_size=16).hexdigest()
    try:
        what, picture = reader.thumbnail(path)
    except BadValue as error:
        return digest, "", "", str(error)
    # dHash: for each point of a 9x8 grid, whether it is brighter than its right neighbour
    small = np.asarray(picture.convert("L").resize((9, 8), PILImage.Resampling.BOX), np.int16)
    look = np.packbits(small[:, 1:] > small[:, :-1]).tobytes().hex()
    return digest, what, look, ""


def _near(values: list[Any], seen: list[_Summary], reader: type[Modality], most: int = 1000) -> list[tuple[int, int]]:
    """Pairs of values that differ but look alike: texts of equal letters, pictures of equal hash and similar pixels."""
    groups: dict[str, list[int]] = defaultdict(list)
    distinct = set()
    for i, (digest, _, look, _) in enumerate(seen):
        if look and digest not in distinct and look != digest:
            groups[look].append(i)
        distinct.add(digest)
    pairs = []
    for group in groups.values():
        for a, b in itertools.pairwise(group):
            if len(pairs) < most and (not isinstance(values[a], Path) or _alike(values[a], values[b], reader)):
                pairs.append((a, b))
    return pairs


def _alike(a: Path, b: Path, reader: type[Modality]) -> bool:
    pictures = [reader.thumbnail(path)[1].convert("RGB") for path in (a, b)]
    small = [np.asarray(p.resize((16, 16), PILImage.Resampling.BOX), np.float64) for p in pictures]
    return bool(np.abs(small[0] - small[1]).mean() < 2)
