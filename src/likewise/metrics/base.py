"""The base class of metrics: a metric compares samples with real data and describes each number that it computes.

The report (`likewise.report.sections`) computes every metric of the catalog three times: for the samples, for real
training data in their place (the best value a model can reach), and for a trivial baseline.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from likewise.metrics.intervals import Estimate

#: input of a metric: "features", float64 with shape (N, D), for any modality; or a list of N values in the named form
Needs = Literal["features", "text", "row", "picture", "frames", "messages"]


@dataclass(frozen=True)
class Measure:
    """One number of a report: its title, which direction is better, and its meaning in one sentence."""

    title: str
    better: Literal["higher", "lower", "real"]  #: "real": best where it equals that of real data
    meaning: str
    percent: bool = False  #: shown as a percentage


class Metric(ABC):
    """Compares samples with real data. Instances have no state."""

    part_kind: ClassVar[str] = "metric"
    name: ClassVar[str]
    needs: ClassVar[Needs] = "features"
    #: the heading in the report under which its measures are listed
    group: ClassVar[str]
    #: its numbers, keyed by their names in report.json
    measures: ClassVar[Mapping[str, Measure]]
    #: the real items used as the real-vs-real reference: held-out ones for statistics of a single set of items
    floor: ClassVar[Literal["train", "held_out"]] = "train"
    #: the metric's settings, where they are the same for all data
    settings: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def __call__(self, real: Any, fake: Any, seed: int) -> dict[str, Estimate]:
        """Compute the numbers by name, each with its 95% interval (see `likewise.metrics.intervals`).

        real: held-out items; fake: as many samples, or the items that replace them (real data, baseline). All random
        draws derive from `seed`. Raises ValueError if the metric cannot be computed; the report shows the message.
        """

    def applies(self, real: Any) -> bool:
        """Whether the metric is meaningful for these real items; if not, the report leaves it out."""
        return True

    def trivial(self, train: Any, seed: int) -> tuple[str, Any] | None:
        """The metric's own trivial baseline: a description and its items; None for the report's. train: real items."""
        return None

    def protocol(self, real: Any) -> Mapping[str, Any]:
        """Settings recorded in the report; values are compared only between reports with equal settings."""
        return self.settings

    def note(self, measure: str, real: Any, value: Estimate, floor: Estimate | None) -> str | None:
        """A caveat to show with a number; None if there is none. floor: the same measure for real items."""
        return None

    def sentence(self, rows: Mapping[str, Mapping[str, Any]]) -> str | None:
        """A conclusion for the verdict; None if there is none. rows: the report's rows, by measure.

        Called if at least one of the metric's measures is among the rows.
        """
        return None
