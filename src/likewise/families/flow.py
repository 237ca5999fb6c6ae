"""Flow matching and diffusion: noise becomes data along a path, steered by a network that has learned the way back.

Paths: "linear" is flow matching (Lipman et al., 2023), "ddpm" predicts the noise (Ho et al., 2020), "edm" is Karras et
al. (2022); see `paths`. Samplers: Euler (on every path the same as DDIM, Song et al., 2021a), Heun (Karras et al.) and
DPM-Solver++ 2M (Lu et al., 2022). Guidance: Ho and Salimans (2022), within an interval: Kynkaanniemi et al. (2024).
The likelihood is the change of variables along the same way (Song et al., 2021b).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from likewise.backbones.base import Backbone, Role
from likewise.draws import Draws
from likewise.families.base import Family, Graph, Model, Sampling, drop_some
from likewise.families.likelihoods import dequantise
from likewise.families.paths import PATHS, PathName
from likewise.spaces import Condition, Continuous, Space, drop

#: numbers of an item up to which the divergence is computed exactly
_EXACT_TRACE = 16


class FlowSampling(Sampling):
    """How a flow draws."""

    steps: int = Field(default=16, ge=1, description="stops on the way from noise to data")
    sampler: Literal["euler", "heun", "dpm_solver_pp"] = Field(
        default="heun", description="heun asks the network twice a step"
    )
    guidance: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="above 1 follows the condition more closely"
    )
    guidance_interval: tuple[float, float] = Field(
        default=(0.0, 1.0), description="times, noise 0 to data 1, with guidance"
    )

    @model_validator(mode="after")
    def _ordered(self) -> FlowSampling:
        low, high = self.guidance_interval
        if not 0 <= low <= high <= 1:
            raise ValueError(f"guidance_interval {low}, {high}: two rising times in [0, 1] are needed")
        return self


class Flow(Family):
    """Settings of a flow."""

    name: Literal["flow"] = "flow"
    path: PathName = Field(
        default="linear", description="linear: flow matching; ddpm: noise prediction; edm: Karras et al."
    )
    data_scale: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="standard deviation of the data; by default 0.5 for levels, else 1",
    )
    condition_dropout: float = Field(
        default=0.1, ge=0, lt=1, description="share of the items trained without their condition"
    )
    likelihood_steps: int = Field(default=64, ge=1, description="stops on the way from data to noise for a likelihood")
    sampling: FlowSampling = FlowSampling()

    def roles(self, target: Space) -> dict[Role, Space] | str:
        if not isinstance(target, Continuous):
            return "flow learns real values, and these are tokens; autoregressive and vae fit"
        return {"denoiser": target}

    def build(self, target: Space, condition: Condition, backbone: Backbone) -> Model:
        assert isinstance(target, Continuous)
        return FlowModel(self, target, condition, backbone)


class FlowModel(Model):
    """A network that is given x_t and t, its loss, and the ways along the path."""

    likelihood = "exact"

    def __init__(self, settings: Flow, target: Continuous, condition: Condition, backbone: Backbone) -> None:
        super().__init__(target, condition)
        self.settings = settings
        self.space = target
        self.path = PATHS[settings.path](settings.data_scale or (0.5 if target.levels else 1.0))
        self.network = backbone.denoiser(target, condition)
        # One-hot channels are learned as -1 and 1: of the same scale as the others.
        one_hot = torch.zeros(target.shape[0], *[1] * len(target.positions))
        for start, stop in target.choices:
            one_hot[start:stop] = 1
        self.register_buffer("one_hot", one_hot, persistent=False)
        steps = settings.likelihood_steps
        self.likelihood_how = f"by the ODE in {steps} steps, the divergence "
        self.likelihood_how += "exact" if target.size <= _EXACT_TRACE else "estimated by one probe, without bias"
        if target.levels:
            self.likelihood_how = f"an upper bound by uniform dequantisation, {self.likelihood_how}"
        if target.choices:
            self.likelihood = None  # the density of a choice is no number that means anything

    @property
    def likelihood_passes(self) -> int:
        return 2 * self.settings.likelihood_steps

    def loss(self, x: Tensor, c: dict[str, Tensor] | None, player: str, draws: Draws) -> dict[str, Tensor]:
        """{"error": the mean squared error of what the network predicts, per number}."""
        c = drop_some(c, self.settings.condition_dropout, draws)
        return {"error": self._errors(x, c, draws.uniform(), draws).mean()}

    @torch.no_grad()
    def held_out(self, x: Tensor, c: dict[str, Tensor] | None, draws: Draws) -> tuple[Tensor, Tensor]:
        """The loss of each item at four times that are spread over all."""
        share = draws.uniform()
        each = [self._errors(x, c, (share + i) / 4, draws) for i in range(4)]
        return torch.stack(each).mean(0), torch.ones_like(share)

    def _errors(self, x: Tensor, c: dict[str, Tensor] | None, share: Tensor, draws: Draws) -> Tensor:
        if self.space.levels:
            x = dequantise(x, self.space.levels, draws)
        x_1 = self._enter(x)
        x_0 = draws.normal(*self.space.shape)
        t = self.path.times(share)
        alpha, sigma = (_wide(s, x) for s in self.path.alpha_sigma(t))
        output = self._network(alpha * x_1 + sigma * x_0, t, c)
        return (output - self.path.target(x_0, x_1, alpha, sigma)).square().flatten(1).mean(1)

    @torch.no_grad()
    def sample(self, c: dict[str, Tensor] | None, draws: Draws, settings: Sampling) -> Tensor:
        """Draw items, shape (B, *shape); in [-1, 1] where the space has levels, one-hot channels only nearly so."""
        return self.from_latent(self.latent(draws), c, draws, settings)

    def latent(self, draws: Draws) -> Tensor:
        """The noise that the way begins with, of unit scale, shape (B, *shape)."""
        return draws.normal(*self.space.shape)

    @torch.no_grad()
    def from_latent(self, z: Tensor, c: dict[str, Tensor] | None, draws: Draws, settings: Sampling) -> Tensor:
        """The way from the noise z to items, shape (B, *shape)."""
        assert isinstance(settings, FlowSampling)
        times = torch.linspace(0, 1, settings.steps + 1, device=draws.device)
        alphas, sigmas = self.path.alpha_sigma(times)
        x = z / self.path.input_scale(alphas[0], sigmas[0])
        x_1 = x_1_before = torch.zeros_like(x)
        for i in range(settings.steps):
            alpha, sigma, alpha_next, sigma_next = alphas[i], sigmas[i], alphas[i + 1], sigmas[i + 1]
            x_0, x_1 = self._ends(x, times[i], alpha, sigma, c, settings)
            if settings.sampler == "dpm_solver_pp" and 0 < i < settings.steps - 1:
                # Lu et al., algorithm 2: x_1 drawn out in log(alpha / sigma); the first and last step are of order 1.
                rise = [(alphas[j] / sigmas[j]).log() for j in (i - 1, i, i + 1)]
                ratio = (rise[2] - rise[1]) / (rise[1] - rise[0])
                x_1 = torch.lerp(x_1, 2 * x_1 - x_1_before, ratio / 2)
                x_0 = (x - alpha * x_1) / sigma
            elif settings.sampler == "heun" and i < settings.steps - 1:
                # The trapezoid rule for dx = x_1 d alpha + x_0 d sigma, which is Karras et al., algorithm 1, for edm.
                tried = alpha_next * x_1 + sigma_next * x_0
                y_0, y_1 = self._ends(tried, times[i + 1], alpha_next, sigma_next, c, settings)
                x = x + (alpha_next - alpha) * (x_1 + y_1) / 2 + (sigma_next - sigma) * (x_0 + y_0) / 2
                continue
            x_1_before = x_1
            x = alpha_next * x_1 + sigma_next * x_0
        x = self._leave(x)
        return x.clamp(-1, 1) if self.space.levels else x

    @torch.no_grad()
    def encode(self, x: Tensor, c: dict[str, Tensor] | None, settings: Sampling) -> Tensor:
        """The noise that items come from: the same way backwards, by the trapezoid rule, in the likelihood's steps."""
        assert isinstance(settings, FlowSampling)
        x = self._enter(x)
        times, alphas, sigmas = self._way_back(x)
        for i in range(len(times) - 1):
            rise, fall = alphas[i + 1] - alphas[i], sigmas[i + 1] - sigmas[i]
            x_0, x_1 = self._ends(x, times[i], alphas[i], sigmas[i], c, settings)
            tried = x + rise * x_1 + fall * x_0
            y_0, y_1 = self._ends(tried, times[i + 1], alphas[i + 1], sigmas[i + 1], c, settings)
            x = x + rise * (x_1 + y_1) / 2 + fall * (x_0 + y_0) / 2
        return x * self.path.input_scale(alphas[-1], sigmas[-1])

    def log_likelihood(self, x: Tensor, c: dict[str, Tensor] | None, draws: Draws) -> Tensor:
        """log p(x|c) in nats, shape (B,), of a density in x's units; values on levels are dequantised.

        The way to the noise takes `likelihood_steps` steps of second order. The divergence is exact up to 16 numbers
        per item, and beyond that estimated without bias by one probe (Hutchinson, 1989). Exact up to that.
        """
        if self.likelihood is None:
            raise NotImplementedError("a flow has no likelihood of one-hot channels; autoregressive and vae have one")
        if self.space.levels:
            x = dequantise(x, self.space.levels, draws)
        x = self._enter(x).detach()
        if self.space.size <= _EXACT_TRACE:
            probes = list(
                torch.eye(self.space.size, device=x.device).view(-1, 1, *self.space.shape).expand(-1, *x.shape)
            )
        else:
            probes = [(draws.bits(*self.space.shape) >> 31).float() * 2 - 1]
        times, alphas, sigmas = self._way_back(x)
        total = torch.zeros(len(x), device=x.device)
        for i in range(len(times) - 1):
            rise, fall = alphas[i + 1] - alphas[i], sigmas[i + 1] - sigmas[i]
            x_0, x_1, trace_0, trace_1 = self._traced(x, times[i], alphas[i], sigmas[i], c, probes)
            tried = x + rise * x_1 + fall * x_0
            y_0, y_1, next_0, next_1 = self._traced(tried, times[i + 1], alphas[i + 1], sigmas[i + 1], c, probes)
            x = x + rise * (x_1 + y_1) / 2 + fall * (x_0 + y_0) / 2
            # d log p = -div(dx/dt) dt (Song et al., 2021b, equation 39), here backward in time
            total = total + rise * (trace_1 + next_1) / 2 + fall * (trace_0 + next_0) / 2
        spread = 1 / self.path.input_scale(alphas[-1], sigmas[-1])
        prior = -0.5 * (x / spread).square() - spread.log() - 0.5 * math.log(2 * math.pi)
        return prior.flatten(1).sum(1) + total

    def _way_back(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`likelihood_steps` + 1 times from data to noise, with their alpha and sigma; shape (steps + 1,) each."""
        # Finer at both ends, where the way bends: near the data for its details.
        share = torch.linspace(1, 0, self.settings.likelihood_steps + 1, device=x.device)
        times = (share * math.pi / 2).sin().square() if self.settings.path == "linear" else share
        return times, *self.path.alpha_sigma(times)

    def _traced(
        self, x: Tensor, t: Tensor, alpha: Tensor, sigma: Tensor, c: dict[str, Tensor] | None, probes: list[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Both ends of the path from x, and the traces of their derivatives by x, shape (B,) each."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            output = self._network(x, t.expand(len(x)), c)
            traces = torch.zeros(2, len(x), device=x.device)
            for k, probe in enumerate(probes):
                (back,) = torch.autograd.grad(output, x, probe, retain_graph=k < len(probes) - 1)
                # The ends are linear in x and the output, so the derivatives are what they make of the probe.
                moved = self.path.ends(probe, back, alpha, sigma)
                traces = traces + torch.stack([(probe * m).flatten(1).sum(1) for m in moved])
        x, output = x.detach(), output.detach()
        return *self.path.ends(x, output, alpha, sigma), traces[0], traces[1]

    def _ends(
        self, x: Tensor, t: Tensor, alpha: Tensor, sigma: Tensor, c: dict[str, Tensor] | None, settings: FlowSampling
    ) -> tuple[Tensor, Tensor]:
        """Noise and data as the network sees them from x at time t, guided."""
        times = t.expand(len(x))
        low, high = settings.guidance_interval
        if c and settings.guidance != 1 and low <= float(t) <= high:
            free = drop(c, torch.ones(len(x), dtype=torch.bool, device=x.device)) or {}
            both = {name: torch.cat((value, free[name])) for name, value in c.items()}
            given, free = self._network(torch.cat((x, x)), torch.cat((times, times)), both).chunk(2)
            output = free + settings.guidance * (given - free)
        else:
            output = self._network(x, times, c)
        x_0, x_1 = self.path.ends(x, output, alpha, sigma)
        if self.space.levels and self.path.clips:
            x_1 = x_1.clamp(-1, 1)
            x_0 = (x - alpha * x_1) / sigma
        return x_0, x_1

    def graph(self) -> Graph:
        """The denoiser, from x_t at time t to both ends of the path through it: all that samplers ask for."""
        if self.space.choices:
            raise ValueError("a flow rescales choices on its way; without choices it is exported, and vae is")

        def ends(inputs: Sequence[Tensor], c: dict[str, Tensor] | None) -> tuple[Tensor, ...]:
            x_t, t = inputs
            alpha, sigma = (_wide(s, x_t) for s in self.path.alpha_sigma(t))
            return self.path.ends(x_t, self._network(x_t, t, c), alpha, sigma)

        return Graph({"x_t": self.space.shape, "t": ()}, ("noise", "data"), ends)

    def _network(self, x_t: Tensor, t: Tensor, c: dict[str, Tensor] | None) -> Tensor:
        scale = _wide(self.path.input_scale(*self.path.alpha_sigma(t)), x_t)
        return self.network(x_t * scale, t, c).float()

    def _enter(self, x: Tensor) -> Tensor:
        return torch.lerp(x, 2 * x - 1, self.get_buffer("one_hot"))

    def _leave(self, x: Tensor) -> Tensor:
        return torch.lerp(x, (x + 1) / 2, self.get_buffer("one_hot"))


def _wide(scalars: Tensor, like: Tensor) -> Tensor:
    """Shape (B,) as (B, 1, ..., 1), to go with `like`."""
    return scalars.view(-1, *[1] * (like.dim() - 1))
