"""Augmentation that does not leak into samples: the discriminator sees augmented real and generated items.

Zhao et al., "Differentiable augmentation for data-efficient GAN training" (2020): colour, translation, cutout, always.
Karras et al., "Training generative adversarial networks with limited data" (2020; ADA): each transformation with a
probability p, which rises while the discriminator overfits and falls otherwise. Real and generated items are augmented
alike, so the generator still matches the original distribution, as long as the transformation of distributions is
invertible. Mirroring with probability 1/2 is not invertible, and is not used.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise.draws import Draws
from likewise.spaces import Continuous

#: Maximum translation, and side of the cutout, as shares of the item's sides (Zhao et al., appendix).
_SHIFT, _CUT = 1 / 8, 1 / 2
#: Maximum of |u| for scaling by 2^u, u uniform; the standard deviation 0.2 is that of ADA's normal u.
_STRETCH = 0.35
#: Target of the overfitting measure (ADA, figure 5), and the distance from it at which p moves at full speed.
_TARGET, _NEAR = 0.6, 0.2
#: Items over which p rises from 0 to 1 at full speed. ADA uses 500,000 of 25 million; runs here are shorter.
_ITEMS = 50_000
#: Maximum p, below which ADA's transformations do not leak (section 2.2).
_MOST = 0.8


class Augment(nn.Module):
    """Transforms items of a space with one to three position dimensions; twice differentiable.

    p, a buffer, is the probability of each transformation: 1, or if `adaptive`, starting at 0 and updated by `observe`.
    It is part of checkpoints, and shared by processes that train together.
    """

    def __init__(self, space: Continuous, adaptive: bool) -> None:
        super().__init__()
        if not space.positions:
            raise ValueError(f"{space} has no positions; augmentation needs one to three")
        self.positions = space.positions
        self.adaptive = adaptive
        #: Axes that are scaled: the spatial ones of an image or video; only for ADA.
        self.stretched = range(len(self.positions))[-2:] if adaptive and len(self.positions) > 1 else range(0)
        self.register_buffer("p", torch.tensor(0.0 if adaptive else 1.0), persistent=adaptive)

    def forward(self, x: Tensor, draws: Draws) -> Tensor:
        """x: shape (B, C, *positions). Each item is transformed by its own draws. Same shape, float32."""
        p = self.get_buffer("p")
        if (
            p.device.type == "cpu" and float(p) == 0
        ):  # on other devices reading p would cost more than the transformations
            return x
        dims = len(self.positions)
        # The first six numbers of an item select the transformations, the others are their parameters.
        u = draws.uniform(10 + 2 * dims)
        made = (u[:, :6] < p).float().unbind(1)
        brightness, saturation, contrast, stretch, *places = u[:, 6:].unbind(1)
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            x = x + _beside(made[0] * (brightness - 0.5), x)
            x = x + _beside(made[1] * (2 * saturation - 1), x) * (x - x.mean(1, keepdim=True))
            x = x + _beside(made[2] * (contrast - 0.5), x) * (x - x.flatten(1).mean(1).view(-1, *[1] * (x.dim() - 1)))
            factor = 2.0 ** (made[3] * (1 - 2 * stretch) * _STRETCH)
            for axis, size in enumerate(self.positions):
                most = round(size * _SHIFT)
                shift = made[4] * ((places[axis] * (2 * most + 1)).floor() - most)
                if most or axis in self.stretched:
                    x = _resample(x, axis, shift, factor if axis in self.stretched else torch.ones_like(factor))
            inside = torch.ones(1, device=x.device)
            for axis, size in enumerate(self.positions):
                middle = (places[dims + axis] * size)[:, None]
                near = (torch.arange(size, device=x.device) + 0.5 - middle).abs() < size * _CUT / 2
                inside = inside * near.float().view(-1, 1, *[1] * axis, size, *[1] * (dims - axis - 1))
            return x * (1 - _beside(made[5], x) * inside)

    @torch.no_grad()
    def observe(self, real: Tensor, generated: Tensor) -> None:
        """Update p from the discriminator's logits of a batch of real and of generated items, shape (B,) each.

        ADA's overfitting measure r_t is E[sign D(x)] over training items: 0 for a discriminator that cannot separate
        them, 1 for one that has memorised them. It assumes logits centred at 0. The relativistic and Wasserstein losses
        do not fix the zero point, so the midpoint between the mean logits of real and generated items is used, which is
        near 0 for all other losses. With several processes or shards, p is averaged over them or taken from the first;
        p then changes more slowly.
        """
        if not self.adaptive:
            return
        middle = (real.mean() + generated.mean()) / 2
        overfit = 2 * (real > middle).float().mean() - 1  # comparisons with NaN are false: p stays finite
        p = self.get_buffer("p")
        # ADA uses the sign alone; smaller steps near the target keep p from fluctuating by batch noise.
        p.add_(((overfit - _TARGET) / _NEAR).clamp(-1, 1) * len(real) / _ITEMS).clamp_(0, _MOST)


def _beside(number: Tensor, x: Tensor) -> Tensor:
    """One number per item, shape (B,), broadcastable against x."""
    return number.view(-1, *[1] * (x.dim() - 1))


def _resample(x: Tensor, axis: int, shift: Tensor, factor: Tensor) -> Tensor:
    """Translate along a position axis by `shift` and scale by `factor`, shape (B,) each; edge values are extended.

    Uses one linear interpolation matrix per item: unlike a grid sampler it is twice differentiable, which gradient
    penalties require.
    """
    size = x.shape[2 + axis]
    places = torch.arange(size, device=x.device, dtype=torch.float32)
    middle = (size - 1) / 2
    source = ((places - middle) / factor[:, None] + middle - shift[:, None]).clamp(0, size - 1)
    weights = F.relu(1 - (source[:, :, None] - places).abs())  # (B, to, from)
    moved = x.movedim(2 + axis, 2)
    out = weights[:, None] @ moved.flatten(3) if moved.dim() > 3 else (weights @ moved.transpose(1, 2)).transpose(1, 2)
    return out.view(moved.shape).movedim(2, 2 + axis)
