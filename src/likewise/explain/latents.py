"""Latent interpolation: between two samples, along one dimension at a time, and reconstructions of real items.

Interpolation is on a sphere, near which normal latents of many dimensions lie: White, "Sampling generative networks"
(2016).
Active units: Burda et al., "Importance weighted autoencoders" (2016), section 5.2.
"""

from __future__ import annotations

import itertools
from contextlib import suppress

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.explain.page import Section, paired, strip
from likewise.explain.probe import COUNT, Probe, Subject
from likewise.sampling.interpolation import slerp
from likewise.spaces import Tokens, Unfit

#: number of steps between two items, both ends included
_STOPS = 8
_REACH = (-2.0, -1.0, 0.0, 1.0, 2.0)
#: number of units and of directions shown; units below this share of the largest effect are left out
_UNITS = 3
_LEAST = 0.1
_ACTIVE = 0.01


def section(probe: Probe) -> Section | None:
    """data: latent (its shape), interpolations (from, to), units (unit, effect), and if the model has them directions
    (their effects), active_units and round_trip (item, moved). Raises Unfit without a latent."""
    z = probe.latent([0])
    found = Section(
        "latents",
        "Latent interpolation",
        "A sample is computed from random numbers, its latent. Here the latent is changed in small steps, all else "
        "unchanged: samples of a model that has learned the data change smoothly and stay plausible.",
        "Smooth changes show that the model does not only store its training data; they do not show that every step is "
        "likely. A latent dimension has a meaning only if its row shows one.",
    )
    found.data = {"latent": list(z.shape[1:]), "interpolations": [], "units": []}
    _between(probe, found)
    if z.dim() == 2:
        _units(probe, found)
    else:
        own = z.shape[1:] == getattr(probe.model.target, "shape", ())
        what = "is noise of the data's own shape" if own else "is a map"
        found.facts.append(f"Its latent {what}: no single number of it means anything.")
    _round_trip(probe, found, z.dim() == 2)
    return found


def _start(probe: Probe, subject: Subject) -> Tensor:
    """The latent of a subject, shape (1, *shape)."""
    return probe.latent([subject.index]) if subject.drawn else _encoded(probe, [subject])


def _encoded(probe: Probe, items: list[Subject]) -> Tensor:
    """The latents that the model infers for items, shape (N, *shape). Raises Unfit if it cannot."""
    c = probe.condition([s.given for s in items])
    return probe.model.encode(probe.encoded([s.value for s in items]), c, probe.settings)


def _between(probe: Probe, found: Section) -> None:
    ends = [s for s in probe.subjects if s.drawn]
    try:
        own = [(s, _start(probe, s)) for s in probe.subjects if not s.drawn]
    except Unfit as error:
        probe.skipped.append(("the way from your own item", str(error)))
        own = []
    placed = own + [(s, _start(probe, s)) for s in ends]
    ways = list(itertools.pairwise(placed))[:3]
    with suppress(Unfit):  # a GAN cannot infer the latent of a real item
        one, other = ((s, _start(probe, s)) for s in probe.some_held_out(2))
        ways.append((one, other))
    for (one, a), (other, b) in ways:
        z = slerp(a, b, torch.linspace(0, 1, _STOPS, device=a.device))
        values = probe.draw([one.given] * _STOPS, [one.index] * _STOPS, z)
        title = f"From {one.name} to {other.name}" + (", given what the first was" if one.given else "")
        captions = [one.name, *[f"{100 * i / (_STOPS - 1):.0f}%" for i in range(1, _STOPS - 1)], other.name]
        if one.given != other.given:
            captions[-1] = "100%"
        found.strips.append(strip(probe.run.modality, title, values, captions))
        found.data["interpolations"].append({"from": one.name, "to": other.name})


def _units(probe: Probe, found: Section) -> None:
    """Strips along the units, and along directions of several units, that change samples most."""
    subject = probe.subjects[0]
    try:
        z = _start(probe, subject)
    except Unfit:  # the latent of a user's item cannot be inferred
        subject = next(s for s in probe.subjects if s.drawn)
        z = _start(probe, subject)
    together = None if isinstance(probe.model.target, Tokens) else _together(probe)
    effect = _variance(probe) if together is None else np.sqrt(np.diag(together))
    order = np.argsort(-effect, kind="stable")
    axes = [(f"Unit {u}", np.eye(len(effect))[u]) for u in order[:_UNITS] if effect[u] >= _LEAST * effect.max()]
    if together is not None:
        values, vectors = np.linalg.eigh(together)
        vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(len(values))])
        axes += [
            (f"Direction {i}, of all units at once", vectors[:, -i]) for i in range(1, min(_UNITS, len(values)) + 1)
        ]
        found.data["directions"] = [round(float(v), 6) for v in np.sqrt(np.maximum(values[::-1][:32], 0))]
    reach = torch.tensor(_REACH, device=z.device)[:, None]
    for name, axis in axes:
        way = torch.tensor(axis, dtype=z.dtype, device=z.device)
        moved = z + (reach - z @ way) * way
        values = probe.draw([subject.given] * len(moved), [subject.index] * len(moved), moved)
        captions = [f"{value:+g}" for value in _REACH]
        found.strips.append(strip(probe.run.modality, f"{name}, in {subject.name}", values, captions))
    found.data["units"] = [{"unit": int(u), "effect": round(float(effect[u]), 6)} for u in order[:32]]


def _together(probe: Probe) -> NDArray[np.float64]:
    """The mean products of the changes that each two units cause, shape (units, units).

    A change is the difference of a sample as the unit goes from -2 to 2. The root of the diagonal is the effect of each
    unit; the first eigenvectors are the directions that change samples most (Ramesh et al., "A spectral regularizer for
    unsupervised disentanglement", 2018).
    """
    indices = list(range(COUNT // 2))
    z, c = probe.latent(indices), probe.condition([probe.subjects[0].given] * len(indices))
    changes = []
    with torch.no_grad():
        for unit in range(z.shape[1]):
            ends = []
            for value in (_REACH[0], _REACH[-1]):
                moved = z.clone()
                moved[:, unit] = value
                draws = probe.noise(indices)
                probe.model.latent(draws)
                ends.append(probe.model.from_latent(moved, c, draws, probe.settings))
            changes.append((ends[1] - ends[0]).flatten())
    flat = torch.stack(changes).double().cpu().numpy()
    return flat @ flat.T / flat.shape[1]


def _variance(probe: Probe) -> NDArray[np.float64]:
    c = None if probe.train.c is None else {k: v[:256].to(probe.device) for k, v in probe.train.c.items()}
    z = probe.model.encode(probe.train.x[:256].to(probe.device), c, probe.settings)
    return z.double().var(0, unbiased=False).cpu().numpy()


def _round_trip(probe: Probe, found: Section, flat: bool) -> None:
    """Real items beside their reconstructions from inferred latents."""
    few = 6 if probe.run.modality.page_style == "figures" else 3
    reals = [s for s in probe.subjects if not s.drawn] + probe.some_held_out(few)
    try:
        starts = _encoded(probe, reals)
        if flat:
            active = int((_variance(probe) > _ACTIVE).sum())
            found.data["active_units"] = active
            found.facts.append(f"{active} of {starts.shape[1]} units are in use: they tell training items apart.")
    except Unfit:
        return  # a GAN; `_between` records the reason for a user's own item
    values = probe.draw([s.given for s in reals], [s.index for s in reals], starts)
    far = [float(probe.moved([value], real.value)[0]) for real, value in zip(reals, values, strict=True)]
    title = "Real items and their reconstructions"
    pairs = [((r.value, r.name), (v, f"back, {f:.2f} off")) for r, v, f in zip(reals, values, far, strict=True)]
    found.strips += paired(probe.run.modality, title, pairs)
    found.data["round_trip"] = [{"item": r.name, "moved": round(f, 4)} for r, f in zip(reals, far, strict=True)]
