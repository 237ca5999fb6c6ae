"""The evidence of a report: samples and real data, as values and as features, all drawn by seed.

Samples are compared with held-out data. Every value has two references: the floor, computed with real training data in
the samples' place (no model can do better), and a trivial baseline (real data with columns or characters shuffled).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from likewise.metrics import table, text
from likewise.metrics.base import Measure
from likewise.metrics.catalog import MEASURES
from likewise.metrics.extractors import Extractor, extractor
from likewise.metrics.features import Projection, shuffled
from likewise.metrics.intervals import Estimate, generator
from likewise.modalities.base import Form, Modality
from likewise.report.page import cell
from likewise.runs.reference import Reference
from likewise.runs.run import Run
from likewise.sampling.samples import Samples

#: the version of the protocol, raised when the meaning of a measure changes, so that stamps differ
PROTOCOL = 3
MOST_COMPARED = 4000
COMPONENTS = 64

Array = NDArray[np.float64]
Row = dict[str, Any]


@dataclass
class Evidence:
    """The samples and the real data, as values and as features."""

    run: Run
    seed: int
    train: Reference
    held_out: Reference
    samples: Samples
    fakes: list[Any]
    compared: int  #: the number of items on each side of the comparison
    pick_train: NDArray[np.int64]
    pick_held_out: NDArray[np.int64]
    beside: NDArray[np.int64]  #: indices of the held-out items that the page shows with the samples
    baseline_name: str
    baseline: list[Any] | None  #: the baseline's values; None if it exists as features only
    ruler: Projection
    x_train: Array
    x_held_out: Array  #: of the compared items
    x_fake: Array
    x_baseline: Array
    plain: tuple[Array, Array, Array]  #: features without standardisation: of train, held_out, fake
    stamp: dict[str, Any] = field(default_factory=dict)
    skipped: list[dict[str, str]] = field(default_factory=list)
    #: bits per unit of each scored item, by measure: "bits" of held-out items, "bits_train" of training items
    costs: dict[str, Array] = field(default_factory=dict)

    @property
    def forms(self) -> tuple[Form, ...]:
        """The forms, besides features, in which the items can be measured."""
        return self.run.modality.forms

    def real(self, part: Literal["train", "held_out"], form: Form, most: int | None = None) -> list[Any]:
        """The compared real items of a part, or the first `most` of them, in a form."""
        values, picked = (
            (self.train.values, self.pick_train) if part == "train" else (self.held_out.values, self.pick_held_out)
        )
        return self.run.modality.as_form([values[i] for i in picked[:most]], form)

    def fake(self, form: Form, most: int | None = None) -> list[Any]:
        """The samples, or the first `most` of them, in a form."""
        return self.run.modality.as_form(self.fakes[:most], form)

    def trivial(self, form: Form) -> list[Any]:
        """The trivial baseline's values in a form; [] if it exists as features only."""
        return self.run.modality.as_form(self.baseline or [], form)

    def row(
        self, name: str, estimate: Estimate, n_real: int, n_fake: int, settings: Mapping[str, Any],
        measure: Measure | None = None, **more: Any,
    ) -> Row:  # fmt: skip
        """One row of the report (see schema.json). measure: its description, if it is not in `MEASURES`."""
        measure = measure or MEASURES[name.partition(":")[0]]
        protocol = {**self.stamp, "measure": name, "n_real": n_real, "n_fake": n_fake, **settings}
        return {
            "name": name,
            "title": measure.title,
            "meaning": measure.meaning,
            "better": measure.better,
            "percent": measure.percent,
            **numbers(estimate),
            "n_real": n_real,
            "n_fake": n_fake,
            "seed": self.seed,
            "floor": None,
            "baseline": None,
            "note": None,
            "protocol": protocol,
            "stamp": hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()[:8],
            **more,
        }


def gather(run: Run, n: int, seed: int, features: str = "pca", settings: Mapping[str, Any] | None = None) -> Evidence:
    """Sample and compute features. features: a name for `metrics.extractors.extractor`; settings: of sampling.

    Raises ValueError if the run keeps fewer than two training or held-out items.
    """
    chosen = extractor(features)  # before sampling, so that a wrong name fails immediately
    train, held_out = run.reference("train"), run.reference("held_out")
    for name, part in (("training", train), ("held-out", held_out)):
        if len(part.values) < 2:
            raise ValueError(f"{run.path}: {len(part.values)} {name} items are kept with the run; evaluate needs two")
    compared = min(n, len(train.values), len(held_out.values), MOST_COMPARED)
    draws = run.experiment.family.generates
    if not draws:  # one half of the held-out items is the real data, the other half is reconstructed
        compared = min(compared, len(held_out.values) // 2)
    rng = generator(seed, "evaluate")
    order_train, order = rng.permutation(len(train.values)), rng.permutation(len(held_out.values))
    given = None
    if held_out.given:
        # The samples get the conditions of real held-out items, so that the two distributions are comparable.
        given = [{name: part[order[i % len(order)]] for name, part in held_out.given.items()} for i in range(n)]
    beside = order[:compared] if draws else order[compared : 2 * compared]
    if draws:
        samples = run.sample(n, seed=seed, given=given, settings=dict(settings or {}))
    else:
        back, x = run.reconstruct(held_out.x[torch.from_numpy(beside)])
        samples = Samples(back, x, [{}] * compared, seed, run.modality, 0, {})
    fakes = list(samples.values)

    name, baseline = _shuffle(run.modality, [train.values[i] for i in order_train[:compared]], rng)
    raw_train, raw_fake = _features(run, train.values, chosen), _features(run, fakes, chosen)
    raw_held_out = _features(run, [held_out.values[i] for i in order[:compared]], chosen)
    raw_baseline = (
        shuffled(raw_train[order_train[:compared]], rng) if baseline is None else _features(run, baseline, chosen)
    )
    # The projection is fitted on training items that are not compared, if there are enough of them.
    rest = order_train[compared:] if len(order_train) >= 2 * compared else order_train
    ruler = Projection.fit(raw_train[np.sort(rest)], min(COMPONENTS, max(2, compared // 8)))
    plain = Projection.fit(raw_train, COMPONENTS, standardise=False)
    evidence = Evidence(
        run=run,
        seed=seed,
        train=train,
        held_out=held_out,
        samples=samples,
        fakes=fakes,
        compared=compared,
        pick_train=order_train[:compared],
        pick_held_out=order[:compared],
        beside=beside,
        baseline_name=name,
        baseline=baseline,
        ruler=ruler,
        x_train=ruler(raw_train),
        x_held_out=ruler(raw_held_out),
        x_fake=ruler(raw_fake),
        x_baseline=ruler(raw_baseline),
        plain=(plain(raw_train), plain(raw_held_out), plain(raw_fake)),
    )
    evidence.stamp = {
        "protocol": PROTOCOL,
        "features": f"{chosen.name if chosen else run.modality.name}, {raw_train.shape[1]} numbers, "
        f"{ruler.axes.shape[1]} principal components"
        + (" and the length of the rest" if ruler.rest is not None else ""),
        "extractor": chosen.digest if chosen else "pca",
        "resize": chosen.resize if chosen else run.modality.resize,
        "ruler_items": len(rest),
        "split": "held-out data against samples",
        "seed": seed,
        # Sampling settings are part of the stamp only if changed, so that stamps of earlier reports remain valid.
        **({"sampling": drawn} if (drawn := run.sampler.changed_settings(settings)) else {}),
        "held_out": _fingerprint(raw_held_out),
        "train": _fingerprint(raw_train),
    }
    return evidence


def _features(run: Run, values: Sequence[Any], chosen: Extractor | None) -> Array:
    features = chosen(values, run.modality) if chosen else run.modality.features(values)
    features = np.asarray(features, np.float64).reshape(len(values), -1)
    broken = ~np.isfinite(features).all(1)
    if broken.any():
        raise ValueError(f"{run.path}: {int(broken.sum())} of {len(values)} items have features that are not finite")
    return features


#: by form of values: a description of the trivial baseline, and the function that makes it
_SHUFFLES: dict[Form, tuple[str, Callable[[Sequence[Any], np.random.Generator], Sequence[Any]]]] = {
    "text": ("real texts with all their characters shuffled", text.shuffled),
    "row": ("real rows with each column shuffled independently", table.shuffled),
}


def _shuffle(modality: Modality, values: list[Any], rng: np.random.Generator) -> tuple[str, list[Any] | None]:
    """The trivial baseline's description and values; None instead of values if it is made of features."""
    for form, (what, shuffle) in _SHUFFLES.items():
        if form in modality.forms:
            return what, [modality.read(each) for each in shuffle(modality.as_form(values, form), rng)]
    return "real items with each feature shuffled independently", None


def _fingerprint(x: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(x, np.float32).tobytes()).hexdigest()[:16]


def most_shown(modality: Modality) -> int:
    """The number of items that a page shows."""
    return 48 if modality.page_style == "figures" else 12


def shown_items(
    modality: Modality, values: Sequence[Any], given: Sequence[Mapping[str, Any]] = ()
) -> tuple[str, list[str], list[Any]]:
    """The first of `values` for a page: the `page_style`, the columns of rows, and each value as HTML, or for rows as a
    list of cells. given: the condition of each value, shown in columns before those of a row.
    """
    values = values[: most_shown(modality)]
    if modality.page_style != "rows":
        return modality.page_style, [], [modality.to_html(value) for value in values]
    rows = modality.as_form(values, "row")
    rows = [{**asked, **row} for asked, row in zip(given, rows, strict=False)] if given else rows
    columns = list(rows[0])
    return "rows", columns, [[cell(row.get(name)) for name in columns] for row in rows]


def numbers(estimate: Estimate) -> dict[str, float | None]:
    """The estimate for JSON: NaN and infinity become null."""
    return {
        key: value if np.isfinite(value := getattr(estimate, key)) else None for key in ("value", "low", "high")
    }  # fmt: skip
