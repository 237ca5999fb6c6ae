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
    """Writes checkpoints to a folder, one at a time, and deletes old ones: the newest `keep` and the best remain."""

    def __init__(self, folder: Path, keep: int, world: World) -> None:
        self.folder, self.keep, self.world = folder, keep, world
        self._writer: threading.Thread | None = None
        self._error: BaseException | None = None
        self._written: list[int] = []

    def save(self, step: int, weights: _Tensors, rest: _Tensors, state: _State, best: int | None) -> None:
        """Copy the tensors to the CPU and start the thread that writes them; waits for an earlier write to finish.

        Sharded tensors are written before this returns, by all processes. Raises OSError if this save or the last one
        failed, for example because the disk is full; earlier checkpoints stay intact.
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
        aside = checkpoint.begin(self.folder, step, needed)  # raises for a full disk before the copy
        # contiguous: safetensors writes channels-last tensors in row-major order anyway
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
        except BaseException as error:  # `wait` raises it again in the training thread
            self._error = error
            shutil.rmtree(aside, ignore_errors=True)

    def written(self) -> list[int]:
        """The steps whose checkpoints were completed since the last call."""
        done, self._written = self._written, []
        return done

    def wait(self) -> None:
        """Wait until the checkpoint is written. Raises the error of the writing thread, if any."""
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
    """Every process writes its shards; the first process creates the folder and commits the checkpoint."""
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
