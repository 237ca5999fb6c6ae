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
    """Measure `n` samples of `run`, drawn with `seed`, and write the report. Returns what report.json holds.

    As many held-out items as there are, up to n, are compared with as many samples; for a conditional model each sample
    is given what a held-out item was given. `features` is what items are compared by: "pca", "efficientnet", "minilm",
    FILE.onnx or MODULE:CALLABLE (see `metrics.extractors`). `settings` are of drawing, as `sample` takes them, such as
    {"beams": 4}; the report says them, and its stamps are others then. `progress` is told what is being done, in a few
    words. Raises ValueError when n < 1, or when the run kept fewer than two real items of a part.
    """
    return build(run, n, seed, progress, features, settings)
