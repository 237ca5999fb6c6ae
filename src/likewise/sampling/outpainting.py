"""Samples longer than the training items, in overlapping windows.

Each window overlaps the previous one by half. The overlap is kept fixed while the rest is sampled (`families.editing`).
The model does not see earlier windows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from likewise.draws import Draws
from likewise.families.base import Model, Sampling
from likewise.families.editing import Edited


def go_on(
    model: Model, x: Tensor, length: int, c: dict[str, Tensor] | None, draws: Draws, settings: Sampling
) -> Tensor:
    """Extend x, shape (B, C, T, ...), to `length` positions along T, or cut it there. Returns (B, C, length, ...).

    c: the condition of all windows after the first.
    """
    window = x.shape[2]
    shared = window // 2
    keep = (torch.arange(window, device=x.device) < shared).view(1, 1, -1, *[1] * (x.dim() - 3))
    parts, count = [x], window
    while count < length:
        last = parts[-1][:, :, -shared:]
        start = torch.cat((last, torch.zeros_like(x[:, :, shared:])), 2)
        made = model.sample(c, draws.branch("window", len(parts)), settings, edited=Edited(start, keep, 1.0))  # pyright: ignore[reportCallIssue]
        parts.append(made[:, :, shared:])
        count += window - shared
    return torch.cat(parts, 2)[:, :, :length]
