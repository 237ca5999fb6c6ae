"""Probability paths from noise to data: x_t = alpha(t) x_1 + sigma(t) x_0, with noise x_0 at t = 0, data x_1 at t = 1.

A path also defines the network's prediction target, how both ends follow from a prediction, and the distribution of
training times. Samplers and the likelihood need nothing else.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

PathName = Literal["linear", "ddpm", "edm"]
#: A point on a path: alpha and sigma.
PathPoint = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Path(ABC):
    """A path from noise to data of standard deviation `data_scale`. Times have any shape; results have the same."""

    data_scale: float
    #: Whether to clip x_1 to its range while sampling, as errors are amplified at high noise.
    clips: ClassVar[bool] = False

    @abstractmethod
    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The factors of data and noise at time t."""

    def target(self, x_0: Tensor, x_1: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The prediction target at alpha x_1 + sigma x_0, of unit scale.

        By default the direction orthogonal to x_t in the plane of noise and scaled data. This is the output of EDM's
        preconditioning (Karras et al., 2022, equation 7), and determines the velocity.
        """
        cos, sin = self._angle(alpha, sigma)
        return sin / self.data_scale * x_1 - cos * x_0

    def ends(self, x_t: Tensor, output: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The noise x_0 and the data x_1 implied by the network's output at x_t; linear in both."""
        cos, sin = self._angle(alpha, sigma)
        x_t = x_t * self.input_scale(alpha, sigma)
        return sin * x_t - cos * output, self.data_scale * (cos * x_t + sin * output)

    def step(self, x_t: Tensor, output: Tensor, here: PathPoint, there: PathPoint) -> Tensor:
        """A straight step from x_t to `there`: the predicted ends, mixed with its alpha and sigma (DDIM)."""
        x_0, x_1 = self.ends(x_t, output, *here)
        return there[0] * x_1 + there[1] * x_0

    def output_leading_to(self, x_t: Tensor, x_next: Tensor, here: PathPoint, there: PathPoint) -> Tensor:
        """The output whose `step` from x_t leads to x_next: a step is linear in x_t and in the output."""
        still = self.step(x_t, torch.zeros_like(x_t), here, there)
        slope = self.step(torch.zeros_like(here[0]), torch.ones_like(here[0]), here, there)
        return (x_next - still) / slope

    def renoise(self, x: Tensor, noise: Tensor, there: PathPoint, here: PathPoint) -> Tensor:
        """x at the point `there`, with the fresh noise that brings it back to `here` (RePaint, line 9)."""
        share = here[0] / there[0]
        return share * x + (here[1].square() - (share * there[1]).square()).clamp(min=0).sqrt() * noise

    def min_snr(self, alpha: Tensor, sigma: Tensor, most: float = 5.0) -> Tensor:
        """The weight of the output's error that weights an error of x_1 by min(SNR, most) (Hang et al., 2023)."""
        snr = (alpha * self.data_scale / sigma.clamp(min=1e-6)).square()
        _, slope = self.ends(torch.zeros_like(alpha), torch.ones_like(alpha), alpha, sigma)
        return snr.clamp(max=most) * (slope / self.data_scale).square()

    def _angle(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        scale = self.input_scale(alpha, sigma)
        return alpha * self.data_scale * scale, sigma * scale

    def times(self, share: Tensor) -> Tensor:
        """The quantile function of training times; share: in (0, 1), shape (B,)."""
        return share

    def placed(self, share: Tensor) -> Tensor:
        """The time at a share of a sampler's steps; any shape, increasing from 0 to 1."""
        return share

    def share(self, t: float) -> float:
        """The inverse of `placed`."""
        return t

    def input_scale(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The factor that normalises x_t to unit variance for the network."""
        return (alpha.square() * self.data_scale**2 + sigma.square()).rsqrt()


@dataclass(frozen=True)
class Linear(Path):
    """Straight lines; the network predicts their velocity x_1 - x_0 (Lipman et al., 2023, equation 23)."""

    #: Noise multiplier of the times in training and sampling.
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
    """Variance-preserving path with cosine alpha; the network predicts the noise (Nichol and Dhariwal, 2021)."""

    clips: ClassVar[bool] = True
    #: Alpha at t = 0: with less, x_1 could not be recovered from a prediction of x_0.
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
    """Noise of increasing scale on unscaled data, with preconditioning (Karras et al., 2022, table 1)."""

    largest: float = 80.0
    smallest: float = 0.002
    rho: float = 7.0
    mean: float = -1.2
    deviation: float = 1.2

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        high, low = self.largest ** (1 / self.rho), self.smallest ** (1 / self.rho)
        return torch.ones_like(t), (high + t * (low - high)) ** self.rho  # equation 5

    def times(self, share: Tensor) -> Tensor:
        # log sigma is normal; the weight lambda(sigma) c_out(sigma)^2 is 1, so the loss is the unweighted error.
        sigma = (self.mean - self.deviation * torch.special.ndtri(share)).exp()
        high, low = self.largest ** (1 / self.rho), self.smallest ** (1 / self.rho)
        return ((high - sigma ** (1 / self.rho)) / (high - low)).clamp(0, 1)


PATHS: dict[PathName, type[Path]] = {"linear": Linear, "ddpm": DDPM, "edm": EDM}
