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


def judge_examples(evidence: Evidence, verdict: Verdict, shown: Shown) -> dict[str, Any]:
    """The part of report.json's `judge` with examples; the items for the page are stored in `shown`.

    recognised, missed: sample numbers. accused: indices in the run's held-out reference. tells: results of
    `metrics.distinguishing_traits`.
    """
    recognised, missed = verdict.test_fake[:COUNT], verdict.test_fake[::-1][:COUNT]
    accused = evidence.pick_held_out[verdict.test_real[:COUNT]]
    shown.recognised = _items(evidence, [evidence.fakes[i] for i in recognised])
    shown.missed = _items(evidence, [evidence.fakes[i] for i in missed])
    shown.accused = _items(evidence, [evidence.held_out.values[i] for i in accused])
    shown.suspicions = {
        "recognised": [number(share, True) for share in verdict.fake_scores[:COUNT]],
        "missed": [number(share, True) for share in verdict.fake_scores[::-1][:COUNT]],
        "accused": [number(share, True) for share in verdict.real_scores[:COUNT]],
    }
    real = [evidence.held_out.values[i] for i in evidence.pick_held_out]
    told, looked = distinguishing_traits(
        evidence.run.modality, real, evidence.fakes[: evidence.compared], evidence.train.values
    )
    return {
        "recognised": recognised.tolist(),
        "missed": missed.tolist(),
        "accused": accused.tolist(),
        "tells": [asdict(tell) for tell in told],
        "traits": looked,
    }


def _items(evidence: Evidence, values: Sequence[Any]) -> list[Any]:
    return shown_items(evidence.run.modality, values)[2]
