"""A metric: a comparison of samples with real data, and what each of its numbers means.

The report (`likewise.report.sections`) takes every metric of the catalog three times: of the samples, of real training
data in their place (the best that a model can reach), and of a trivial baseline.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from likewise.metrics.intervals import Estimate

#: what a metric is given: "features", float64 with shape (N, D), of items of any kind; or a list of N values in a form
Needs = Literal["features", "text", "row", "picture", "frames", "messages"]


@dataclass(frozen=True)
class Measure:
    """One number of a report: how it is called, which way is better, and what it means in one sentence."""

    title: str
    better: Literal["higher", "lower", "real"]  #: "real": best where it equals that of real data
    meaning: str
    percent: bool = False  #: shown as a percentage


class Metric(ABC):
    """Compares samples with real data. Instances have no state."""

    part_kind: ClassVar[str] = "metric"
    name: ClassVar[str]
    needs: ClassVar[Needs] = "features"
    #: the heading of the report's page that its measures stand under
    group: ClassVar[str]
    #: its numbers, by their names in report.json
    measures: ClassVar[Mapping[str, Measure]]
    #: what real items stand in the samples' place: held-out ones for what is measured of one sample alone
    floor: ClassVar[Literal["train", "held_out"]] = "train"
    #: the protocol, where it is the same for all data
    settings: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def __call__(self, real: Any, fake: Any, seed: int) -> dict[str, Estimate]:
        """The numbers by name, each with its 95% interval: see `likewise.metrics.intervals`.

        real: held-out items; fake: as many samples, or what is measured in their place. All that is drawn at random is
        drawn by `seed`. Raises ValueError where nothing can be measured, which the report says.
        """

    def applies(self, real: Any) -> bool:
        """Whether it says anything of these real items; where it does not, the report leaves it out."""
        return True

    def trivial(self, train: Any, seed: int) -> tuple[str, Any] | None:
        """A trivial baseline of its own: what it is, and its items; None where the report's fits. train: real items."""
        return None

    def protocol(self, real: Any) -> Mapping[str, Any]:
        """What stands in the measures' protocol: numbers of other protocols are not compared with these."""
        return self.settings

    def note(self, measure: str, real: Any, value: Estimate, floor: Estimate | None) -> str | None:
        """What must be read with a number; None if nothing. floor: the same of real items in the samples' place."""
        return None

    def sentence(self, rows: Mapping[str, Mapping[str, Any]]) -> str | None:
        """What a reader should take away, for the verdict; None if nothing. rows: of the report, by measure.

        It is asked where any of its measures is among the rows.
        """
        return None
