"""Asynchronous checkpoints: a snapshot between two steps, written by a thread while training continues."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from likewise.training import checkpoint
from likewise.training.distributed import World, local

_State = Mapping[str, Any]
_Tensors = Mapping[str, Tensor]


class Saver:
    """Writes checkpoints under a folder, one at a time, and deletes those that are no longer wanted."""

    def __init__(self, folder: Path, keep: int, world: World) -> None:
        self.folder, self.keep, self.world = folder, keep, world
        self._writer: threading.Thread | None = None
        self._error: BaseException | None = None
        self._written: list[int] = []

    def save(self, step: int, weights: _Tensors, rest: _Tensors, state: _State, best: int | None) -> None:
        """Take a snapshot and begin to write it; waits only if the one before is not written yet.

        Sharded tensors are written at once, by all processes together. Raises OSError if this or the last save failed,
        for example because the disk is full; the checkpoints before it are intact.
        """
        self.wait()
        if any(local(t) is not t for t in weights.values()):
            _save_shards(self.folder, step, weights, rest, state, self.world)
            if self.world.first:
                checkpoint.prune(self.folder, self.keep, best)
                self._written.append(step)
            return
        if not self.world.first:
            return
        needed = checkpoint.size(weights, rest)
        aside = checkpoint.begin(self.folder, step, needed)  # a full disk is told before anything is copied
        # contiguous: what is laid out channels last is written row by row anyway
        copies = [
            {k: t.detach().to("cpu", copy=True).contiguous() for k, t in part.items()} for part in (weights, rest)
        ]
        state = json.loads(json.dumps(state))
        self._writer = threading.Thread(target=self._write, args=(aside, step, copies, state, best), name="saver")
        self._writer.start()

    def _write(self, aside: Path, step: int, parts: list[dict[str, Tensor]], state: _State, best: int | None) -> None:
        try:
            for name, part in zip(checkpoint.PARTS, parts, strict=True):
                checkpoint.put(aside, name, part)
            checkpoint.commit(aside, step, state)
            checkpoint.prune(self.folder, self.keep, best)
            self._written.append(step)
        except BaseException as error:  # it is raised where the user sees it: in the training thread
            self._error = error
            shutil.rmtree(aside, ignore_errors=True)

    def written(self) -> list[int]:
        """The steps whose checkpoints were finished since this was asked last: from now on they survive anything."""
        done, self._written = self._written, []
        return done

    def wait(self) -> None:
        """Until everything is written. Raises what went wrong."""
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        error, self._error = self._error, None
        if isinstance(error, OSError):
            raise OSError(
                f"{self.folder}: the checkpoint could not be written ({error.strerror or error}); the ones before it "
                "are intact: free some space, and resume the run"
            ) from error
        if error is not None:
            raise error


def _save_shards(where: Path, step: int, weights: _Tensors, rest: _Tensors, state: _State, world: World) -> None:
    """Every process writes its part; the first names the files and makes the checkpoint appear."""
    own = [{k: local(t) for k, t in part.items() if world.first or local(t) is not t} for part in (weights, rest)]
    aside = checkpoint.begin(where, step, world.size * checkpoint.size(*own)) if world.first else None
    aside = world.gather(aside)[0]
    for name, part, whole in zip(checkpoint.PARTS, own, (weights, rest), strict=True):
        rows = {k: len(t) for k, t in whole.items() if local(t) is not t}
        file = f"{name}-{world.rank + 1:05d}-of-{world.size:05d}"
        checkpoint.put(aside, file, part, {"rows": json.dumps(rows)})
    world.gather(None)
    if world.first:
        checkpoint.commit(aside, step, state)
    world.gather(None)
