"""Examples from the judge's ranking: the fakes it recognised best, the fakes it classified as real, the real items it
classified as fake; and the named traits that differ most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from likewise.metrics.distinguishing_traits import distinguishing_traits
from likewise.metrics.twosample import Verdict
from likewise.report.charts import number
from likewise.report.evidence import Evidence, shown_items
from likewise.report.page import Shown

#: the number of examples of each kind
COUNT = 8


def gave_away(got: Evidence, verdict: Verdict, shown: Shown) -> dict[str, Any]:
    """The part of report.json's `judge` with examples; the items for the page are stored in `shown`.

    recognised, missed: sample numbers. accused: indices in the run's held-out reference. tells: results of
    `metrics.distinguishing_traits`.
    """
    recognised, missed = verdict.asked[:COUNT], verdict.asked[::-1][:COUNT]
    accused = got.pick_held_out[verdict.accused[:COUNT]]
    shown.recognised = _items(got, [got.fakes[i] for i in recognised])
    shown.missed = _items(got, [got.fakes[i] for i in missed])
    shown.accused = _items(got, [got.held_out.values[i] for i in accused])
    shown.suspicions = {
        "recognised": [number(share, True) for share in verdict.suspicion[:COUNT]],
        "missed": [number(share, True) for share in verdict.suspicion[::-1][:COUNT]],
        "accused": [number(share, True) for share in verdict.accusation[:COUNT]],
    }
    real = [got.held_out.values[i] for i in got.pick_held_out]
    told, looked = distinguishing_traits(got.run.modality, real, got.fakes[: got.compared], got.train.values)
    return {
        "recognised": recognised.tolist(),
        "missed": missed.tolist(),
        "accused": accused.tolist(),
        "tells": [asdict(tell) for tell in told],
        "traits": looked,
    }


def _items(got: Evidence, values: Sequence[Any]) -> list[Any]:
    return shown_items(got.run.modality, values)[2]
