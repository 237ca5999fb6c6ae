"""How much information an autoencoder's latent carries about held-out items; detects posterior collapse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from likewise.metrics.intervals import mean, proportion
from likewise.report.evidence import Evidence, Row
from likewise.report.page import Shown

#: a unit is active if its posterior mean has a larger variance over items than this (Burda et al., 2016, section 5.2)
ACTIVE = 0.01
#: the maximum number of items that are encoded
_MOST = 2048


def latent(evidence: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
    if not evidence.run.experiment.family.autoencodes:
        return
    part = evidence.held_out
    c = None if part.c is None else {name: value[:_MOST] for name, value in part.c.items()}
    found = evidence.run.over(
        part.x[:_MOST], c, lambda x, given, _: torch.stack(evidence.run.model.posterior(x, given), 1)
    )
    means, scales = found[:, 0].reshape(len(found), -1), found[:, 1].reshape(len(found), -1)
    kl = (0.5 * (means**2 + scales**2 - 1) - np.log(scales)).sum(1)  # Kingma and Welling (2014), appendix B
    active = float((means.var(0) > ACTIVE).mean())
    free = float(getattr(evidence.run.model, "free", 0.0) or 0.0)  # free bits, which a VAE has
    note = None
    if free and kl.mean() < 1.1 * free:
        note = (
            f"at most the {free:g} nats that are free of cost (family.free_bits): with a smaller family.beta or more "
            "free bits the latent can carry more"
        )
    yield evidence.row("latent_kl", mean(kl, evidence.seed), len(kl), 0, {}, note=note)
    yield evidence.row(
        "latent_active", proportion(active, means.shape[1]), len(kl), 0, {"variance": ACTIVE},
        note=f"{round(active * means.shape[1])} of {means.shape[1]} units, whose posterior mean varies by more than "
        f"{ACTIVE:g}",
    )  # fmt: skip
