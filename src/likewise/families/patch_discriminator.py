"""A second player for autoencoders: it asks of every patch whether it is real, so that what comes back is sharp.

Esser et al., "Taming transformers for high-resolution image synthesis" (2021), after Isola et al. (2017). The loss is
R3GAN's (Huang et al., 2024), patch by patch: an item's own patch is what its reconstruction is paired with.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from likewise.backbones.base import Backbone
from likewise.families.latent_grid import coarser
from likewise.spaces import Continuous

#: steps between penalties, which then weigh as much more (lazy regularisation, Karras et al., 2020)
_PENALTY_EVERY = 4


class Adversarial(BaseModel):
    """Settings of a patch discriminator beside an autoencoder; with a weight of 0 there is none."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    weight: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="weight of the patch discriminator's loss; 0: none"
    )
    start: float = Field(default=0.3, ge=0, le=1, description="share of the steps after which its loss is used")
    gamma: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="weight of its gradient penalty")


class Critic(nn.Module):
    """A network from items to a grid of logits: the higher, the more real a patch."""

    def __init__(self, settings: Adversarial, backbone: Backbone, target: Continuous) -> None:
        super().__init__()
        self.settings = settings
        self.network = backbone.mapper(target, Continuous((1, *coarser(target, None))), {})
        self.counts, self._penalise = False, True

    def set_progress(self, step: int, steps: int) -> None:
        """Say whether its verdict counts by now, and whether this step has a penalty."""
        self.counts = step >= self.settings.start * steps
        self._penalise = step % _PENALTY_EVERY == 0 and self.settings.gamma > 0

    def turn(self, real: Tensor, made: Tensor) -> dict[str, Tensor]:
        """What it minimizes, given items and what was made of them, shape (B, *target.shape): {"discriminator",
        "penalty"}; and what is watched."""
        both = torch.cat((real.to(made.dtype), made.detach())).requires_grad_(self._penalise)
        logits = self.network(both)
        own, others = logits.chunk(2)
        terms = {"discriminator": F.softplus(others - own).mean()}
        if self._penalise:
            # gamma / 2 (R1 + R2), of the mean patch's squared slope: a patch hangs on its own pixels, hardly on others
            (slope,) = torch.autograd.grad(logits.sum(), both, create_graph=True)
            patches = logits[0].numel()
            squared = slope.float().square().flatten(1).sum(1) / patches
            terms["penalty"] = _PENALTY_EVERY * self.settings.gamma / 2 * squared.unflatten(0, (2, -1)).mean(1).sum()
        return {**terms, "_real": own.detach().mean(), "_generated": others.detach().mean()}

    def verdict(self, real: Tensor, made: Tensor) -> Tensor:
        """What the autoencoder minimizes, a scalar: how much less real than its own item each patch looks."""
        weights = [p for p in self.parameters() if p.requires_grad]
        for p in weights:  # its own gradients are not wanted now
            p.requires_grad_(False)
        try:
            others = self.network(made)
            with torch.no_grad():
                own = self.network(real)
        finally:
            for p in weights:
                p.requires_grad_(True)
        return F.softplus(own - others).mean()
