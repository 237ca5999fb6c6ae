"""Checkpoints that are whole or not there: no pickle, every file's sha256 in a manifest, written aside and renamed.

    checkpoints/0020000/ weights.safetensors  optimizer.safetensors  state.json  manifest.json

`weights` is what samples (the averaged weights where they are averaged), `optimizer` whatever else resuming needs.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

_FILES = ("weights.safetensors", "optimizer.safetensors", "state.json")


class Damaged(ValueError):
    """A checkpoint whose files are not what its manifest says."""


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
    """Write JSON so that a crash leaves the old file or the new one, never a part."""
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    _sync(aside)
    aside.replace(path)
    _sync(path.parent)


def save(
    folder: Path, step: int, weights: Mapping[str, Tensor], rest: Mapping[str, Tensor], state: Mapping[str, Any]
) -> Path:
    """Write the checkpoint of `step` under `folder` and return its path."""
    final = folder / f"{step:07d}"
    aside = folder / f".{step:07d}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    needed = sum(t.numel() * t.element_size() for t in (*weights.values(), *rest.values()))
    if shutil.disk_usage(folder).free < 1.1 * needed + 2**20:
        shutil.rmtree(aside)
        raise OSError(f"{folder}: a checkpoint needs {needed / 2**20:.0f} MiB, and the disk has less; free some")
    save_file(_separate(weights), aside / _FILES[0])
    save_file(_separate(rest), aside / _FILES[1])
    (aside / _FILES[2]).write_text(json.dumps({"step": step, **state}, indent=1), encoding="utf-8")
    manifest = {name: sha256(aside / name) for name in _FILES}
    (aside / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for name in (*_FILES, "manifest.json"):
        _sync(aside / name)
    _sync(aside)
    if final.exists():  # the same step saved twice (a resumed run): the new one is as good
        shutil.rmtree(final)
    aside.rename(final)
    _sync(folder)
    return final


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor in memory of its own: safetensors refuses tied weights, which are written once for each name."""
    out: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        out[name] = tensor.clone() if tensor.untyped_storage().data_ptr() in seen else tensor
        seen.add(tensor.untyped_storage().data_ptr())
    return out


def verify(path: Path) -> None:
    """Raises Damaged if a file is missing or differs from the manifest."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise Damaged(f"{path}: its manifest is missing or unreadable") from None
    if not isinstance(manifest, dict) or set(manifest) != set(_FILES):
        raise Damaged(f"{path}: its manifest does not name {', '.join(_FILES)}")
    for name, digest in manifest.items():
        if not (path / name).is_file():
            raise Damaged(f"{path}: {name} is missing")
        if sha256(path / name) != digest:
            raise Damaged(f"{path}: {name} is damaged (its sha256 differs from the manifest)")


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """Verify and read a checkpoint: (weights, rest, state)."""
    verify(path)
    state = json.loads((path / _FILES[2]).read_text(encoding="utf-8"))
    return load_file(path / _FILES[0]), load_file(path / _FILES[1]), state


def found(folder: Path) -> list[Path]:
    """The checkpoints under `folder`, oldest first, verified or not."""
    return sorted(p for p in folder.glob("[0-9]*") if p.is_dir() and p.name.isdigit())


def latest(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that verifies, and what was wrong with newer ones."""
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
    """Delete all but the newest `keep` checkpoints and the one of step `best`; the newest must verify first."""
    paths = found(folder)
    extra = [p for p in paths[:-keep] if int(p.name) != best]
    if extra:
        verify(paths[-1])
    for path in extra:
        shutil.rmtree(path)
