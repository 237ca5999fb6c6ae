"""Paths from noise to data: x_t = alpha(t) x_1 + sigma(t) x_0, with noise x_0 at t = 0 and data x_1 at t = 1.

A path also says what the network predicts, how its output gives both ends of the path back, and at which times it is
trained. Every sampler and the likelihood need no more than that.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

PathName = Literal["linear", "ddpm", "edm"]
#: a place on a path: its alpha and its sigma
Stop = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Path(ABC):
    """A way from noise to data of standard deviation `data_scale`. Times have any shape; values keep it."""

    data_scale: float
    #: whether x_1 should be kept in its range while sampling, as errors of the output are amplified at first
    clips: ClassVar[bool] = False

    @abstractmethod
    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """How much of the data, and of the noise, there is at time t."""

    def target(self, x_0: Tensor, x_1: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """What the network should give at alpha x_1 + sigma x_0; of unit scale.

        By default the direction at a right angle to x_t, in the plane of noise and scaled data: what x_t does not say.
        It is EDM's preconditioned output (Karras et al., 2022, equation 7), and determines the velocity.
        """
        cos, sin = self._angle(alpha, sigma)
        return sin / self.data_scale * x_1 - cos * x_0

    def ends(self, x_t: Tensor, output: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The noise x_0 and the data x_1 that the network's output at x_t means; linear in both."""
        cos, sin = self._angle(alpha, sigma)
        x_t = x_t * self.input_scale(alpha, sigma)
        return sin * x_t - cos * output, self.data_scale * (cos * x_t + sin * output)

    def step(self, x_t: Tensor, output: Tensor, here: Stop, there: Stop) -> Tensor:
        """Where a straight step from x_t leads: both ends that the output means, mixed as they are `there` (DDIM)."""
        x_0, x_1 = self.ends(x_t, output, *here)
        return there[0] * x_1 + there[1] * x_0

    def leading_to(self, x_t: Tensor, x_next: Tensor, here: Stop, there: Stop) -> Tensor:
        """The output whose `step` from x_t leads to x_next: a step is linear in x_t and in the output."""
        still = self.step(x_t, torch.zeros_like(x_t), here, there)
        slope = self.step(torch.zeros_like(here[0]), torch.ones_like(here[0]), here, there)
        return (x_next - still) / slope

    def back(self, x: Tensor, noise: Tensor, there: Stop, here: Stop) -> Tensor:
        """x, which is at the stop `there`, with as much fresh noise as brings it back to `here` (RePaint, line 9)."""
        share = here[0] / there[0]
        return share * x + (here[1].square() - (share * there[1]).square()).clamp(min=0).sqrt() * noise

    def min_snr(self, alpha: Tensor, sigma: Tensor, most: float = 5.0) -> Tensor:
        """The weight of an error of the output that weighs an error of x_1 by min(SNR, most) (Hang et al., 2023)."""
        snr = (alpha * self.data_scale / sigma.clamp(min=1e-6)).square()
        _, slope = self.ends(torch.zeros_like(alpha), torch.ones_like(alpha), alpha, sigma)
        return snr.clamp(max=most) * (slope / self.data_scale).square()

    def _angle(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        scale = self.input_scale(alpha, sigma)
        return alpha * self.data_scale * scale, sigma * scale

    def times(self, share: Tensor) -> Tensor:
        """The training time below which `share` of the training times lie; share: in (0, 1), shape (B,)."""
        return share

    def placed(self, share: Tensor) -> Tensor:
        """The time of a stop at that share of a sampler's steps; any shape, 0 to 1 in order."""
        return share

    def share(self, t: float) -> float:
        """The inverse of `placed`."""
        return t

    def input_scale(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """What x_t is multiplied by so that the network sees unit variance."""
        return (alpha.square() * self.data_scale**2 + sigma.square()).rsqrt()


@dataclass(frozen=True)
class Linear(Path):
    """Straight lines; the network predicts their velocity x_1 - x_0 (Lipman et al., 2023, equation 23)."""

    #: how many times as much noise there is for the data, at the times of training and of samplers
    shift: float = 1.0
    #: standard deviation of log(alpha / sigma) in training
    spread: float = 1.0

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return t, 1 - t

    def times(self, share: Tensor) -> Tensor:
        # Logit-normal times (Esser et al., 2024, section 3.1).
        return self.placed((self.spread * torch.special.ndtri(share)).sigmoid())

    def placed(self, share: Tensor) -> Tensor:
        return share if self.shift == 1 else share / (share + self.shift * (1 - share))  # their equation 23

    def share(self, t: float) -> float:
        return self.shift * t / (1 - t + self.shift * t)


@dataclass(frozen=True)
class DDPM(Path):
    """Variance is preserved, alpha is a cosine, the network predicts the noise (Nichol and Dhariwal, 2021)."""

    clips: ClassVar[bool] = True
    #: alpha where the noise begins: with less, one cannot tell x_1 from a prediction of x_0 at all
    faintest: float = 0.01

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        angle = math.acos(self.faintest) * (1 - t)
        return angle.cos(), angle.sin()

    def target(self, x_0: Tensor, x_1: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return x_0

    def ends(self, x_t: Tensor, output: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return output, (x_t - sigma * output) / alpha


@dataclass(frozen=True)
class EDM(Path):
    """Noise of growing scale on unchanged data, and preconditioning (Karras et al., 2022, table 1)."""

    largest: float = 80.0
    smallest: float = 0.002
    rho: float = 7.0
    mean: float = -1.2
    deviation: float = 1.2

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        high, low = self.largest ** (1 / self.rho), self.smallest ** (1 / self.rho)
        return torch.ones_like(t), (high + t * (low - high)) ** self.rho  # equation 5

    def times(self, share: Tensor) -> Tensor:
        # log sigma is normal; its weight lambda(sigma) c_out(sigma)^2 is 1, so that the plain error is the loss.
        sigma = (self.mean - self.deviation * torch.special.ndtri(share)).exp()
        high, low = self.largest ** (1 / self.rho), self.smallest ** (1 / self.rho)
        return ((high - sigma ** (1 / self.rho)) / (high - low)).clamp(0, 1)


PATHS: dict[PathName, type[Path]] = {"linear": Linear, "ddpm": DDPM, "edm": EDM}
