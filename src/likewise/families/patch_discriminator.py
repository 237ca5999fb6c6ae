"""A patch discriminator for autoencoders, which makes reconstructions sharper.

Esser et al., "Taming transformers for high-resolution image synthesis" (2021), after Isola et al. (2017). The loss is
R3GAN's (Huang et al., 2024), per patch: each patch of an item is paired with the same patch of its reconstruction.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from likewise.backbones.base import Backbone
from likewise.families.latent_grid import latent_positions
from likewise.spaces import Continuous

#: Steps between gradient penalties, whose weight is scaled by it (lazy regularisation, Karras et al., 2020).
_PENALTY_EVERY = 4


class Adversarial(BaseModel):
    """Settings of an autoencoder's patch discriminator; none with a weight of 0."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    weight: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="weight of the adversarial loss, per value of an item"
    )
    start: float = Field(
        default=0.3, ge=0, le=1, description="share of the steps after which the adversarial loss is used"
    )
    gamma: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="weight of the gradient penalty")


class PatchDiscriminator(nn.Module):
    """A network from items to a grid of logits, higher for more realistic patches."""

    def __init__(self, settings: Adversarial, backbone: Backbone, target: Continuous) -> None:
        super().__init__()
        self.settings = settings
        self.network = backbone.mapper(target, Continuous((1, *latent_positions(target, None))), {})
        self.counts, self._penalise = False, True

    def set_progress(self, step: int, steps: int) -> None:
        """Decide whether the adversarial loss is used yet, and whether this step has a gradient penalty."""
        self.counts = step >= self.settings.start * steps
        self._penalise = step % _PENALTY_EVERY == 0 and self.settings.gamma > 0

    def discriminator_loss(self, real: Tensor, made: Tensor) -> dict[str, Tensor]:
        """The discriminator's terms, {"discriminator", "penalty"}, and logged mean logits.

        real, made: items and their reconstructions, shape (B, *target.shape).
        """
        both = torch.cat((real.to(made.dtype), made.detach())).requires_grad_(self._penalise)
        logits = self.network(both)
        own, others = logits.chunk(2)
        terms = {"discriminator": F.softplus(others - own).mean()}
        if self._penalise:
            # gamma / 2 (R1 + R2), normalised to a single patch: a patch's logit depends mostly on its own pixels.
            (slope,) = torch.autograd.grad(logits.sum(), both, create_graph=True)
            patches = logits[0].numel()
            squared = slope.float().square().flatten(1).sum(1) / patches
            terms["penalty"] = _PENALTY_EVERY * self.settings.gamma / 2 * squared.unflatten(0, (2, -1)).mean(1).sum()
        return {**terms, "_real": own.detach().mean(), "_generated": others.detach().mean()}

    def adversarial_loss(self, real: Tensor, made: Tensor) -> Tensor:
        """The autoencoder's loss, a scalar, from items and reconstructions, shape (B, *target.shape)."""
        weights = [p for p in self.parameters() if p.requires_grad]
        for p in weights:  # the discriminator's own gradients are not needed
            p.requires_grad_(False)
        try:
            others = self.network(made)
            with torch.no_grad():
                own = self.network(real)
        finally:
            for p in weights:
                p.requires_grad_(True)
        return F.softplus(own - others).mean()
