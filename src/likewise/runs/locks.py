"""Locks: one training of a run folder at a time.

The operating system releases these locks when the process ends, also after kill -9.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from likewise.runs.run import Run
from likewise.training.distributed import World


@contextmanager
def training(run: Run, world: World) -> Iterator[None]:
    """Hold the lock for training a run. Raises ValueError if another process holds it."""
    with (run.path / ".lock").open("w") as lock:
        try:
            if world.first:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"{run.path}: another process is training this run") from None
        yield


@contextmanager
def laying_out(folder: Path) -> Iterator[None]:
    """Hold the lock for creating a run in `folder`; waits for other processes. No lock file: the folder is locked."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot lock folders
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
