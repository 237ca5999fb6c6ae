"""Displays training progress: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

#: keys of a metrics line that are not loss terms
_BOOKKEEPING = {"step", "steps", "seconds", "split", "items_per_second", "tokens_per_second", "best", "best_step"}


def duration(seconds: float) -> str:
    """A duration as text, such as "41 s", "3 min 20 s" or "2 h 5 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


class Display:
    """A context manager that shows the lines of metrics.jsonl; a `Watcher`.

    say: receives plain lines instead of the live table; without it, they are printed where there is no terminal.
    """

    def __init__(
        self, say: Callable[[str], None] | None = None, every: float = 10.0, wording: Callable[[str], str] = str
    ) -> None:
        """every: seconds between plain lines, at least. wording: spells the settings and commands in a message."""
        self._say, self._wording = say, wording
        self._every = every
        self._shown = 0.0
        self._first: dict[str, Any] | None = None
        self._train: dict[str, Any] = {}
        self._val: dict[str, Any] = {}
        self._preview = ""
        console = Console()
        live = say is None and console.is_terminal
        self._live = Live(console=console, refresh_per_second=2, get_renderable=self._render) if live else None

    def __enter__(self) -> Display:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def say(self, message: str, /) -> None:
        if message.startswith("preview: "):
            self._preview = message.removeprefix("preview: ")
        if self._live:
            self._live.console.print(self._wording(message), highlight=False, markup=False)
        else:
            (self._say or _print)(self._wording(message))

    def line(self, line: dict[str, Any], /) -> None:
        if line["split"] == "val":
            self._val = line
        elif line["split"] == "train":
            self._train = line
            self._first = self._first or line
        else:
            return  # checkpoints and alarms are reported as messages
        if self._live:
            self._live.refresh()
        elif time.monotonic() - self._shown >= self._every or line["step"] == line["steps"]:
            self._shown = time.monotonic()
            (self._say or _print)("  ".join(f"{name} {value}" for name, value in self._facts()))

    def _facts(self) -> list[tuple[str, str]]:
        line = self._train
        facts = [("step", f"{line.get('step', 0)}/{line.get('steps', '?')}")]
        facts += [(k.lstrip("_"), f"{v:.4g}") for k, v in line.items() if k not in _BOOKKEEPING]
        if self._val:
            facts.append(("val", f"{self._val['loss']:.4g} (best {self._val['best']:.4g})"))
        for key, name in (("items_per_second", "items/s"), ("tokens_per_second", "tokens/s")):
            if key in line:
                facts.append((name, f"{line[key]:,.0f}"))
        if self._first and (done := line["step"] - self._first["step"]):
            each = (line["seconds"] - self._first["seconds"]) / done
            facts.append(("ETA", duration((line["steps"] - line["step"]) * each)))
        return facts

    def _render(self) -> Table:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", justify="right")
        grid.add_column()
        for name, value in self._facts():
            grid.add_row(name, value)
        if self._preview:
            grid.add_row("preview", Text(self._preview))
        return grid


def _print(message: str) -> None:
    print(message, flush=True)
