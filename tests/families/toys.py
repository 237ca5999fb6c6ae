"""Small distributions whose truth is known, and a plain loop to learn them."""

from __future__ import annotations

import math

import torch
from torch import nn

from likewise.draws import Draws
from likewise.families.base import Model
from likewise.spaces import Tokens

_ANGLES = torch.arange(8) * (math.pi / 4)
CENTRES = 1.4 * torch.stack((_ANGLES.cos(), _ANGLES.sin()), 1)
SPREAD = 0.1
LABEL = {"label": Tokens(1, 8)}


def draws(count: int, seed: int = 0, start: int = 0) -> Draws:
    return Draws(seed, torch.arange(start, start + count))


def ring(count: int, seed: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Eight Gaussians on a ring, of about unit scale, and which of them each point is from."""
    source = draws(count, seed)
    mode = source.integers(8)
    return CENTRES[mode] + SPREAD * source.normal(2), {"label": mode[:, None]}


def modes(x: torch.Tensor) -> tuple[float, torch.Tensor, torch.Tensor]:
    """The share of points within three spreads of a mode, how many each mode has, and the nearest mode of each."""
    distance, mode = torch.cdist(x, CENTRES).min(1)
    near = distance < 3 * SPREAD
    return near.double().mean().item(), torch.bincount(mode[near], minlength=8), mode


def learn(model: Model, batches, steps: int, lr: float, betas=(0.9, 0.99), ema: float = 0.98) -> Model:
    """Adam with a falling rate and averaged weights; batches(step) gives x and c."""
    players = model.players()
    optimizers = {k: torch.optim.Adam(p.parameters(), lr=lr, betas=betas) for k, p in players.items()}
    average = {k: v.detach().clone() for k, v in model.state_dict().items()}
    for step in range(steps):
        model.set_progress(step, steps)
        x, c = batches(step)
        for name, optimizer in optimizers.items():
            optimizer.param_groups[0]["lr"] = lr * min(1.0, 2 * (steps - step) / steps)
            optimizer.zero_grad()
            terms = model.loss(x, c, name, draws(len(x), seed=step))
            total = sum(v for k, v in terms.items() if not k.startswith("_"))
            assert isinstance(total, torch.Tensor)
            total.backward()
            optimizer.step()
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                average[key].lerp_(value, 1 - ema)
    model.load_state_dict(average)
    return model.eval()


def gradients(model: Model, player: str, parts, seed: int = 3) -> list[torch.Tensor]:
    """The gradient of `player` from a batch cut into `parts`, each (x, c, rows), as the loop accumulates it."""
    module = model.players()[player]
    module.zero_grad()
    total = sum(len(x) for x, _, _ in parts)
    model.set_progress(50, 100)
    for x, c, rows in parts:
        terms = model.loss(x, c, player, Draws(seed, rows))
        (sum(v for k, v in terms.items() if not k.startswith("_")) * len(x) / total).backward()
    return [p.grad.clone() for p in module.parameters() if p.grad is not None]


class Returns(nn.Module):
    """A network that gives what a function gives."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)
