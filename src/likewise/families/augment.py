"""Augmentation that does not leak into samples: the discriminator sees real and generated items changed alike.

Zhao et al., "Differentiable augmentation for data-efficient GAN training" (2020): colour, translation, cutout, always.
Karras et al., "Training generative adversarial networks with limited data" (2020; ADA): each change with a probability
p, which rises while the discriminator overfits and falls while it does not. Both sides are changed before they are
judged, so what the generator has to match is the unchanged distribution, as long as the changes of a distribution can
be undone; a mirror image half of the time could not, and there is none here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise.draws import Draws
from likewise.spaces import Continuous

#: the share of sides by which items are moved at most, and that a cutout covers (Zhao et al., appendix)
_SHIFT, _CUT = 1 / 8, 1 / 2
#: items move by 2^u in size, u uniform up to this: ADA's normal has the same spread, 0.2
_STRETCH = 0.35
#: what the measure of overfitting is held at (ADA, figure 5), and how far from it p moves at full speed
_TARGET, _NEAR = 0.6, 0.2
#: items seen while p rises from 0 to 1 at full speed. ADA has 500,000 of 25 million; runs here are shorter.
_ITEMS = 50_000
#: ADA's changes do not leak below this (section 2.2)
_MOST = 0.8


class Augment(nn.Module):
    """Changes items of a space with one to three position dimensions; differentiable, twice too.

    p, a buffer, is the probability of each change: 1, or where `adaptive` what `observe` makes of it, from 0. It is
    part of a checkpoint, and processes that train together have one.
    """

    def __init__(self, space: Continuous, adaptive: bool) -> None:
        super().__init__()
        if not space.positions:
            raise ValueError(f"{space} has no positions; augmentation needs one to three")
        self.positions = space.positions
        self.adaptive = adaptive
        #: the axes whose size changes: those of a picture, not time; only of ADA's changes
        self.stretched = range(len(self.positions))[-2:] if adaptive and len(self.positions) > 1 else range(0)
        self.register_buffer("p", torch.tensor(0.0 if adaptive else 1.0), persistent=adaptive)

    def forward(self, x: Tensor, draws: Draws) -> Tensor:
        """x: shape (B, C, *positions). Each item is changed by its own draws. Returns the same shape, float32."""
        p = self.get_buffer("p")
        if p.device.type == "cpu" and float(p) == 0:  # elsewhere a look at p would cost more than the changes
            return x
        dims = len(self.positions)
        # The first six numbers of an item decide which changes are made, the others how.
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
        """Move p by what a batch's logits say of overfitting, shape (B,) each: of real and of generated items.

        ADA's r_t is E[sign D(x)] over training items: 0 for a discriminator that cannot tell them, 1 for one that
        knows each. It takes logits around 0; the relativistic and the Wasserstein loss leave their zero free, so the
        point half-way between the mean logits of the two kinds stands for it, which is near 0 for all other losses.
        Of several processes or shards the mean of their p's goes on, or the first's: p then moves by so much slower.
        """
        if not self.adaptive:
            return
        middle = (real.mean() + generated.mean()) / 2
        overfit = 2 * (real > middle).float().mean() - 1  # comparisons with NaN are false: p stays a number
        p = self.get_buffer("p")
        # ADA moves by the sign alone; near the target by less, so that p does not shake by a batch's chance.
        p.add_(((overfit - _TARGET) / _NEAR).clamp(-1, 1) * len(real) / _ITEMS).clamp_(0, _MOST)


def _beside(number: Tensor, x: Tensor) -> Tensor:
    """One number an item, shape (B,), so that it multiplies x."""
    return number.view(-1, *[1] * (x.dim() - 1))


def _resample(x: Tensor, axis: int, shift: Tensor, factor: Tensor) -> Tensor:
    """Move along a position axis by `shift` and stretch by `factor`, shape (B,) each; edges go on as they are.

    By one matrix of linear interpolation an item: unlike a grid sampler it can be differentiated twice, as penalties on
    gradients want.
    """
    size = x.shape[2 + axis]
    places = torch.arange(size, device=x.device, dtype=torch.float32)
    middle = (size - 1) / 2
    source = ((places - middle) / factor[:, None] + middle - shift[:, None]).clamp(0, size - 1)
    weights = F.relu(1 - (source[:, :, None] - places).abs())  # (B, to, from)
    moved = x.movedim(2 + axis, 2)
    out = weights[:, None] @ moved.flatten(3) if moved.dim() > 3 else (weights @ moved.transpose(1, 2)).transpose(1, 2)
    return out.view(moved.shape).movedim(2, 2 + axis)
