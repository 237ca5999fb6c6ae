"""Streams of files: an index on disk holds the positions of records, and each record is read on access.

For a text of 5 GB, the index in memory is one entry per 16 KiB, 10 MB in total.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.data import cache
from likewise.data.columns import Stream
from likewise.errors import Message, Setting, UserError

#: bytes of text that are read to access one record
_BLOCK = 16 * 2**10
#: bytes of text per chunk of indexing
_PIECE = 16 * 2**20
#: maximum indices that are kept on disk
_KEPT = 8
#: version of the index format, part of every index's name
_FORMAT = 2
#: ASCII characters that are handled differently in text and bytes: NUL is removed, others count as space in `str` only
_ODD = re.compile(rb"[\x00\x1c-\x1f]")


class Files(Stream):
    """The paths of many files below one folder, stored as names: about 20 bytes each, while a Path takes 400."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        parts = [os.fsencode(name) for name in names]
        self.root = root
        self._blob = b"".join(parts)
        self._ends = np.cumsum([len(p) for p in parts], dtype=np.int64)
        self._found: tuple[NDArray[np.uint64], int] | None = None

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> Path:
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = int(self._ends[index - 1]) if index else 0
        return self.root / os.fsdecode(self._blob[start : int(self._ends[index])])

    def marks(self) -> Iterator[NDArray[np.uint64]]:
        yield self._look()[0]

    def fingerprint(self) -> str:
        return hashlib.sha256(self._look()[0].tobytes()).hexdigest()

    @property
    def bytes(self) -> int:
        return self._look()[1]

    def _look(self) -> tuple[NDArray[np.uint64], int]:
        """(marks, total bytes) of all files, which are read but not decoded; cached on disk until a file changes."""
        if self._found is None:
            seen, total = hashlib.blake2b(os.fsencode(self.root.resolve()) + self._blob), 0
            for path in self:
                own = size(path)
                total += own
                seen.update(b"%d %d;" % (own, changed(path)))
            folder = _index(f"files-{seen.hexdigest()[:24]}", self._hash)
            self._found = np.load(folder / "marks.npy", allow_pickle=False), total
            if len(self._found[0]) != len(self):
                raise ValueError(f"{folder}: its index is damaged; remove it")
        return self._found

    def _hash(self, folder: Path) -> None:
        found = np.empty(len(self), np.uint64)
        with ThreadPoolExecutor(2) as pool:
            for start in range(0, len(self), 1024):  # in chunks, because a pool stores all submitted tasks
                piece = range(start, min(start + 1024, len(self)))
                found[start : piece.stop] = list(pool.map(_mark, (self[i] for i in piece)))
        np.save(folder / "marks.npy", found)


def _mark(path: Path) -> int:
    return int(hashlib.blake2b(content(path), digest_size=16).hexdigest()[:16], 16)


def content(path: Path) -> bytes:
    """The bytes of a file; of a folder, those of all its files in order of names."""
    return b"".join(part.read_bytes() for part in _parts(path))


def size(path: Path) -> int:
    """The number of bytes in `content`."""
    return sum(part.stat().st_size for part in _parts(path))


def changed(path: Path) -> int:
    """The latest modification time of the files in `content`, in nanoseconds."""
    return max((part.stat().st_mtime_ns for part in _parts(path)), default=0)


def _parts(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(part for part in path.iterdir() if part.is_file() and not part.name.startswith("."))


def mark(text: str) -> int:
    """The mark of a text (see `Stream.marks`): its CRC-32 in the upper 32 bits."""
    return zlib.crc32(text.encode()) << 32


class Lines(Stream):
    """The lines (or paragraphs) of text files, stripped, without empty ones."""

    def __init__(self, files: Sequence[Path], separator: bytes = b"\n", longest: int = 64 * 2**20) -> None:
        """separator: bytes between two records. longest: maximum bytes of a record; raises UserError beyond it."""
        self.files, self.separator, self.longest = [Path(f) for f in files], separator, longest
        seen = hashlib.blake2b(repr((_FORMAT, separator, _BLOCK)).encode())
        self._bytes = 0
        for path in self.files:
            stat = path.stat()
            self._bytes += stat.st_size
            seen.update(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns};".encode(errors="surrogateescape"))
        self._folder = _index(f"lines-{seen.hexdigest()[:24]}", self._make)
        about = json.loads((self._folder / "about.json").read_text(encoding="utf-8"))
        self.notes: list[str] = about["notes"]
        self._encodings: list[str] = about["encodings"]
        self._fingerprint: str = about["fingerprint"]
        # for each block: index of its file, start and stop in bytes, and number of its first record
        self._owner, self._start, self._stop, self._first = np.load(self._folder / "blocks.npy", allow_pickle=False)
        self._count = int(about["count"])
        self._open: dict[int, int] = {}

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < self._count:
            raise IndexError(index)
        block = bisect_right(self._first, index) - 1
        owner = int(self._owner[block])
        if owner not in self._open:
            if len(self._open) >= 64:
                os.close(self._open.pop(next(iter(self._open))))
            self._open[owner] = os.open(self.files[owner], os.O_RDONLY)
        start, stop = int(self._start[block]), int(self._stop[block])
        parts = os.pread(self._open[owner], stop - start, start).split(self.separator)
        left = index - int(self._first[block])
        for part in parts:
            value = _value(part, self._encodings[owner])
            if value:
                if left == 0:
                    return value
                left -= 1
        raise ValueError(f"{self.files[owner]}: it changed while it was read")

    def __del__(self) -> None:
        for handle in getattr(self, "_open", {}).values():
            os.close(handle)

    def marks(self) -> Iterator[NDArray[np.uint64]]:
        step = 2**22
        for place in range(0, self._count, step):
            piece = np.fromfile(self._folder / "marks.u32", np.uint32, step, offset=4 * place)
            yield piece.astype(np.uint64) << np.uint64(32)

    @property
    def kinds(self) -> float:
        return 2.0**32

    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def bytes(self) -> int:
        return self._bytes

    def _make(self, folder: Path) -> None:
        """Read all files once and write the index."""
        blocks: list[NDArray[np.int64]] = []
        count, notes, encodings = 0, [], []
        with (folder / "marks.u32").open("wb") as out:
            for owner, path in enumerate(self.files):
                place = out.tell()
                try:
                    found = self._read(path, owner, count, "utf-8", out, blocks)
                    encodings.append("utf-8")
                except UnicodeDecodeError as error:
                    out.truncate(place)
                    out.seek(place)
                    blocks = [b for b in blocks if b[0, 0] != owner]
                    found = self._read(path, owner, count, "latin-1", out, blocks)
                    encodings.append("latin-1")
                    notes.append(f"{path}: not UTF-8 at byte {error.start}; read as latin-1")
                count = found
        np.save(folder / "blocks.npy", np.concatenate([np.zeros((4, 0), np.int64), *blocks], 1))
        with (folder / "marks.u32").open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        about = {"count": count, "fingerprint": digest, "notes": notes, "encodings": encodings}
        (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")

    def _read(
        self, path: Path, owner: int, count: int, encoding: str, out: Any, blocks: list[NDArray[np.int64]]
    ) -> int:
        """Index one file whose first record has number `count`; returns the number after its last record."""
        with path.open("rb") as file:
            at = 3 if file.read(3) == b"\xef\xbb\xbf" else 0
            file.seek(at)
            rest = b""
            while True:
                read = file.read(_PIECE)
                piece = rest + read
                if not piece:
                    return count
                cut = piece.rfind(self.separator) + len(self.separator) if read else len(piece)
                if read and cut < len(self.separator):  # the chunk contains no separator
                    rest = piece
                    if len(rest) > self.longest:
                        raise UserError(
                            f"{path}: more than {self.longest >> 20} MiB are too long for one record",
                            fix=Message("break it into lines, or give ", Setting("unit", "line")),
                        )
                    continue
                piece, rest = piece[:cut], piece[cut:]
                if encoding == "utf-8":
                    try:
                        piece.decode()
                    except UnicodeDecodeError as error:
                        raise UnicodeDecodeError("utf-8", b"", at + error.start, at + error.end, error.reason) from None
                parts = piece.split(self.separator)
                if not parts[-1]:
                    parts.pop()  # after the last separator
                plain = encoding == "utf-8" and piece.isascii() and not _ODD.search(piece)
                plain = plain and (self.separator == b"\n" or b"\r" not in piece)
                clean = [p.strip() for p in parts] if plain else [_value(p, encoding).encode() for p in parts]
                full = np.fromiter(map(bool, clean), bool, len(clean))
                marks = np.fromiter(map(zlib.crc32, clean), np.uint32, len(clean))[full]
                out.write(marks.tobytes())
                sizes = np.fromiter(map(len, parts), np.int64, len(parts)) + len(self.separator)
                ends = at + np.cumsum(sizes)
                begins = ends - sizes
                fresh = np.flatnonzero(np.diff(begins // _BLOCK, prepend=-1))
                numbers = count + np.cumsum(full) - full
                stops = np.append(begins[fresh[1:]], at + len(piece))
                blocks.append(np.stack([np.full(len(fresh), owner), begins[fresh], stops, numbers[fresh]]))
                count += len(marks)
                at += len(piece)


def _value(part: bytes, encoding: str) -> str:
    return part.decode(encoding, errors="replace").replace("\x00", "").replace("\r\n", "\n").strip()


def _index(name: str, make: Callable[[Path], None]) -> Path:
    """The folder of an index in the user's cache; if it is absent, `make` creates it, atomically.

    If the cache is not writable, a temporary folder is used, which is deleted when the process ends.
    """
    home = cache.folder() / "indices"
    folder = home / name
    if (folder / "whole").is_file() and (folder / "whole").read_text() == _digest(folder):
        os.utime(folder)
        return folder
    try:
        home.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".", dir=home))
    except OSError:
        aside = Path(_temporary().name) / name
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        make(aside)
        return aside
    try:
        make(aside)
        (aside / "whole").write_text(_digest(aside))
        shutil.rmtree(folder, ignore_errors=True)
        try:
            aside.rename(folder)
        except OSError:  # another process has created it
            if not (folder / "whole").is_file():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    made = [(p.stat().st_mtime, p) for p in home.iterdir()]
    old = [p for _, p in sorted(made) if not p.name.startswith(".")][:-_KEPT]
    left = [p for when, p in made if p.name.startswith(".") and when < time.time() - 86400]  # left by killed processes
    for path in (*old, *left):
        shutil.rmtree(path, ignore_errors=True)
    return folder


def _digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.name != "whole"):
        with path.open("rb") as file:
            found.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


_kept_open: list[tempfile.TemporaryDirectory[str]] = []


def _temporary() -> tempfile.TemporaryDirectory[str]:
    if not _kept_open:
        _kept_open.append(tempfile.TemporaryDirectory(prefix="likewise-"))
    return _kept_open[0]
