"""Atomic checkpoints without pickle: a manifest with the sha256 of each file, a temporary folder and a rename.

    checkpoints/0020000/ weights.safetensors  optimizer.safetensors  state.json  manifest.json

`weights` holds the weights for sampling (averaged if `training.ema` is set), `optimizer` all other tensors needed to
resume.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

#: version of the folder's layout; a newer one is refused
FORMAT = 1
MANIFEST = "manifest.json"
PARTS = ("weights", "optimizer")
_MOST_HEADER = 16 * 2**20
_MOST_TENSORS = 50_000
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


class Damaged(ValueError):
    """A checkpoint or run whose files do not match its manifest."""


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: after a crash, the file is the old one or the new one."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text atomically: after a crash, the file is the old one or the new one."""
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_text(text, encoding="utf-8")
    _sync(aside)
    aside.replace(path)
    _sync(path.parent)


def begin(folder: Path, step: int, needed: int) -> Path:
    """Create an empty temporary folder for the checkpoint of `step`.

    needed: bytes of the checkpoint. Raises OSError unless the disk has 10% more free.
    """
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{step:07d}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    free = shutil.disk_usage(folder).free
    if free < 1.1 * needed + 2**20:
        raise OSError(
            f"{folder}: a checkpoint needs {needed / 2**20:.0f} MiB, and the disk has {free / 2**20:.0f}; free some, "
            "the last checkpoint is intact"
        )
    aside.mkdir()
    return aside


def put(aside: Path, name: str, tensors: Mapping[str, Tensor], about: Mapping[str, str] | None = None) -> None:
    """Write `name`.safetensors. about: metadata of the file."""
    path = aside / f"{name}.safetensors"
    save_file(separate(tensors), path, dict(about) if about else None)  # empty metadata breaks a file without tensors
    _sync(path)


def commit(aside: Path, step: int, state: Mapping[str, Any]) -> Path:
    """Rename the temporary folder to the checkpoint of `step`: after a crash, it is complete or absent."""
    final = aside.with_name(f"{step:07d}")
    (aside / "state.json").write_text(json.dumps({"step": step, **state}, indent=1), encoding="utf-8")
    (aside / MANIFEST).write_text(json.dumps(_manifest(aside, step), indent=1), encoding="utf-8")
    _sync(aside / "state.json")
    _sync(aside / MANIFEST)
    _sync(aside)
    if final.exists():  # a resumed run saves a step again: rename the old one first
        old = final.with_name(f".{final.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
        aside.rename(final)
        shutil.rmtree(old)
    else:
        aside.rename(final)
    _sync(aside.parent)
    return final


def size(*tensors: Mapping[str, Tensor]) -> int:
    """The size of all tensors in bytes."""
    return sum(t.numel() * t.element_size() for part in tensors for t in part.values())


def save(
    folder: Path, step: int, weights: Mapping[str, Tensor], rest: Mapping[str, Tensor], state: Mapping[str, Any]
) -> Path:
    """Write the checkpoint of `step` under `folder` and return its path."""
    aside = begin(folder, step, size(weights, rest))
    for name, tensors in zip(PARTS, (weights, rest), strict=True):
        put(aside, name, tensors)
    return commit(aside, step, state)


def separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors that share memory: safetensors refuses tied weights, so they are written once for each name."""
    out: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        out[name] = tensor.clone() if tensor.untyped_storage().data_ptr() in seen else tensor
        seen.add(tensor.untyped_storage().data_ptr())
    return out


def seal(folder: Path) -> None:
    """Write the manifest of a run: the size and sha256 of all files in the folder and its subfolders."""
    write_json(folder / MANIFEST, {"format": FORMAT, "files": _digests(folder, _files(folder))})


def check_seal(folder: Path) -> int:
    """Verify the manifest of a run and return its number of files. Raises Damaged if one differs or is missing."""
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        known = dict(json.loads(text)["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise Damaged(f"{folder}: its manifest is missing or unreadable") from None
    if lost := [name for name in known if not (folder / name).is_file()]:
        raise Damaged(f"{folder}: {lost[0]} is missing")
    now = _digests(folder, list(known))
    if other := [name for name in known if now[name] != known[name]]:
        raise Damaged(f"{folder}: {other[0]} is not what was written")
    if text != json.dumps({"format": FORMAT, "files": now}, ensure_ascii=False, indent=1) + "\n":
        raise Damaged(f"{folder}: its manifest is damaged")
    return len(known)


def _files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)


def _digests(folder: Path, names: list[str]) -> dict[str, Any]:
    return {n: {"bytes": (folder / n).stat().st_size, "sha256": sha256(folder / n)} for n in names}


def _manifest(path: Path, step: int) -> dict[str, Any]:
    """The manifest of a checkpoint folder, computed from its files."""
    return {"format": FORMAT, "step": step, "files": _digests(path, _files(path))}


def verify(path: Path) -> None:
    """Raises Damaged if the folder has a changed, missing or unexpected file, or a newer format."""
    try:
        text = (path / MANIFEST).read_text(encoding="utf-8")
        manifest = json.loads(text)
        form, known = manifest["format"], {k: v["sha256"] for k, v in manifest["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise Damaged(f"{path}: its manifest is missing or unreadable") from None
    if isinstance(form, int) and form > FORMAT:
        raise Damaged(f"{path}: its format is {form}, and this version reads {FORMAT}; update likewise")
    there = {p.name for p in path.iterdir()} - {MANIFEST}
    if missing := sorted({*known, "state.json"} - there):
        raise Damaged(f"{path}: {missing[0]} is missing")
    if foreign := sorted(there - set(known)):
        raise Damaged(f"{path}: {foreign[0]} is not in its manifest")
    expected = _manifest(path, int(path.name) if path.name.isdigit() else manifest.get("step"))
    for name, entry in expected["files"].items():
        if entry["sha256"] != known[name]:
            raise Damaged(f"{path}: {name} is damaged (its sha256 differs from the manifest)")
    if text != json.dumps(expected, indent=1):  # compares every byte of the manifest itself
        raise Damaged(f"{path}: its manifest is damaged")


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """Verify and read a checkpoint: (weights, rest, state). Shards are concatenated. Raises Damaged."""
    verify(path)
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    weights, rest = (read(path, name) for name in PARTS)
    return weights, rest, state


def read(path: Path, part: str) -> dict[str, Tensor]:
    """All tensors of a part ("weights" or "optimizer"), from one file or from the shards of several processes.

    Tensors are sharded along their first dimension, in the order of the shards' numbers. The metadata "rows" holds the
    number of rows of each whole tensor.
    """
    files = sorted(path.glob(f"{part}*.safetensors"))
    if len(files) == 1:
        check_file(files[0])
        return load_file(files[0])
    pieces: dict[str, list[Tensor]] = {}
    rows: dict[str, int] = {}
    for file in files:
        check_file(file)
        with safe_open(file, "pt") as opened:
            rows |= json.loads((opened.metadata() or {}).get("rows", "{}"))
            for name in opened.keys():  # noqa: SIM118
                pieces.setdefault(name, []).append(opened.get_tensor(name))
    out = {name: torch.cat(parts) if name in rows else parts[0] for name, parts in pieces.items()}
    for name, count in rows.items():
        if len(out[name]) != count:
            raise Damaged(f"{path}: {name} has {len(out[name])} rows in its shards, and should have {count}")
    return out


def fill(module: nn.Module, file: Path, but: Container[str] = ()) -> None:
    """Copy the tensors of a file to the parameters and buffers with the same names, except those in `but`.

    Raises ValueError if the module has no tensor of that name and shape.
    """
    check_file(file)
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with safe_open(file, "pt") as opened, torch.no_grad():
        for name in opened.keys():  # noqa: SIM118
            if name in but:
                continue
            tensor = opened.get_tensor(name)
            if name not in own or own[name].shape != tensor.shape:
                raise ValueError(f"{file}: {name} {tuple(tensor.shape)} is of another architecture")
            own[name].copy_(tensor)


def check_file(path: Path) -> None:
    """Validate the header of a safetensors file before memory is allocated for its tensors. Raises Damaged.

    The format: 8 bytes with the length of the header, a JSON header with the type, shape and offsets of each tensor,
    and the bytes of the tensors without gap or overlap.
    """
    total = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if total < 8 or length > min(_MOST_HEADER, total - 8):
            raise Damaged(f"{path}: not a safetensors file (its header would have {length} bytes)")
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            entries = sorted((*map(int, e["data_offsets"]), str(e["dtype"]), list(e["shape"])) for e in header.values())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise Damaged(f"{path}: not a safetensors file (its header is not readable)") from None
    if len(entries) > _MOST_TENSORS:
        raise Damaged(f"{path}: {len(entries):,} tensors are more than a checkpoint has")
    place = 0
    for start, stop, kind, shape in entries:
        if not all(isinstance(n, int) and n >= 0 for n in shape) or kind not in _BYTES:
            raise Damaged(f"{path}: a tensor of type {kind} and shape {shape}")
        if start != place or stop - start != math.prod(shape) * _BYTES[kind]:
            raise Damaged(f"{path}: a tensor's bytes {start} to {stop} do not fit its shape or its neighbours")
        place = stop
    if 8 + length + place != total:
        raise Damaged(f"{path}: {total} bytes, where its header says {8 + length + place}")


def compare_keys(expected: Mapping[str, Tensor], found_: Mapping[str, Tensor], what: str) -> None:
    """Raises ValueError that lists the first differences of names and shapes. what: the subject of the message."""
    wrong = [f"{k} is missing" for k in expected if k not in found_] + [
        f"{k} is foreign" for k in found_ if k not in expected
    ]
    wrong += [
        f"{k} is {tuple(found_[k].shape)} and should be {tuple(v.shape)}"
        for k, v in expected.items()
        if k in found_ and found_[k].shape != v.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(f"{what}: weights of another architecture: {'; '.join(wrong[:5])}{more}")


def weights_hash(path: Path) -> str:
    """16 hexadecimal digits that identify the weights of a checkpoint."""
    digests = [sha256(p) for p in sorted(path.glob("weights*.safetensors"))]
    whole = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return whole[:16]


def recover(folder: Path) -> None:
    """Remove incomplete checkpoints of a killed process; the caller must hold the lock of the run."""
    for old in folder.glob(".*.old"):  # killed between the two renames of `commit`: the old one is complete
        final = old.with_name(old.name[1:-4])
        if final.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(final)
    for aside in folder.glob(".*.tmp"):
        shutil.rmtree(aside, ignore_errors=True)


def found(folder: Path) -> list[Path]:
    """The checkpoint folders under `folder`, oldest first, without verifying them."""
    return sorted(p for p in folder.glob("[0-9]*") if p.is_dir() and p.name.isdigit())


def latest(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that verifies (None if there is none), and the errors of newer ones."""
    complaints: list[str] = []
    for path in reversed(found(folder)):
        try:
            verify(path)
        except Damaged as damage:
            complaints.append(str(damage))
        else:
            return path, complaints
    return None, complaints


def prune(folder: Path, keep: int, best: int | None) -> None:
    """Delete all but the newest `keep` checkpoints and that of step `best`. Raises Damaged if the newest is damaged."""
    paths = found(folder)
    extra = [p for p in paths[:-keep] if int(p.name) != best]
    if extra:
        verify(paths[-1])
    for path in extra:
        gone = path.with_name(f".{path.name}.gone.tmp")  # rename first: a kill must not leave a partial checkpoint
        path.rename(gone)
        shutil.rmtree(gone)
