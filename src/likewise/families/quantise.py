"""Vector quantisers with straight-through gradients.

FSQ: Mentzer et al., "Finite scalar quantization: VQ-VAE made simple" (2023, arXiv:2309.15505). VQ: van den Oord et al.,
"Neural discrete representation learning" (2017), with the codebook as moving averages (appendix A.1), and unused codes
reset to encoder outputs as in Jukebox (Dhariwal et al., 2020).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise.draws import Draws

#: Decay of the moving averages per step.
_DECAY = 0.99
#: A code with less than this share of the uniform usage is dead.
_DEAD = 0.05
#: Lower bound of the usage, against division by zero.
_FLOOR = 1e-3
#: Share of the training after which dead codes are no longer reset, so that averaged weights can settle.
_RESTLESS = 0.7


class Quantiser(nn.Module, ABC):
    """Maps vectors on a grid, shape (B, width, *grid), to codes in [0, vocabulary), shape (B, *grid), and back."""

    width: int
    vocabulary: int

    @abstractmethod
    def bound(self, z: Tensor) -> Tensor:
        """The encoder's output bounded to the quantiser's range, of about unit scale; shape as z."""

    @abstractmethod
    def index(self, values: Tensor) -> Tensor:
        """The nearest code of each vector from `bound`: int64, shape (B, *grid)."""

    @abstractmethod
    def vectors(self, index: Tensor) -> Tensor:
        """The vectors of codes, shape (B, width, *grid)."""

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest codes' vectors, with a straight-through gradient, and the codes."""
        index = self.index(values)
        return values + (self.vectors(index) - values).detach(), index

    def commitment(self, values: Tensor, index: Tensor) -> Tensor | None:
        """The commitment loss, a scalar; None where it is not needed."""
        return None

    def learn(self, values: Tensor, index: Tensor, draws: Draws) -> None:
        """Update the codebook from a training step, without gradients."""

    def tidy(self, step: int, steps: int) -> None:
        """Reset unused codes, before a step."""


class FSQ(Quantiser):
    """Each dimension is bounded and rounded to one of a few levels; there is no codebook that could collapse."""

    def __init__(self, levels: tuple[int, ...]) -> None:
        """levels: number of levels of each dimension, at least 3."""
        super().__init__()
        self.width, self.vocabulary = len(levels), math.prod(levels)
        size = torch.tensor(levels)
        # Mentzer et al., section 3.1 and appendix A.1: an even number of levels is offset by half a step.
        half = (size - 1) * (1 - 1e-3) / 2
        offset = torch.where(size % 2 == 1, 0.0, 0.5)
        basis = torch.cat((torch.ones(1, dtype=torch.long), size.cumprod(0)[:-1]))
        tables = {"levels": size, "reach": half, "offset": offset, "shift": (offset / half).atanh(), "basis": basis}
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def bound(self, z: Tensor) -> Tensor:
        """Values in [-1, 1], whose multiples of 1 / (levels // 2) are the levels."""
        shift, reach, offset = (self._wide(name, z) for name in ("shift", "reach", "offset"))
        return ((z + shift).tanh() * reach - offset) / self._step(z)

    def index(self, values: Tensor) -> Tensor:
        step = self._step(values)
        digits = (values * step).round() + step
        digits = digits.clamp(min=0).minimum(self._wide("levels", values) - 1).long()
        return (digits * self._wide("basis", values)).sum(1)

    def vectors(self, index: Tensor) -> Tensor:
        index = index.unsqueeze(1)
        step = self._step(index)
        return (index // self._wide("basis", index) % self._wide("levels", index) - step) / step

    def _step(self, like: Tensor) -> Tensor:
        """The number of levels below the middle one."""
        return self._wide("levels", like) // 2

    def _wide(self, name: str, like: Tensor) -> Tensor:
        """A table with one value per dimension, to broadcast against (B, width, *grid)."""
        return self.get_buffer(name).view(-1, *[1] * (like.dim() - 2))


class VQ(Quantiser):
    """The nearest vector of a codebook; each is the moving average of the vectors assigned to it."""

    total: Tensor
    used: Tensor
    spare: Tensor

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.width, self.vocabulary = width, codes
        # Codes start unused: those not assigned in the first step are reset to encoder outputs.
        self.register_buffer("total", _FLOOR * torch.randn(codes, width))
        self.register_buffer("used", torch.zeros(codes))
        self.register_buffer("spare", torch.randn(codes, width))

    @property
    def codebook(self) -> Tensor:
        """Shape (codes, width)."""
        return self.total / self.used.clamp(min=_FLOOR)[:, None]

    def bound(self, z: Tensor) -> Tensor:
        return z

    def index(self, values: Tensor) -> Tensor:
        flat, codebook = _flat(values), self.codebook
        # |v - e|^2 without |v|^2, which is equal for all codes
        far = codebook.square().sum(1) - 2 * flat.detach() @ codebook.T
        return far.argmin(1).view(len(values), *values.shape[2:])

    def vectors(self, index: Tensor) -> Tensor:
        return F.embedding(index, self.codebook).movedim(-1, 1)

    def commitment(self, values: Tensor, index: Tensor) -> Tensor:
        return (values - self.vectors(index)).square().mean()

    @torch.no_grad()
    def learn(self, values: Tensor, index: Tensor, draws: Draws) -> None:
        """Update the moving averages of codes, and store some vectors for resetting dead codes.

        `used` is 1 for a code with uniform usage. For parts of a batch, or several processes, sums are averaged, which
        scales all codes alike.
        """
        flat, chosen = _flat(values).float(), index.flatten()
        share = self.vocabulary / len(flat)
        counts = torch.zeros_like(self.used).index_add_(0, chosen, torch.ones_like(flat[:, 0]))
        sums = torch.zeros_like(self.total).index_add_(0, chosen, flat)
        self.used.lerp_(counts * share, 1 - _DECAY)
        self.total.lerp_(sums * share, 1 - _DECAY)
        order = draws.bits(*index.shape[1:]).flatten().argsort(stable=True)
        self.spare.copy_(flat[order.repeat(-(-self.vocabulary // len(order)))[: self.vocabulary]])

    @torch.no_grad()
    def tidy(self, step: int, steps: int) -> None:
        """Reset dead codes to vectors of the previous step, with uniform usage."""
        if step == 0 or step > _RESTLESS * steps:
            return
        dead = (self.used < _DEAD)[:, None]
        self.total.copy_(torch.where(dead, self.spare, self.total))
        self.used.copy_(torch.where(dead[:, 0], 1.0, self.used))


def _flat(values: Tensor) -> Tensor:
    """Shape (B, width, *grid) as (B * grid, width)."""
    return values.movedim(1, -1).flatten(0, -2)
