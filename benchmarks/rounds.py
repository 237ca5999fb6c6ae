"""Peer and likewise in turns, in one process: each round times every side once, and what counts is the ratio."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from likewise.version import __version__

#: runs some steps and returns how many items a second they made
Side = Callable[[], float]


@dataclass(frozen=True)
class Result:
    """Rates of each side by round; the first side is likewise."""

    track: str
    unit: str
    rates: dict[str, list[float]]
    notes: dict[str, str]
    missing: list[str]

    def lines(self) -> list[str]:
        ours, *peers = self.rates
        out = [
            f"## {self.track}",
            "",
            f"| side | {self.unit}, median (min..max) | likewise is, times as fast |",
            "|---|---|---|",
        ]
        for name, rates in self.rates.items():
            spread = f"{statistics.median(rates):,.0f} ({min(rates):,.0f}..{max(rates):,.0f})"
            ratio = "1"
            if name in peers:
                ratios = [a / b for a, b in zip(self.rates[ours], rates, strict=True)]
                ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"
            out.append(f"| {name}: {self.notes[name]} | {spread} | {ratio} |")
        return [*out, *(f"missing: {m}" for m in self.missing), ""]

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        machine = {"torch": torch.__version__, "threads": torch.get_num_threads(), "processor": platform.machine()}
        record = {"likewise": __version__, **machine, **vars(self)}
        (folder / f"{self.track}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        (folder / f"{self.track}.md").write_text("\n".join(self.lines()), encoding="utf-8")


def alternate(sides: dict[str, Side], rounds: int, warm: bool = True) -> dict[str, list[float]]:
    """One untimed turn each if `warm`, then `rounds` turns each, in an order that reverses from round to round."""
    for side in sides.values() if warm else ():
        side()
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for k in range(rounds):
        for name in list(sides) if k % 2 == 0 else reversed(list(sides)):
            rates[name].append(sides[name]())
    return rates
