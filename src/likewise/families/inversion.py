"""Integration along a path from data to noise: the latent noise of items, and their likelihood.

The likelihood is the change of variables (Song et al., "Score-based generative modeling through stochastic differential
equations", 2021, equation 39), by the trapezoid rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from likewise.draws import Draws
from likewise.families.prob_paths import Path
from likewise.spaces import Continuous

#: Maximum number of values of an item for which the divergence is computed exactly.
_EXACT_TRACE = 16

#: (x_t, t, alpha, sigma) -> the predicted noise and data.
Ends = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def noise_of(path: Path, times: Tensor, x: Tensor, ends: Ends) -> Tensor:
    """The latent noise of x, shape (B, *shape), unit scale. times: decreasing from 1 to 0."""
    alphas, sigmas = path.alpha_sigma(times)
    for i in range(len(times) - 1):
        rise, fall = alphas[i + 1] - alphas[i], sigmas[i + 1] - sigmas[i]
        x_0, x_1 = ends(x, times[i], alphas[i], sigmas[i])
        predicted = x + rise * x_1 + fall * x_0
        y_0, y_1 = ends(predicted, times[i + 1], alphas[i + 1], sigmas[i + 1])
        x = x + rise * (x_1 + y_1) / 2 + fall * (x_0 + y_0) / 2
    return x * path.input_scale(alphas[-1], sigmas[-1])


def probes(space: Continuous, draws: Draws) -> list[Tensor]:
    """Directions for the divergence: every axis of a small space, or one random sign vector."""
    if space.size > _EXACT_TRACE:
        return [(draws.bits(*space.shape) >> 31).float() * 2 - 1]
    axes = torch.eye(space.size, device=draws.device).view(-1, 1, *space.shape)
    return list(axes.expand(-1, draws.batch, *space.shape))


def describe_divergence(space: Continuous) -> str:
    """How the divergence is computed, for reports."""
    return "the divergence " + ("exact" if space.size <= _EXACT_TRACE else "estimated by one probe, without bias")


def log_density(
    path: Path, times: Tensor, x: Tensor, output: Callable[[Tensor, Tensor], Tensor], along: list[Tensor]
) -> Tensor:
    """log p(x) in nats, shape (B,).

    times: decreasing from 1 to 0. output: the network's, at x_t and t. along: from `probes`.
    """
    alphas, sigmas = path.alpha_sigma(times)
    total = torch.zeros(len(x), device=x.device)
    for i in range(len(times) - 1):
        rise, fall = alphas[i + 1] - alphas[i], sigmas[i + 1] - sigmas[i]
        x_0, x_1, trace_0, trace_1 = _traced(path, x, times[i], alphas[i], sigmas[i], output, along)
        predicted = x + rise * x_1 + fall * x_0
        y_0, y_1, next_0, next_1 = _traced(path, predicted, times[i + 1], alphas[i + 1], sigmas[i + 1], output, along)
        x = x + rise * (x_1 + y_1) / 2 + fall * (x_0 + y_0) / 2
        # d log p = -div(dx/dt) dt, here backward in time
        total = total + rise * (trace_1 + next_1) / 2 + fall * (trace_0 + next_0) / 2
    spread = 1 / path.input_scale(alphas[-1], sigmas[-1])
    prior = -0.5 * (x / spread).square() - spread.log() - 0.5 * math.log(2 * math.pi)
    return prior.flatten(1).sum(1) + total


def _traced(
    path: Path,
    x: Tensor,
    t: Tensor,
    alpha: Tensor,
    sigma: Tensor,
    output: Callable[[Tensor, Tensor], Tensor],
    along: list[Tensor],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Both ends of the path from x, and the traces of their Jacobians with respect to x, shape (B,) each."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        found = output(x, t)
        traces = torch.zeros(2, len(x), device=x.device)
        for k, probe in enumerate(along):
            (back,) = torch.autograd.grad(found, x, probe, retain_graph=k < len(along) - 1)
            # The ends are linear in x and the output, so their derivatives are the ends of the probe's derivatives.
            moved = path.ends(probe, back, alpha, sigma)
            traces = traces + torch.stack([(probe * m).flatten(1).sum(1) for m in moved])
    x, found = x.detach(), found.detach()
    return *path.ends(x, found, alpha, sigma), traces[0], traces[1]
