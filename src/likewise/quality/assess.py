"""Runs all data checks: the suspicious records with reasons, and statistics of the whole data set.

The data are not changed: suspicious records are reported, and the user decides.

`Quality.to_json` is part of look.json, whose keys docs/reference/look-json.md lists.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from likewise.data.records import Records
from likewise.metrics.intervals import generator
from likewise.modalities.base import Modality
from likewise.modalities.encoding import Encoding
from likewise.quality import duplicates, labels, pairs
from likewise.quality.diversity import Diversity, diversity
from likewise.quality.items import MOST, Items, components, features, neighbours, standardise, take
from likewise.quality.outliers import outliers
from likewise.quality.scan import Scan
from likewise.spaces import Tokens

Check = Literal["equal", "near", "conflict", "label", "pair", "outlier"]
#: a description of each check, for readers
CHECKS: dict[Check, str] = {
    "conflict": "equal items with different labels",
    "label": "labels that two classifiers doubt",
    "pair": "pairs that do not match",
    "outlier": "outliers",
    "near": "near duplicates",
    "equal": "equal items",
}
#: the maximum number of items classified, over all columns of a table together
_JUDGED = 24_000


@dataclass(frozen=True)
class Suspect:
    """A record that the user should inspect. `score` orders the suspects of one check, larger first."""

    record: int
    check: Check
    field: str
    reason: str
    score: float
    #: records to show with it: those it repeats, or its nearest neighbours
    beside: tuple[int, ...] = ()


@dataclass(frozen=True)
class Labelled:
    """Statistics of a label field, or of a categorical column of a table."""

    name: str
    balance: labels.Balance
    judged: labels.Judged | None


@dataclass(frozen=True)
class Quality:
    """The result of all checks. Records are indices of `Scan.records`."""

    count: int
    looked: int
    distinct: int
    searched: int  #: the number of records among which equal ones were searched
    groups: list[list[int]]  #: records that repeat each other, equal or nearly
    suspects: list[Suspect]  #: by check, the most suspected first
    labelled: list[Labelled]
    matched: dict[str, pairs.Matched]  #: by the name of the condition field
    diversity: Diversity
    dimension: float
    seconds: float
    notes: list[str] = field(default_factory=list)

    def of(self, *checks: Check) -> list[Suspect]:
        return [s for s in self.suspects if s.check in checks]

    def to_json(self) -> dict[str, Any]:
        """As JSON: the number of suspects by check, without the records."""
        return {
            "records": self.count,
            "looked_at": self.looked,
            "different": self.distinct,
            "searched": self.searched,
            "suspected": {check: len(self.of(check)) for check in CHECKS},
            "labels": [
                {
                    "field": each.name,
                    "counts": each.balance.counts,
                    "missing": each.balance.missing,
                    "ratio": each.balance.ratio,
                    "effective_classes": each.balance.effective,
                    "rare": each.balance.rare,
                    "judges": each.judged
                    and {
                        "accuracy": each.judged.accuracy.value,
                        "low": each.judged.accuracy.low,
                        "high": each.judged.accuracy.high,
                        "balanced": each.judged.balanced,
                        "items": each.judged.count,
                        "knowing": each.judged.knowing,
                    },
                }
                for each in self.labelled
            ],
            "pairs": {name: {"median": m.median, "knowing": m.knowing} for name, m in self.matched.items()},
            "diversity": {
                "vendi": self.diversity.vendi,
                "nearest": self.diversity.nearest,
                "gain": self.diversity.gain,
                "nearer": self.diversity.nearer,
                "dimension": self.dimension,
            },
            "seconds": round(self.seconds, 2),
            "notes": self.notes,
        }


def assess(
    scan: Scan, modality: Modality, conditions: Mapping[str, Encoding], seed: int = 0, most: int = MOST
) -> Quality | None:
    """Check the readable records. None if all of them are equal."""
    started = time.perf_counter()
    records = scan.records
    if len(records) < 2 or (not records.streamed and len(set(records.digests())) < 2):
        return None
    items = take(records, modality, seed, most)
    if len(items) < 2:
        return None
    notes = []
    if items.looked < len(records):
        notes.append(f"a random subset of {items.looked:,} of {len(records):,} records was checked in detail")
    equal = items.equal if records.streamed else _equal(records)
    near = [*scan.near, *duplicates.near_pairs(items)]
    groups = duplicates.groups(len(records), [*near, *((g[0], i) for g in equal for i in g[1:])])
    suspects = _repeats(groups, equal)
    labelled, doubted = _labels(records, modality, conditions, items, equal, seed)
    matched: dict[str, pairs.Matched] = {}
    for name, given in conditions.items():
        if _is_label(given):
            continue
        values = [records.columns[name][i] for i in items.where.tolist()]
        here = np.array([v is not None for v in values])
        known = [v for v in values if v is not None]
        read = features(known, given.modality) if known else np.zeros((0, 1), np.float32)
        found = pairs.match(standardise(read), items.standard[here], seed) if len(read) else None
        if found is not None:
            matched[name] = found
            which = items.where[here]
            doubted += [
                Suspect(
                    int(which[i]), "pair", name,
                    f"{name} matches {found.ranks[i]:.0%} of other items better", float(found.ranks[i]),
                )
                for i in found.suspects
            ]  # fmt: skip
    doubted += [
        Suspect(
            int(items.where[o.item]), "outlier", records.target,
            f"{o.times:.1f} times as far from its neighbours as the median item", o.z,
            tuple(items.where[items.nearest[o.item, :3]].tolist()),
        )
        for o in outliers(items)
    ]  # fmt: skip
    order = {check: i for i, check in enumerate(CHECKS)}
    suspects = sorted([*doubted, *suspects], key=lambda s: (order[s.check], -s.score, s.record))
    return Quality(
        len(records), items.looked, len(items), items.looked if records.streamed else len(records), groups, suspects,
        labelled, matched, diversity(items, seed), duplicates.dimension(items), time.perf_counter() - started, notes,
    )  # fmt: skip


def _is_label(encoding: Encoding) -> bool:
    space = encoding.space
    return isinstance(space, Tokens) and space.length == 1


def _equal(records: Records) -> list[list[int]]:
    groups: dict[str, list[int]] = {}
    for i, digest in enumerate(records.digests()):
        groups.setdefault(digest, []).append(i)
    return [group for group in groups.values() if len(group) > 1]


def _repeats(groups: list[list[int]], equal: list[list[int]]) -> list[Suspect]:
    """Suspects for all members of each group except the first."""
    number = {i: g for g, group in enumerate(equal) for i in group}
    out = []
    for group in groups:
        first: dict[int, int] = {}
        for i in group:
            same = first.setdefault(number.get(i, -1 - i), i)
            if same != i:
                out.append(Suspect(i, "equal", "", "equal to another", len(group), (same,)))
            elif i != group[0]:
                out.append(Suspect(i, "near", "", "nearly equal to another", len(group), (group[0],)))
    return out


def _labels(
    records: Records, modality: Modality, conditions: Mapping[str, Encoding], items: Items, equal: list[list[int]],
    seed: int,
) -> tuple[list[Labelled], list[Suspect]]:  # fmt: skip
    """Label fields are predicted from the features of the target; a table's columns from all other columns."""
    labelled: list[Labelled] = []
    suspects: list[Suspect] = []
    which = items.where.tolist()
    for name, given in conditions.items():
        if not _is_label(given):
            continue
        # Labels of a stream are read for the selected items only: reading all of them would read all of the data.
        column = records.columns[name]
        all_of = {i: column[i] for i in which} if records.streamed else dict(enumerate(column))
        names = dict(zip(all_of, given.modality.labels([*all_of.values()])[""], strict=True))
        judged = labels.judge(items.x, items.nearest, [names[i] for i in which], seed)
        labelled.append(Labelled(name, labels.balance([*names.values()]), judged))
        suspects += _doubts(name, judged, items, np.arange(len(items)))
        for group in equal:
            different = {names.get(i) for i in group} - {None}
            if len(different) > 1:
                said = " and ".join(repr(d) for d in sorted(map(str, different)))
                suspects += [
                    Suspect(i, "conflict", name, f"equal items have {name} {said}", len(group), tuple(group[:4]))
                    for i in group
                ]
    column = records.columns[records.target]
    columns = modality.labels([column[i] for i in which] if records.streamed else [*column])
    columns.pop("", None)  # a label that is itself the target has no features to predict it from
    some = np.sort(generator(seed, "columns").permutation(len(items))[: _JUDGED // max(1, len(columns))])
    values = [column[which[i]] for i in some.tolist()]
    for name, all_of in columns.items():
        rest = standardise(features(modality.without(values, name), modality))
        x = components(rest, seed)
        judged = labels.judge(x, neighbours(x)[1], modality.labels(values)[name], seed)
        labelled.append(Labelled(name, labels.balance(all_of), judged))
        suspects += _doubts(name, judged, items, some)
    return labelled, suspects


def _doubts(name: str, judged: labels.Judged | None, items: Items, which: NDArray[np.int64]) -> list[Suspect]:
    """Suspects of the "label" check; which: indices of the items that were classified."""
    return [
        Suspect(
            int(items.where[which[d.item]]), "label", name,
            f"{name} {d.label!r} looks like {d.instead!r} (classifiers: {d.probability:.0%})", d.probability,
            tuple(items.where[items.nearest[which[d.item], :3]].tolist()),
        )
        for d in (judged.doubts if judged else ())
    ]  # fmt: skip
