"""A second player for autoencoders: it asks of every patch whether it is real, so that what comes back is sharp.

Esser et al., "Taming transformers for high-resolution image synthesis" (2021), after Isola et al. (2017). The loss is
R3GAN's (Huang et al., 2024), patch by patch: an item's own patch is what its reconstruction is paired with.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise.backbones.base import Backbone
from likewise.spaces import Continuous

#: steps between penalties, which then weigh as much more (lazy regularisation, Karras et al., 2020)
PENALTY_EVERY = 4


class Critic(nn.Module):
    """A network from items to a grid of logits: the higher, the more real a patch."""

    def __init__(self, backbone: Backbone, target: Continuous, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.network = backbone.mapper(target, Continuous((1, *grid)), {})

    def turn(self, real: Tensor, made: Tensor, gamma: float, penalise: bool) -> dict[str, Tensor]:
        """What it minimizes, given items and what was made of them, shape (B, *target.shape): {"discriminator",
        "penalty"}, and what is watched. gamma: weight of the penalty, where there is one in this step."""
        both = torch.cat((real.to(made.dtype), made.detach())).requires_grad_(penalise)
        logits = self.network(both)
        own, others = logits.chunk(2)
        terms = {"discriminator": F.softplus(others - own).mean()}
        if penalise:
            # gamma / 2 (R1 + R2), of the mean patch's squared slope: a patch hangs on its own pixels, hardly on others
            (slope,) = torch.autograd.grad(logits.sum(), both, create_graph=True)
            patches = logits[0].numel()
            squared = slope.float().square().flatten(1).sum(1) / patches
            terms["penalty"] = PENALTY_EVERY * gamma / 2 * sum(part.mean() for part in squared.chunk(2))
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
