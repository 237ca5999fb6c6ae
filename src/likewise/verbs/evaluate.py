"""Evaluate a run: draw samples, measure them beside real data, write `report/index.html` and `report/report.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from likewise.report.build import build
from likewise.runs.run import Run


def evaluate(
    run: Run,
    n: int = 1000,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    features: str = "pca",
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Measure `n` samples of `run`, drawn with `seed`, and write the report. Returns the content of report.json.

    Up to n held-out items are compared with as many samples; each sample of a conditional model has the condition of a
    held-out item. `features`: the features for the comparison, "pca", "efficientnet", "minilm", FILE.onnx or
    MODULE:CALLABLE (see `metrics.extractors`). `settings`: sampling settings as in `sample`, such as {"beams": 4}; the
    report names them, and its stamps differ from those without. `progress`: receives short progress messages. Raises
    ValueError if n < 1, or if the run keeps fewer than two real items of a split.
    """
    return build(run, n, seed, progress, features, settings)
