"""The effect of each given field: the same sample without it, and with another value of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from likewise.explain.page import Section, given_words, strip, token_note
from likewise.explain.probe import COUNT, Given, Probe
from likewise.metrics.intervals import Estimate, generator, mean
from likewise.spaces import Continuous, Unfit

#: size of an item above which fewer likelihoods are computed, as those of a flow take seconds each
_LARGE = 1024
#: numbers of samples, and of other values of a field, that are shown
_SUBJECTS = 3
_OTHERS = 3


def section(probe: Probe) -> Section | None:
    """data: fields by name, each with moved_without, moved_by_another and (if the model has a likelihood) worth and
    worth_over_another in bits per unit; each as value, low, high over `n` items. Raises Unfit without fields."""
    if not probe.run.conditions:
        raise Unfit("this run is given nothing")
    found = Section(
        "fields",
        "Effect of each given field",
        "The first sample of each row has the given fields; the others have the same noise, with one field left out or "
        "changed. The number is the distance from the first sample (1: that of two unrelated items).",
        "A field with little effect here may still matter for other items, or together with other fields; the averages "
        f"are over {COUNT} items only.",
    )
    pool = probe.run.reference_given("train", 10**9)
    fields: dict[str, Any] = {}
    for name in probe.run.conditions:
        for subject in [s for s in probe.subjects if s.drawn][:_SUBJECTS]:
            others = _others(probe, pool, name, subject.given.get(name))
            rows = [subject.given, {**subject.given, name: None}, *[{**subject.given, name: v} for v in others]]
            values = probe.draw(rows, [subject.index] * len(rows))
            far = [0.0, *probe.moved(values[1:], values[0])]
            what = ["as asked", f"without {name}", *[given_words({name: v}, probe.run) for v in others]]
            captions = [what[0], *[f"{w}: {f:.2f}" for w, f in zip(what[1:], far[1:], strict=True)]]
            title = f"{subject.name}, given {given_words(subject.given, probe.run)}: other values of {name}"
            found.strips.append(strip(probe.run.modality, title, values, captions))
        fields[name] = _averages(probe, pool, name)
        found.facts += _sentences(probe, name, fields[name])
    found.data = {"n": COUNT, "fields": fields}
    if probe.model.likelihood is None:
        probe.skipped.append(("how many bits a given field saves", "this model has no likelihood"))
    found.facts += token_note(probe)
    return found


def _others(probe: Probe, pool: list[Given], name: str, own: Any, *purpose: object) -> list[Any]:
    """A few values of the field in the training items, other than `own`, drawn by the seed and `purpose`."""
    order = generator(probe.seed, "others", name, *purpose).permutation(len(pool))
    distinct = dict.fromkeys(str(v) for i in order if (v := pool[i].get(name)) is not None and str(v) != str(own))
    return list(distinct)[:_OTHERS]


def _averages(probe: Probe, pool: list[Given], name: str) -> dict[str, Any]:
    """Mean distances of samples, and additional bits of real items, without the field and with another value."""

    def swapped(rows: list[Given]) -> list[Given]:
        """Each row with another value; unchanged if the training items have no other."""
        others = [_others(probe, pool, name, row.get(name), i) for i, row in enumerate(rows)]
        return [{**row, name: other[0]} if other else row for row, other in zip(rows, others, strict=True)]

    def without(rows: list[Given]) -> list[Given]:
        return [{**row, name: None} for row in rows]

    asked, indices = probe.run.sampler.some_given(COUNT, probe.seed), list(range(COUNT))
    base, gone, other = (probe.draw(rows, indices) for rows in (asked, without(asked), swapped(asked)))
    out: dict[str, Any] = {
        "moved_without": _numbers(mean(_moves(probe, gone, base))),
        "moved_by_another": _numbers(mean(_moves(probe, other, base))),
    }
    if probe.model.likelihood is None:
        return out
    large = isinstance(probe.model.target, Continuous) and probe.model.target.size > _LARGE
    real = probe.some_held_out(COUNT // 2 if large else COUNT)
    rows = [s.given for s in real]
    every = probe.bits([s.value for s in real] * 3, [*rows, *without(rows), *swapped(rows)])
    assert every is not None
    asked_bits, without_bits, swapped_bits = np.split(every, 3)  # one batch, as each call takes a second for a flow
    out["worth"] = _numbers(mean(without_bits - asked_bits))
    out["worth_over_another"] = _numbers(mean(swapped_bits - asked_bits))
    return out


def _moves(probe: Probe, values: list[Any], base: list[Any]) -> np.ndarray:
    return np.array([probe.moved([v], b)[0] for v, b in zip(values, base, strict=True)])


def _numbers(estimate: Estimate) -> dict[str, float]:
    return {key: round(getattr(estimate, key), 5) for key in ("value", "low", "high")}


def _sentences(probe: Probe, name: str, found: dict[str, Any]) -> list[str]:
    def said(key: str) -> str:
        each = found[key]
        return f"{each['value']:.3g} ({each['low']:.3g} to {each['high']:.3g})"

    out = [f"{name}: left out, samples move by {said('moved_without')}; changed, by {said('moved_by_another')}."]
    if "worth" in found:
        unit = probe.run.modality.likelihood_unit
        out.append(
            f"{name}: knowing it saves {said('worth')} bits a {unit} of held-out items; a wrong value costs "
            f"{said('worth_over_another')} bits a {unit} more than the right one."
        )
    return out
