"""ODE solvers from noise to data, and the sampling settings of a flow.

Euler (on every path equal to DDIM, Song et al., 2021a), Heun (Karras et al., 2022) and DPM-Solver++ 2M (Lu et al.,
2022).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from likewise.families import shortcut
from likewise.families.base import Sampling
from likewise.families.prob_paths import Path

#: (x, t, alpha, sigma) -> the predicted noise and data at both ends of the path.
Ends = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class FlowSampling(Sampling):
    """Sampling settings of a flow."""

    steps: int = Field(default=16, ge=1, description="integration steps from noise to data")
    sampler: Literal["euler", "heun", "dpm_solver_pp", "jump"] = Field(
        default="heun",
        description="ODE solver; heun evaluates the network twice per step; jump: shortcut steps of a few_step flow",
    )
    guidance_scale: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="classifier-free guidance; above 1 follows the condition more closely",
    )
    autoguidance: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="above 1 extrapolates away from the guide model (family.guide_model)",
    )
    guidance_interval: tuple[float, float] = Field(
        default=(0.0, 1.0), description="times with guidance, from 0 (noise) to 1 (data)"
    )
    resample: int = Field(
        default=4,
        ge=1,
        description="RePaint: repetitions of each step when a part of the sample is kept, so that the rest fits it",
    )
    shift: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="noise multiplier of the timesteps; by default family.shift, doubled if above 1",
    )
    length: int | None = Field(
        default=None,
        ge=1,
        description="frames of a video (longer than trained: by overlapping windows); positions of an "
        "item where items differ in length, by default as in the data",
    )

    @model_validator(mode="after")
    def _ordered(self) -> FlowSampling:
        low, high = self.guidance_interval
        if not 0 <= low <= high <= 1:
            raise ValueError(f"guidance_interval {low}, {high}: must be two increasing times in [0, 1]")
        if self.sampler == "jump" and shortcut.FINEST % self.steps:
            raise ValueError(f"steps {self.steps}: sampler=jump takes 1, 2, 4, 8 or 16; sampler=heun any number")
        return self


def integrate(path: Path, x: Tensor, times: Tensor, sampler: str, ends: Ends) -> Tensor:
    """Integrate x, shape (B, *shape), from the first to the last of the times."""
    alphas, sigmas = path.alpha_sigma(times)
    x_1 = x_1_before = torch.zeros_like(x)
    for i in range(len(times) - 1):
        alpha, sigma, alpha_next, sigma_next = alphas[i], sigmas[i], alphas[i + 1], sigmas[i + 1]
        x_0, x_1 = ends(x, times[i], alpha, sigma)
        x_1_model = x_1
        last = float(times[i + 1]) == 1
        if sampler == "dpm_solver_pp" and i > 0 and not last:
            # Lu et al., algorithm 2: x_1 extrapolated in log(alpha / sigma); first and last step have order 1.
            rise = [(alphas[j] / sigmas[j]).log() for j in (i - 1, i, i + 1)]
            ratio = (rise[2] - rise[1]) / (rise[1] - rise[0])
            x_1 = torch.lerp(x_1, 2 * x_1 - x_1_before, ratio / 2)
            x_0 = (x - alpha * x_1) / sigma
        elif sampler == "heun" and not last:
            # The trapezoid rule for dx = x_1 d alpha + x_0 d sigma, which is Karras et al., algorithm 1, for edm.
            predicted = alpha_next * x_1 + sigma_next * x_0
            y_0, y_1 = ends(predicted, times[i + 1], alpha_next, sigma_next)
            x = x + (alpha_next - alpha) * (x_1 + y_1) / 2 + (sigma_next - sigma) * (x_0 + y_0) / 2
            continue
        x_1_before = x_1_model
        x = alpha_next * x_1 + sigma_next * x_0
    return x
