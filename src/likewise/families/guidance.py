"""What a flow's network says, exaggerated: away from what it says of anything, or from what it said when it knew less.

Classifier-free guidance (Ho and Salimans, 2022) within an interval (Kynkaanniemi et al., 2024); autoguidance (Karras et
al., "Guiding a diffusion model with a bad version of itself", 2024), whose weak version is the network's own mean over
the beginning of its training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from likewise.spaces import drop

#: how fast the weak version follows the network
_FOLLOWS = 0.02
_Network = Callable[[Tensor, Tensor, dict[str, Tensor] | None], Tensor]


class Guided(Protocol):
    """The settings that guide."""

    guidance_scale: float
    guidance_interval: tuple[float, float]
    autoguidance: float

    def groups(self) -> Sequence[tuple[Self, Tensor | None]]: ...


def follow(weak: nn.Module, network: nn.Module) -> None:
    """Move the weak version a little towards the network."""
    with torch.no_grad():
        torch._foreach_lerp_([*weak.parameters()], [p.detach() for p in network.parameters()], _FOLLOWS)


def guided(
    network: _Network, weak: _Network | None, x: Tensor, t: Tensor, c: dict[str, Tensor] | None, settings: Guided
) -> Tensor:
    """The network's output for x at the time t of all of them, shape (B, *shape), guided as the settings have it.

    weak: only needed where `autoguidance` is not 1. Both guidances together add up. Each row may have its own.
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
        assert weak is not None
        return weak(x, times, c)

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
