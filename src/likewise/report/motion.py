"""The part of a report that clips have: do they move as real ones do? Values of the form "frames" are clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from likewise.metrics.intervals import generator
from likewise.metrics.motion import motion as measured
from likewise.report.evidence import Evidence, Row, numbers
from likewise.report.page import Shown

_SHUFFLED = "real clips with their frames shuffled"


def motion(got: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
    m = got.compared
    if "frames" not in got.forms:
        return
    real, train = got.real("held_out", "frames"), got.real("train", "frames")
    rng = generator(got.seed, "frames")
    shuffled = [frames[rng.permutation(len(frames))] for frames in train]
    try:
        ours, floor, trivial = (measured(real, clips, got.seed) for clips in (got.fake("frames", m), train, shuffled))
    except ValueError as error:
        got.skipped.append({"what": "motion", "why": str(error)})
        return
    for name, estimate in ours.items():
        yield got.row(
            name, estimate, m, m, {"difference": "mean absolute"},
            floor=numbers(floor[name]), baseline={**numbers(trivial[name]), "what": _SHUFFLED},
            note=_relative(estimate.value, floor[name].value) if name == "motion" else None,
        )  # fmt: skip


def _relative(value: float, real: float) -> str | None:
    return f"{value / real:.2f} times what real clips move" if real > 0 and np.isfinite(value) else None


def verdict(rows: Mapping[str, Row]) -> str | None:
    """A sentence on how samples move."""
    if "motion" not in rows or not rows["motion"]["floor"]["value"]:
        return None
    moves, frozen, smooth = rows["motion"], rows["frozen"], rows.get("smoothness")
    said = f"Its clips move {moves['value'] / moves['floor']['value']:.2f} times as much as real ones"
    if frozen["low"] > frozen["floor"]["high"]:
        said += f"; {100 * frozen['value']:.0f}% stand still, of the real ones {100 * frozen['floor']['value']:.0f}%"
    if smooth and smooth["value"] is not None and smooth["floor"] and smooth["baseline"]:
        way = smooth["floor"]["value"] - smooth["baseline"]["value"]
        if way > 0 and smooth["floor"]["value"] - smooth["value"] > 0.5 * way:
            said += "; they flicker: from frame to frame they change nearly as without any order"
    return f"{said}."
