"""The report's sections on mode coverage and on agreement with captions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from likewise.metrics.agreement import unclear
from likewise.metrics.intervals import generator, proportion
from likewise.metrics.matching import AMONG, Matcher, picked_right
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
    got: Evidence, name: str, title: str, what: str, real: Sequence[Any], seen: Mapping[str, Sequence[Any]]
) -> Iterator[Row]:
    """Rows on modes. real: the mode of each real item; seen: the modes of the sides "value", "floor", "baseline"."""
    found = {side: modes(real, part, got.seed) for side, part in seen.items()}
    count = len(set(real))
    note = f"{round(found['value']['modes'].value * count)} of {count} {what}"
    for measure, estimate in found["value"].items():
        baseline = found.get("baseline", {}).get(measure)
        yield got.row(
            measure + name, estimate, len(real), len(seen["value"]), {"modes": count},
            title=("Modes reached" if measure == "modes" else "Modes, KL from real") + title, note=note,
            floor=numbers(found["floor"][measure]),
            baseline={**numbers(baseline), "what": got.baseline_name} if baseline else None,
        )  # fmt: skip


def clusters(got: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
    """Mode rows for unlabelled items with positions (pictures, sound): modes are clusters of training items."""
    space = got.run.model.target
    count = min(_CLUSTERS, got.compared // _EACH)
    if not isinstance(space, Continuous) or not space.positions or count < 2:
        return
    if any(unclear([str(label) for label in labels]) is None for labels in got.train.given.values()):
        return  # `agreement` uses the labels as modes
    kinds = Clusters(got.x_train, count, got.seed)
    sides = {"value": kinds(got.x_fake[: got.compared]), "floor": kinds(got.x_held_out)}
    sides["baseline"] = kinds(got.x_baseline)
    yield from mode_rows(got, "", "", "clusters of training items (k-means)", kinds(got.x_train), sides)


def captions(got: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
    """R-precision of modalities other than text, for each field with too many different values for `agreement`."""
    if "text" in got.forms:
        return
    for name, taught in got.train.given.items():
        labels = [str(label) for label in taught if label is not None]
        if unclear(labels) is None or len(set(labels)) < AMONG:
            continue  # `agreement` covers this field
        yield from _field(got, name)


def _field(got: Evidence, name: str) -> Iterator[Row]:
    what = f"R-precision for {name}"
    asked = [(i, str(given[name])) for i, given in enumerate(got.samples.given[:_ASKED]) if given[name] is not None]
    held = [(int(i), str(v)) for i in got.pick_held_out[:_ASKED] if (v := got.held_out.given[name][i]) is not None]
    known = [(i, str(v)) for i, v in enumerate(got.train.given[name][:_TAUGHT]) if v is not None]
    texts = [text for _, text in asked]
    try:
        matcher = Matcher(_seen(got, "train", [i for i, _ in known]), [text for _, text in known], got.seed)
        dealt = [texts[i] for i in generator(got.seed, "dealt").permutation(len(texts))]
        fakes = _seen(got, "fake", [i for i, _ in asked])
        reals = _seen(got, "held_out", [i for i, _ in held])
        found = [
            picked_right(matcher.scores(x, each), each)
            for x, each in ((fakes, texts), (reals, [text for _, text in held]), (fakes, dealt))
        ]
    except ValueError as error:
        got.skipped.append({"what": what, "why": str(error)})
        return
    ours, floor, trivial = (proportion(float(part.mean()), len(part)) for part in found)
    if floor.low < 1.5 / AMONG:
        right = f"it is right for {100 * floor.value:.0f}% of {len(held):,} real held-out pairs"
        why = f"a network trained on {len(known):,} pairs is no judge: {right}, hardly more than chance"
        got.skipped.append({"what": what, "why": why})
        return
    yield got.row(
        f"r_precision:{name}", ours, len(held), len(asked), {"among": AMONG, "taught": len(known)},
        title=f"R-precision@{AMONG} for {name}", field=name, floor=numbers(floor),
        baseline={**numbers(trivial), "what": "the captions randomly permuted"},
        note=f"among {AMONG} held-out captions, by a small network trained on {len(known):,} real pairs",
    )  # fmt: skip


def _seen(got: Evidence, part: str, picked: Sequence[int]) -> Tensor:
    """Items as input of the matching network: as an encoding with positions if the modality has one, else features."""
    arrays = stored(got.run.modality)
    if arrays is not None and isinstance(arrays.space, Continuous) and arrays.space.positions:
        values = {"train": got.train.values, "held_out": got.held_out.values, "fake": got.fakes}[part]
        return arrays.encode(arrays.pack([values[i] for i in picked]).data)
    if part == "held_out":  # these features are of the picked items only, in their order
        place = {int(i): row for row, i in enumerate(got.pick_held_out)}
        picked = [place[i] for i in picked]
    features = {"train": got.plain[0], "held_out": got.plain[1], "fake": got.plain[2]}[part]
    return torch.from_numpy(features[list(picked)]).float()
