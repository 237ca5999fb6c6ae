"""Writes and reads metrics.jsonl, one line for each training event, and computes the means of its training lines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import torch
from torch import Tensor

from likewise.training import checkpoint
from likewise.training.distributed import World
from likewise.training.monitors import Alarm
from likewise.training.progress import Progress


class Watcher(Protocol):
    """Receives training events; the display and the loggers are watchers."""

    def line(self, line: dict[str, Any], /) -> None:
        """Receive a line of metrics.jsonl when it is written."""

    def say(self, message: str, /) -> None:
        """Receive a message for the user."""


class MetricsLog:
    """Appends lines to metrics.jsonl and passes them to a watcher; only the first process writes the file."""

    def __init__(self, path: Path, world: World, watcher: Watcher) -> None:
        self._file = (path if world.first else Path(os.devnull)).open("a", encoding="utf-8")
        self._watcher = watcher
        self._broken = 0

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()

    def write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self._watcher.line(line)

    def say(self, message: str) -> None:
        """Pass a message for the user to the watcher; it is not written to the file."""
        self._watcher.say(message)

    def alarm(self, alarms: Iterable[Alarm]) -> None:
        for one in alarms:
            self.write(one.line())
            self.say(str(one))

    def broken(self, items: Mapping[int, str]) -> None:
        """Report unreadable items when there are new ones. items: the reason for each index found so far."""
        if len(items) > self._broken:
            self._broken = len(items)
            first, why = next(iter(items.items()))
            self.say(f"note: {len(items)} unreadable so far, another item in their place; item {first}: {why}")

    def saved(self, steps: Iterable[int], progress: Progress) -> None:
        """Log checkpoints. steps: the steps of those completed since the last call."""
        for step in steps:
            self.write(
                {"step": step, "steps": progress.steps, "seconds": round(progress.seconds, 3), "split": "checkpoint"}
            )


class Means:
    """Mean loss terms and speed since the last line; a single batch would be noisy."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._clear()

    def _clear(self) -> None:
        self._items = self._tokens = self._summed = 0
        self._sums: dict[str, Tensor] = {}

    def add(self, terms: dict[str, Tensor], items: int, tokens: int) -> None:
        """Add one step. terms: its loss terms, scalars; empty if its update was skipped."""
        self._items += items
        self._tokens += tokens
        self._summed += bool(terms)
        for name, value in terms.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def line(self, progress: Progress, seconds: float) -> dict[str, Any]:
        """The line of split "train" for the last `seconds`; resets the means."""
        line: dict[str, Any] = {"step": progress.step, "steps": progress.steps, "seconds": round(progress.seconds, 3)}
        line |= {"split": "train", **self._mean()}
        line["items_per_second"] = round(self._items / max(seconds, 1e-9), 2)
        if self._tokens:
            line["tokens_per_second"] = round(self._tokens / max(seconds, 1e-9), 1)
        self._clear()
        return line

    def _mean(self) -> dict[str, float]:
        """The mean loss terms, summed over the processes, of which each has the part of its own rows."""
        names = sorted(self._sums)
        values = torch.tensor([float(self._sums[k]) / max(self._summed, 1) for k in names], dtype=torch.float64)
        found = dict(zip(names, self._world.sums(values).tolist(), strict=True))
        return {k: found[k] for k in self._sums}


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, [] if there is no such file; an incomplete last line is skipped.

    Runs of earlier versions call the validation split "held_out"; it is returned as "val".
    """
    lines: list[dict[str, Any]] = []
    if file.is_file():
        for text in file.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                line = json.loads(text)
                lines.append({**line, "split": "val"} if line.get("split") == "held_out" else line)
    return lines


def forget(log: Path, step: int, world: World) -> list[dict[str, Any]]:
    """Remove the lines after `step`, which a resumed run writes again, and an incomplete last line.

    Returns the remaining lines; [] in all processes but the first.
    """
    if not world.first or not log.is_file():
        return []
    kept = [line for line in read_metrics(log) if line["step"] <= step]
    checkpoint.write_text(log, "".join(json.dumps(line) + "\n" for line in kept))
    return kept
