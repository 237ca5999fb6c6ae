"""The run object of the Python interface, returned by `likewise.train` and `likewise.load`; verbs are its methods."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from likewise.config import add_part
from likewise.runs.run import Run
from likewise.verbs.evaluate import evaluate


@final
class TrainedRun(Run):
    """A run folder, with the verbs that are above it."""

    def evaluate(self, n: int = 1000, seed: int = 0, features: str = "pca") -> dict[str, Any]:
        """Measure n samples and write `report/`; returns what report.json holds (see `likewise.evaluate`)."""
        return evaluate(self, n=n, seed=seed, features=features)


def load(path: str | Path, parts: Sequence[Any] = ()) -> TrainedRun:
    """Open a run. parts: the classes of its parts that are neither likewise's own nor of an installed package.

    Raises ValueError of one line that names a part that is missing.
    """
    for part in parts:
        add_part(part)
    return TrainedRun(Path(path))
