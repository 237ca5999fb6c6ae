"""The training items nearest to each item, to detect copies."""

from __future__ import annotations

import numpy as np

from likewise.explain.page import Section, strip
from likewise.explain.probe import Probe
from likewise.metrics.copies import RATIO
from likewise.metrics.neighbours import nearest

_SHOWN = 5
_COMPARED = 100


def section(probe: Probe) -> Section | None:
    """data: items, each with name, copy, and nearest: (training item, distance); real: the median distance of held-out
    items; n_train. Distances are in units of `Probe.unit`."""
    train = probe.train_places
    own, _ = nearest(probe.places(probe.held_out.values[:_COMPARED]), train, 1)
    usual = float(np.median(own)) / probe.unit
    found = Section(
        "origins",
        "Nearest training items",
        "Each item with the training items nearest to it, and their distance (1: that of two unrelated items). A copy "
        "would have one neighbour at about 0, or at less than a third of the distance of the next.",
        "A small distance in plain features does not prove influence and is no measure of privacy: an item may depend "
        "most on training data that look different.",
        data={"items": [], "real": round(usual, 5), "n_train": len(train)},
    )
    distance, index = nearest(probe.places([s.value for s in probe.subjects]), train, _SHOWN)
    distance = distance / probe.unit
    for subject, far, near in zip(probe.subjects, distance, index, strict=True):
        values = [subject.value, *[probe.train.values[i] for i in near]]
        captions = [subject.name, *[f"{d:.2f}" for d in far]]
        copy = len(far) > 1 and (far[0] <= 1e-9 or far[0] < RATIO * far[1])
        title = f"{subject.name}: a copy, by this measure" if copy else ""
        found.strips.append(strip(probe.run.modality, title, values, captions, changes=False))
        line = {
            "name": subject.name,
            "copy": bool(copy),
            "nearest": [[int(i), round(float(d), 5)] for i, d in zip(near, far, strict=True)],
        }
        found.data["items"].append(line)
    found.facts.append(
        f"Held-out items, which nobody could copy, have their nearest of these {len(train):,} training items at "
        f"{usual:.2f} (the median)."
    )
    return found
