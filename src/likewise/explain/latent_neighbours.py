"""Nearest training items by latent, beside those that are nearest by plain features."""

from __future__ import annotations

from typing import Any

import numpy as np

from likewise.explain.page import Section, strip
from likewise.explain.probe import FEW, Probe
from likewise.metrics.intervals import proportion
from likewise.metrics.neighbours import nearest

_SHOWN = 3
#: number of nearest items by plain features among which the nearest by latent counts as agreement
_AMONG = 10


def section(probe: Probe) -> Section | None:
    """data: items, each with name, by_latent and by_features: (training item, distance); and agreement, chance, n."""
    if probe.known is None:
        return None
    train, held_out = probe.known
    places = probe.train_places[:FEW]
    half = len(train) // 2
    unit = float(np.median(np.linalg.norm(train[:half] - train[half : 2 * half], axis=1))) or 1.0
    shown = probe.some_held_out(6 if probe.run.modality.page_style == "figures" else 3)
    found = Section(
        "nearby",
        "Nearest items by latent",
        "Each held-out item with the training items whose latents are nearest, and beside them those nearest by plain "
        "features, which need no model (a distance of 1 is that of two unrelated training items).",
        "Two different items can have similar latents if the decoder distinguishes them by other inputs than the "
        "latent. Distances are between the latents' means only.",
        data={"items": []},
    )
    for subject in shown:
        z = probe.model.encode(subject.x, probe.condition([subject.given]), probe.settings).double().cpu().numpy()
        sides = {"latent": (z, train, unit), "features": (probe.places([subject.value]), places, probe.unit)}
        values, captions = [subject.value], [subject.name]
        line: dict[str, Any] = {"name": subject.name}
        for name, (own, others, each) in sides.items():
            far, near = nearest(own, others, _SHOWN)
            values += [probe.train.values[i] for i in near[0]]
            captions += [f"by {name}, {d / each:.2f}" for d in far[0]]
            line[f"by_{name}"] = [[int(i), round(float(d / each), 5)] for i, d in zip(near[0], far[0], strict=True)]
        found.strips.append(strip(probe.run.modality, "", values, captions, changes=False))
        found.data["items"].append(line)
    near = nearest(held_out, train, 1)[1]
    plain = nearest(probe.places(probe.held_out.values[: len(held_out)]), places, _AMONG)[1]
    agrees = proportion(float((plain == near).any(1).mean()), len(near))
    chance = min(1.0, plain.shape[1] / len(train))
    found.data |= {
        "agreement": {k: round(getattr(agrees, k), 5) for k in ("value", "low", "high")},
        "chance": round(chance, 5),
        "n": len(near),
    }
    found.facts.append(
        f"Of {len(near):,} held-out items {agrees.value:.1%} ({agrees.low:.1%} to {agrees.high:.1%}) have their "
        f"nearest latent among their {plain.shape[1]} nearest by plain features; by chance {chance:.1%} would."
    )
    return found
