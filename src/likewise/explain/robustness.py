"""Robustness: samples for perturbed conditions, and likelihoods or discriminator logits of perturbed items."""

from __future__ import annotations

from typing import Any

import numpy as np

from likewise.explain.page import Section, given_words, strip, token_note
from likewise.explain.probe import Probe, Subject
from likewise.metrics.intervals import generator
from likewise.spaces import Unfit


def section(probe: Probe) -> Section | None:
    """data: conditions (subject, field, slip, moved) and items (name, slip, and bits or logit)."""
    found = Section(
        "robustness",
        "Perturbations",
        "Each row begins with the original value, followed by the same value misspelt, damaged or out of range. "
        "Samples of a robust model change little if the meaning is the same, and nonsense is unlikely to it.",
        "These are a few perturbations of a few items: a model may still fail on others. A likelihood can be high for "
        "values that no person would take for real.",
        data={"conditions": [], "items": []},
    )
    for subject in [s for s in probe.subjects if s.drawn][:2]:
        for name in probe.run.conditions:
            _condition(probe, subject, name, found)
    for subject in [s for s in probe.subjects if not s.drawn] or probe.some_held_out(1):
        _item(probe, subject, found)
    if not found.strips:
        raise Unfit("neither what is given nor what is made can be got wrong and still be read")
    found.facts += token_note(probe)
    return found


def _condition(probe: Probe, subject: Subject, name: str, found: Section) -> None:
    """Draw the sample again with perturbations of one given value."""
    modality, value = probe.run.conditions[name].modality, subject.given.get(name)
    if value is None:
        return
    perturbations = modality.perturbations(modality.read(value), generator(probe.seed, "slips", subject.index, name))
    if not perturbations:
        return
    rows = [subject.given, *[{**subject.given, name: other} for _, other in perturbations]]
    values = probe.draw(rows, [subject.index] * len(rows))
    far = probe.moved(values[1:], values[0])
    captions = [f"as asked: {given_words({name: value}, probe.run)}"]
    for (what, other), f in zip(perturbations, far, strict=True):
        said = f" ({modality.text_of(other)})" if "text" in modality.forms else ""
        captions.append(f"{name} {what}{said}: moved {f:.2f}")
        found.data["conditions"].append(
            {"subject": subject.name, "field": name, "slip": what, "moved": round(float(f), 4)}
        )
    found.strips.append(strip(probe.run.modality, f"{subject.name}, its {name} perturbed", values, captions))


def _item(probe: Probe, subject: Subject, found: Section) -> None:
    """Likelihoods, or discriminator logits, of an item and of perturbations of it."""
    modality = probe.run.modality
    perturbations = modality.perturbations(subject.value, generator(probe.seed, "slips", subject.name))
    perturbations = [slip for slip in perturbations if _whole(probe, slip[1])]
    values = [subject.value, *[value for _, value in perturbations]]
    if len(values) == 1:
        return
    rows = [subject.given] * len(values)
    names = [subject.name, *[what for what, _ in perturbations]]
    said, numbers = _verdicts(probe, values, rows)
    if not said:
        probe.skipped.append(("how likely disturbed items are", "the family has neither a likelihood nor a judge"))
        return
    captions = [f"{name}: {words}" for name, words in zip(names, said, strict=True)]
    found.strips.append(strip(modality, f"{subject.name}, disturbed", values, captions))
    for name, line in zip(names, numbers, strict=True):
        found.data["items"].append({"name": subject.name, "slip": name, **line})


def _whole(probe: Probe, value: Any) -> bool:
    """Whether an encoded value has no missing part, as models require of the target."""
    x = probe.encoded([value])
    return not bool(x.isnan().any() if x.is_floating_point() else (x < 0).any())


def _verdicts(probe: Probe, values: list[Any], rows: list[dict[str, Any]]) -> tuple[list[str], list[dict[str, float]]]:
    """The likelihood or discriminator logit of each value, as text and numbers; empty if the model has neither."""
    bits = probe.bits(values, rows)
    if bits is not None:
        unit = probe.run.modality.likelihood_unit
        return [f"{b:.2f} bits a {unit}" for b in bits], [{"bits": round(float(b), 5)} for b in bits]
    try:
        logits = probe.model.discriminate(probe.encoded(values), probe.condition(rows)).detach().double().cpu().numpy()
    except Unfit:
        return [], []
    return [f"logit {b - logits[0]:+.2f}" if i else "its logit is 0 here" for i, b in enumerate(logits)], [
        {"logit": round(float(b), 5)} for b in np.asarray(logits)
    ]
