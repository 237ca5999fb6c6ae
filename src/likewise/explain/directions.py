"""Latent directions that separate items with a property from those without: accuracy and effect.

A logistic regression is fitted to latents of training items. Its accuracy on held-out items shows whether the latent
encodes the property; moving items along its direction shows whether the decoder uses it. Alain and Bengio,
"Understanding intermediate layers using linear classifier probes" (2017); White (2016).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from likewise.explain.page import Section, strip
from likewise.explain.probe import COUNT, FEW, Probe
from likewise.metrics.intervals import ratio_of_sums
from likewise.spaces import Unfit

#: number of first properties, always shown, and of others, shown by accuracy on training items
_ALWAYS, _OTHERS = 2, 4
#: number of most common values of a given field that are tried
_VALUES = 3
#: least number of items with the property and without it, in each split
_FEWEST = 8
#: positions along the direction, in standard deviations of training items from their mean
_REACH = (-3.0, -1.5, 0.0, 1.5, 3.0)


def section(probe: Probe) -> Section | None:
    """data: directions, each with property, accuracy (value, low, high), n, share of training items, and gained: the
    share of COUNT items that have the property when moved to each of `reach`; null if it cannot be seen in an item."""
    if probe.known is None:
        return None
    train, held_out = probe.known
    middle, scale = train.mean(0), train.std(0) + 1e-9
    x, y = (train - middle) / scale, (held_out - middle) / scale
    found = Section(
        "directions",
        "Properties in the latent",
        "For each property, the direction from latents of training items without it to latents of items with it, how "
        "often it predicts the property of held-out items (balanced: 50% is guessing), and a held-out item moved "
        "along it, in standard deviations from the centre; everything else, the noise too, is unchanged.",
        "A direction can predict a property through something correlated with it. If decoded items do not gain the "
        "property, the decoder makes little use of the direction.",
        data={"reach": list(_REACH), "directions": []},
    )
    tried = []
    for name, (inside, outside, tell) in _properties(probe).items():
        if min(inside.sum(), (~inside).sum(), outside.sum(), (~outside).sum()) < _FEWEST:
            continue
        fitted = LogisticRegression(C=0.1, class_weight="balanced", max_iter=500).fit(x, inside)
        tried.append((_balanced(fitted.predict(x) == inside, inside), name, fitted, inside, outside, tell))
    # Selected on training items, so that the accuracy on held-out items has no selection bias.
    first, others = tried[:_ALWAYS], sorted(tried[_ALWAYS:], key=lambda each: -each[0])[:_OTHERS]
    if not tried:
        raise Unfit("no property is had by some of the kept items and lacked by others")
    for _, name, fitted, inside, outside, tell in sorted(first + others, key=lambda each: -each[0]):
        weights = _weights(outside)
        right = (fitted.predict(y) == outside).astype(np.float64)
        accuracy = ratio_of_sums(right * weights, weights, probe.seed)
        way = fitted.coef_[0] / np.linalg.norm(fitted.coef_[0])
        line = {
            "property": name,
            "accuracy": {k: round(getattr(accuracy, k), 5) for k in ("value", "low", "high")},
            "n": len(outside),
            "share": round(float(inside.mean()), 5),
            "gained": _move(probe, found, name, way, x, (middle, scale), tell),
        }
        found.data["directions"].append(line)
        gained = line["gained"]
        effect = "" if gained is None else (
            f"; of {COUNT} items, {gained[0]:.0%} have it when moved to {_REACH[0]:g}, {gained[2]:.0%} in the middle "
            f"and {gained[-1]:.0%} at {_REACH[-1]:+g}"
        )  # fmt: skip
        found.facts.append(
            f"{name} ({line['share']:.0%} of training items): right about {accuracy.value:.0%} ({accuracy.low:.0%} to "
            f"{accuracy.high:.0%}) of held-out items{effect}."
        )
    return found


def _properties(
    probe: Probe,
) -> Mapping[str, tuple[NDArray[np.bool_], NDArray[np.bool_], Callable[[Any], bool] | None]]:
    """For each property, the training and the held-out items that have it, and a test for decoded items, if any."""
    train, held_out = probe.train.values[:FEW], probe.held_out.values[:FEW]
    out = {}
    for name, tell in probe.run.modality.properties(train).items():
        out[name] = np.array([tell(v) for v in train]), np.array([tell(v) for v in held_out]), tell
    for field, column in probe.train.given.items():
        words, others = (_words(part[:FEW]) for part in (column, probe.held_out.given[field]))
        for value, count in Counter(words).most_common(_VALUES):
            if count >= _FEWEST:
                out[f"{field} is {value}"] = np.array([w == value for w in words]), np.array(
                    [w == value for w in others]
                ), None  # fmt: skip
    return out


def _words(column: Sequence[Any]) -> list[str]:
    return ["" if value is None else str(value) for value in column]


def _weights(has: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights that give items with and without the property equal total weight."""
    return np.where(has, 0.5 / max(1, has.sum()), 0.5 / max(1, (~has).sum()))


def _balanced(right: NDArray[np.bool_], has: NDArray[np.bool_]) -> float:
    weights = _weights(has)
    return float((right * weights).sum() / weights.sum())


def _move(
    probe: Probe,
    found: Section,
    name: str,
    way: NDArray[np.float64],
    x: NDArray[np.float64],
    standard: tuple[NDArray[np.float64], NDArray[np.float64]],
    tell: Callable[[Any], bool] | None,
) -> list[float] | None:
    """Move held-out items along a direction of standardised latents; returns the share with the property at each
    position of `_REACH`, or None without a test."""
    subjects = probe.some_held_out(COUNT)
    c = probe.condition([s.given for s in subjects])
    spread = float((x @ way).std())
    middle, scale = standard
    starts = np.concatenate(
        [probe.model.encode(s.x, _row(c, i), probe.settings).double().cpu().numpy() for i, s in enumerate(subjects)]
    )
    starts = (starts - middle) / scale
    shares = []
    first = []
    for stop in _REACH:
        moved = starts + (stop * spread - starts @ way)[:, None] * way
        z = torch.tensor(moved * scale + middle, dtype=torch.float32, device=probe.device)
        values = probe.draw([s.given for s in subjects], [s.index for s in subjects], z)
        first.append(values[0])
        shares.append(0.0 if tell is None else round(float(np.mean([tell(v) for v in values])), 4))
    captions = [f"{stop:+g}" for stop in _REACH]
    found.strips.append(strip(probe.run.modality, f"{name}: {subjects[0].name}, moved", first, captions))
    return None if tell is None else shares


def _row(c: dict[str, torch.Tensor] | None, i: int) -> dict[str, torch.Tensor] | None:
    return None if c is None else {name: value[i : i + 1] for name, value in c.items()}
