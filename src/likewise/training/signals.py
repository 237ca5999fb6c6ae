"""Signals: the first SIGINT or SIGTERM lets the loop finish its step and save, the second ends at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupted(Exception):
    """Raised inside `Stop.interruptible` when a signal arrives; the interrupted work leaves no effects."""


class Stop:
    """A context manager that records signals; calling it returns whether to stop, which the loop checks each step."""

    def __init__(self) -> None:
        #: exit code of the process: 128 + the signal's number, or 0 without a signal
        self.code = 0
        self._raising = False
        self._old: dict[int, Any] = {}

    def __call__(self) -> bool:
        return self.code != 0

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A context that a signal ends at once, for measuring, compiling and previews. Raises Interrupted."""
        if self.code:
            raise Interrupted
        self._raising = True
        try:
            yield
        finally:
            self._raising = False

    def _ask(self, number: int, _: FrameType | None) -> None:
        if self.code:
            raise SystemExit(128 + number)
        self.code = 128 + number
        if self._raising:
            self._raising = False
            raise Interrupted

    def __enter__(self) -> Stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._old[number] = signal.signal(number, self._ask)
            except ValueError:  # only the main thread may handle signals
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
