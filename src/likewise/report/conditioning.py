"""The report's sections on mode coverage and on agreement with captions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from likewise.metrics.agreement import unlearnable
from likewise.metrics.intervals import generator, proportion
from likewise.metrics.matching import AMONG, Matcher, r_precision
from likewise.metrics.modes import Clusters, modes
from likewise.modalities.encoding import stored
from likewise.report.evidence import Evidence, Row, numbers
from likewise.report.page import Shown
from likewise.spaces import Continuous

#: the maximum number of clusters, and the minimum number of compared items per cluster
_CLUSTERS, _EACH = 100, 20
#: the maximum number of pairs that the matching network is trained on, and tested on
_TAUGHT, _ASKED = 5000, 1000


def mode_rows(
    evidence: Evidence, name: str, title: str, what: str, real: Sequence[Any], seen: Mapping[str, Sequence[Any]]
) -> Iterator[Row]:
    """Rows on modes. real: the mode of each real item; seen: the modes of the sides "value", "floor", "baseline"."""
    found = {side: modes(real, part, evidence.seed) for side, part in seen.items()}
    count = len(set(real))
    note = f"{round(found['value']['modes'].value * count)} of {count} {what}"
    for measure, estimate in found["value"].items():
        baseline = found.get("baseline", {}).get(measure)
        yield evidence.row(
            measure + name, estimate, len(real), len(seen["value"]), {"modes": count},
            title=("Modes reached" if measure == "modes" else "Modes, KL from real") + title, note=note,
            floor=numbers(found["floor"][measure]),
            baseline={**numbers(baseline), "what": evidence.baseline_name} if baseline else None,
        )  # fmt: skip


def clusters(evidence: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
    """Mode rows for unlabelled items with positions (pictures, sound): modes are clusters of training items."""
    space = evidence.run.model.target
    count = min(_CLUSTERS, evidence.compared // _EACH)
    if not isinstance(space, Continuous) or not space.positions or count < 2:
        return
    if any(unlearnable([str(label) for label in labels]) is None for labels in evidence.train.given.values()):
        return  # `agreement` uses the labels as modes
    kinds = Clusters(evidence.x_train, count, evidence.seed)
    sides = {"value": kinds(evidence.x_fake[: evidence.compared]), "floor": kinds(evidence.x_held_out)}
    sides["baseline"] = kinds(evidence.x_baseline)
    yield from mode_rows(evidence, "", "", "clusters of training items (k-means)", kinds(evidence.x_train), sides)


def captions(evidence: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
    """R-precision of modalities other than text, for each field with too many different values for `agreement`."""
    if "text" in evidence.forms:
        return
    for name, taught in evidence.train.given.items():
        labels = [str(label) for label in taught if label is not None]
        if unlearnable(labels) is None or len(set(labels)) < AMONG:
            continue  # `agreement` covers this field
        yield from _field(evidence, name)


def _field(evidence: Evidence, name: str) -> Iterator[Row]:
    what = f"R-precision for {name}"
    asked = [
        (i, str(given[name])) for i, given in enumerate(evidence.samples.given[:_ASKED]) if given[name] is not None
    ]
    held = [
        (int(i), str(v)) for i in evidence.pick_held_out[:_ASKED] if (v := evidence.held_out.given[name][i]) is not None
    ]
    known = [(i, str(v)) for i, v in enumerate(evidence.train.given[name][:_TAUGHT]) if v is not None]
    texts = [text for _, text in asked]
    try:
        matcher = Matcher(_seen(evidence, "train", [i for i, _ in known]), [text for _, text in known], evidence.seed)
        dealt = [texts[i] for i in generator(evidence.seed, "dealt").permutation(len(texts))]
        fakes = _seen(evidence, "fake", [i for i, _ in asked])
        reals = _seen(evidence, "held_out", [i for i, _ in held])
        found = [
            r_precision(matcher.scores(x, each), each)
            for x, each in ((fakes, texts), (reals, [text for _, text in held]), (fakes, dealt))
        ]
    except ValueError as error:
        evidence.skipped.append({"what": what, "why": str(error)})
        return
    ours, floor, trivial = (proportion(float(part.mean()), len(part)) for part in found)
    if floor.low < 1.5 / AMONG:
        right = f"it is right for {100 * floor.value:.0f}% of {len(held):,} real held-out pairs"
        why = f"a network trained on {len(known):,} pairs is no judge: {right}, hardly more than chance"
        evidence.skipped.append({"what": what, "why": why})
        return
    yield evidence.row(
        f"r_precision:{name}", ours, len(held), len(asked), {"among": AMONG, "taught": len(known)},
        title=f"R-precision@{AMONG} for {name}", field=name, floor=numbers(floor),
        baseline={**numbers(trivial), "what": "the captions randomly permuted"},
        note=f"among {AMONG} held-out captions, by a small network trained on {len(known):,} real pairs",
    )  # fmt: skip


def _seen(evidence: Evidence, part: str, picked: Sequence[int]) -> Tensor:
    """Items as input of the matching network: as an encoding with positions if the modality has one, else features."""
    arrays = stored(evidence.run.modality)
    if arrays is not None and isinstance(arrays.space, Continuous) and arrays.space.positions:
        values = {"train": evidence.train.values, "held_out": evidence.held_out.values, "fake": evidence.fakes}[part]
        return arrays.encode(arrays.pack([values[i] for i in picked]).data)
    if part == "held_out":  # these features are of the picked items only, in their order
        place = {int(i): row for row, i in enumerate(evidence.pick_held_out)}
        picked = [place[i] for i in picked]
    features = {"train": evidence.plain[0], "held_out": evidence.plain[1], "fake": evidence.plain[2]}[part]
    return torch.from_numpy(features[list(picked)]).float()
