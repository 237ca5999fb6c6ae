"""Discriminator saliency: the parts of an item that its output is most sensitive to.

The gradient of its logit by the item, averaged over slightly noisy copies: Simonyan et al., "Deep inside convolutional
networks" (2014); Smilkov et al., "SmoothGrad" (2017).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.draws import Draws, derive_seed
from likewise.explain.page import Section, figure_pairs, fragments
from likewise.explain.probe import Probe, Subject

_COPIES = 16
#: standard deviation of the noise on the copies; items have about unit scale
_NOISE = 0.1
_COMPARED = 256


def section(probe: Probe) -> Section | None:
    """data: items, each with name, logit, and rank: the share of held-out items with a lower logit."""
    subjects = [*probe.subjects, *probe.some_held_out(len(probe.subjects))]
    logits = [float(probe.model.discriminate(s.x, probe.condition([s.given])).detach()) for s in subjects]
    c = probe.held_out.c
    some = None if c is None else {k: v[:_COMPARED].to(probe.device) for k, v in c.items()}
    with torch.no_grad():
        real = probe.model.discriminate(probe.held_out.x[:_COMPARED].to(probe.device), some).cpu().numpy()
    found = Section(
        "critic",
        "Discriminator saliency",
        "Colour marks the parts where a small change would change the discriminator's output most; the number is the "
        "share of held-out items that it takes for less real than this one.",
        "It shows what the output is sensitive to, not what is wrong there. The discriminator was trained against this "
        "generator only, so its output is no measure of quality.",
        data={"items": []},
    )
    modality = probe.run.modality
    shown: dict[bool, list[tuple[Subject, str, float]]] = {True: [], False: []}
    for subject, logit in zip(subjects, logits, strict=True):
        rank = float((real < logit).mean())
        shaded = probe.run.encoding.heatmap_html(subject.x[0].cpu(), _where(probe, subject))
        shown[subject in probe.subjects].append((subject, shaded, rank))
        found.data["items"].append({"name": subject.name, "logit": round(logit, 5), "rank": round(rank, 4)})
    for mine, title in ((True, "What is explained"), (False, "Held-out items")):
        if modality.page_style == "figures":
            pairs = [
                each
                for s, map_, rank in shown[mine]
                for each in ((modality.to_html(s.value), s.name), (map_, f"above {100 * rank:.0f}%"))
            ]
            found.strips.append(figure_pairs(title, pairs))
        else:
            captions = [f"{s.name}: above {100 * rank:.0f}% of held-out items" for s, _, rank in shown[mine]]
            found.strips.append(fragments(modality, title, [map_ for _, map_, _ in shown[mine]], captions))
    return found


def _where(probe: Probe, subject: Subject) -> NDArray[np.float64]:
    """The absolute smoothed gradient, shape (*shape), scaled to a maximum of 1."""
    draws = Draws(derive_seed(probe.seed, "critic"), torch.arange(_COPIES), probe.device)
    x = subject.x.expand(_COPIES, *subject.x.shape[1:])
    noisy: Tensor = (x + _NOISE * draws.normal(*subject.x.shape[1:])).requires_grad_()
    logits = probe.model.discriminate(noisy, probe.condition([subject.given] * _COPIES))
    (gradient,) = torch.autograd.grad(logits.sum(), noisy)
    size = gradient.mean(0).abs().double().cpu().numpy()
    return size / (size.max() or 1.0)
