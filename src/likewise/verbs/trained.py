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
    """A run with the verbs that need higher layers, such as `evaluate`."""

    def evaluate(self, n: int = 1000, seed: int = 0, features: str = "pca") -> dict[str, Any]:
        """Measure n samples and write `report/`; returns the content of report.json (see `likewise.evaluate`)."""
        return evaluate(self, n=n, seed=seed, features=features)


def load(path: str | Path, parts: Sequence[Any] = ()) -> TrainedRun:
    """Open a run. parts: classes of its parts that belong neither to likewise nor to an installed package.

    Raises ValueError with one line that names a missing part.
    """
    for part in parts:
        add_part(part)
    return TrainedRun(Path(path))
