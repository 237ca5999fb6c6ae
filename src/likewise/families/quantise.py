"""Vectors to one of finitely many codes and back, so that a gradient passes.

FSQ: Mentzer et al., "Finite scalar quantization: VQ-VAE made simple" (2023, arXiv:2309.15505). VQ: van den Oord et al.,
"Neural discrete representation learning" (2017), the codebook as running means of what each code stands for (its
appendix A.1), codes that nothing uses put where something is, as in Jukebox (Dhariwal et al., 2020).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise.draws import Draws

#: how much of the running means stays in a step
_DECAY = 0.99
#: a code used less than this share of what all would be used by turns is dead
_DEAD = 0.05
#: less use than this is counted as this much: nothing is divided by zero
_FLOOR = 1e-3
#: share of the training after which dead codes rest, so that averaged weights can settle
_RESTLESS = 0.7


class Quantiser(nn.Module, ABC):
    """Vectors on a grid, shape (B, width, *grid), to codes in [0, vocabulary), shape (B, *grid), and back."""

    width: int
    vocabulary: int

    @abstractmethod
    def bound(self, z: Tensor) -> Tensor:
        """What an encoder's output means before it is quantised, of about unit scale; shape as z."""

    @abstractmethod
    def index(self, values: Tensor) -> Tensor:
        """The code nearest to each of the vectors, which `bound` gave or which lie among those: shape (B, *grid)."""

    @abstractmethod
    def vectors(self, index: Tensor) -> Tensor:
        """What codes stand for, shape (B, width, *grid)."""

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest codes' vectors, through which the gradient passes as if nothing had happened, and the codes."""
        index = self.index(values)
        return values + (self.vectors(index) - values).detach(), index

    def commitment(self, values: Tensor, index: Tensor) -> Tensor | None:
        """How far vectors are from their codes, a scalar; None where nothing can drift away."""
        return None

    def learn(self, values: Tensor, index: Tensor, draws: Draws) -> None:
        """Take in what was quantised in a training step: what a codebook learns without a gradient."""

    def tidy(self, step: int, steps: int) -> None:
        """Before a step: mend what is in disuse."""


class FSQ(Quantiser):
    """Each number is bounded and rounded to one of its own few levels; there is no codebook that could collapse."""

    def __init__(self, levels: tuple[int, ...]) -> None:
        """levels: of each number, at least 3."""
        super().__init__()
        self.width, self.vocabulary = len(levels), math.prod(levels)
        size = torch.tensor(levels)
        # Mentzer et al., section 3.1 and appendix A.1: an even number of levels lies half a step off the middle.
        half = (size - 1) * (1 - 1e-3) / 2
        offset = torch.where(size % 2 == 1, 0.0, 0.5)
        basis = torch.cat((torch.ones(1, dtype=torch.long), size.cumprod(0)[:-1]))
        tables = {"levels": size, "reach": half, "offset": offset, "shift": (offset / half).atanh(), "basis": basis}
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def bound(self, z: Tensor) -> Tensor:
        """Numbers whose multiples of 1 / (levels // 2) are the levels, in [-1, 1]."""
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
        """How many levels lie below the middle one."""
        return self._wide("levels", like) // 2

    def _wide(self, name: str, like: Tensor) -> Tensor:
        """A table of each number, to go with (B, width, *grid)."""
        return self.get_buffer(name).view(-1, *[1] * (like.dim() - 2))


class VQ(Quantiser):
    """The nearest of many vectors, each the running mean of those it was nearest to."""

    total: Tensor
    used: Tensor
    spare: Tensor

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.width, self.vocabulary = width, codes
        # Codes begin unused: those that no vector of the first step is near to are put where vectors are.
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
        # |v - e|^2 without |v|^2, which is the same for all codes
        far = codebook.square().sum(1) - 2 * flat.detach() @ codebook.T
        return far.argmin(1).view(len(values), *values.shape[2:])

    def vectors(self, index: Tensor) -> Tensor:
        return F.embedding(index, self.codebook).movedim(-1, 1)

    def commitment(self, values: Tensor, index: Tensor) -> Tensor:
        return (values - self.vectors(index)).square().mean()

    @torch.no_grad()
    def learn(self, values: Tensor, index: Tensor, draws: Draws) -> None:
        """Move each code towards the vectors it stands for, and keep some vectors for codes that stand for none.

        `used` is 1 where a code is used as often as all would be by turns. Sums of parts of a batch, or of processes,
        are means: that scales all codes alike.
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
        """Put dead codes on vectors of the step before, as if they had been used as often as any other."""
        if step == 0 or step > _RESTLESS * steps:
            return
        dead = (self.used < _DEAD)[:, None]
        self.total.copy_(torch.where(dead, self.spare, self.total))
        self.used.copy_(torch.where(dead[:, 0], 1.0, self.used))


def _flat(values: Tensor) -> Tensor:
    """Shape (B, width, *grid) as (B * grid, width)."""
    return values.movedim(1, -1).flatten(0, -2)
