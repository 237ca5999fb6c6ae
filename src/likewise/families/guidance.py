"""Guidance: extrapolation of the network's prediction, away from an unconditional one or from a weaker network's.

Classifier-free guidance (Ho and Salimans, 2022) within an interval (Kynkaanniemi et al., 2024); autoguidance (Karras et
al., "Guiding a diffusion model with a bad version of itself", 2024), whose guide model is a moving average of the
network over the beginning of its training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from likewise.spaces import drop

#: Rate of the guide model's moving average.
_UPDATE_RATE = 0.02
_Network = Callable[[Tensor, Tensor, dict[str, Tensor] | None], Tensor]


class Guided(Protocol):
    """The sampling settings of guidance."""

    guidance_scale: float
    guidance_interval: tuple[float, float]
    autoguidance: float

    def groups(self) -> Sequence[tuple[Self, Tensor | None]]: ...


def update_guide_model(guide: nn.Module, network: nn.Module) -> None:
    """One step of the guide model's moving average of the network's weights."""
    with torch.no_grad():
        torch._foreach_lerp_([*guide.parameters()], [p.detach() for p in network.parameters()], _UPDATE_RATE)


def guided(
    network: _Network, guide: _Network | None, x: Tensor, t: Tensor, c: dict[str, Tensor] | None, settings: Guided
) -> Tensor:
    """The guided output of the network for x at the time t of all rows, shape (B, *shape).

    guide: the guide model, used where `autoguidance` is not 1. The two guidance terms are added. Settings may differ by
    row.
    """
    times = t.expand(len(x))
    low, high = settings.guidance_interval
    inside = low <= float(t) <= high

    @cache
    def alone() -> Tensor:
        return network(x, times, c)

    @cache
    def both() -> tuple[Tensor, ...]:
        assert c
        free = drop(c, torch.ones(len(x), dtype=torch.bool, device=x.device)) or {}
        pairs = {name: torch.cat((value, free[name])) for name, value in c.items()}
        return network(torch.cat((x, x)), torch.cat((times, times)), pairs).chunk(2)

    @cache
    def weaker() -> Tensor:
        assert guide is not None
        return guide(x, times, c)

    def guided_by(own: Guided) -> Tensor:
        if c and own.guidance_scale != 1 and inside:
            given, free = both()
            output = free + own.guidance_scale * (given - free)
        else:
            output = given = alone()
        if own.autoguidance != 1 and inside:
            output = output + (own.autoguidance - 1) * (given - weaker())
        return output

    groups = settings.groups()
    if len(groups) == 1:
        return guided_by(settings)
    output = torch.empty_like(x)
    for own, rows in groups:
        output[rows] = guided_by(own)[rows]
    return output
