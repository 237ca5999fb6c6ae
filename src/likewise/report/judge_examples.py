"""What gave the samples away: the fakes the judge was surest of, those it took for real, the real items it took for
fakes, and by name what differs most.
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

#: how many of each kind a page shows
COUNT = 8


def gave_away(got: Evidence, verdict: Verdict, shown: Shown) -> dict[str, Any]:
    """What report.json holds of it, for its `judge`; what the page shows goes to `shown`.

    recognised, missed: sample numbers. accused: places in the run's held-out reference. tells: of
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
