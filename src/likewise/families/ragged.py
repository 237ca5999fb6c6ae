"""Items of a ragged space: p(x) = p(length) p(x | length), with the lengths of the training data.

The mask, the last channel of such items, is not learned: networks receive it as input, and positions beyond an item's
end are excluded from every loss. See docs/notes/decisions/006-ragged.md.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from likewise.draws import Draws
from likewise.families.decoder_distributions import dequantise
from likewise.spaces import Condition, Continuous, add_mask, fill_up, position_mask

#: Name of the condition field for the length, which no user field can have.
_FIELD = "(length)"


def values_of(space: Continuous) -> Continuous:
    """The space of the values without the mask channel; `space` itself where it is not ragged."""
    if not space.ragged:
        return space
    return replace(space, shape=(space.channels - 1, *space.positions), ragged=False, lengths=())


def with_length_field(condition: Condition) -> Condition:
    """The condition with a field for the item's length, for networks that do not see the mask."""
    return {**condition, _FIELD: Continuous((1,))}


def with_length(c: dict[str, Tensor] | None, lengths: Tensor, space: Continuous) -> dict[str, Tensor]:
    """The condition of items with these lengths, shape (B,), scaled to (-1, 1]."""
    return {**(c or {}), _FIELD: (2.0 * lengths / space.positions[0] - 1)[:, None]}


def draw_lengths(space: Continuous, draws: Draws, given: int | None) -> Tensor:
    """The lengths of samples: int64, shape (B,), drawn from those of the training data, or `given` for all.

    Raises ValueError if `given` exceeds the maximum of the training data.
    """
    most = space.positions[0]
    if given is not None:
        if given > most:
            raise ValueError(f"length {given}: this run was trained on items of at most {most} positions")
        return torch.full((draws.batch,), given, device=draws.device)
    known = torch.tensor(space.lengths or range(1, most + 1), device=draws.device)
    return known[draws.branch("length").integers(len(known))]


def with_mask(values: Tensor, mask: Tensor, last: Tensor | None = None) -> Tensor:
    """The values set to 0 beyond each item's end, with `last`, or the mask itself, as the last channel.

    values: shape (B, C, L, *rest), whose last channel is ignored. mask: 0 or 1, shape (B, 1, L, *rest).
    """
    return torch.cat((values[:, :-1] * mask, mask if last is None else last), 1)


def dequantised(x: Tensor, space: Continuous, draws: Draws) -> Tensor:
    """x, shape (B, *shape), with uniformly dequantised values (see `dequantise`).

    In a ragged space x may be truncated; an item gets the same random numbers in any batch.
    """
    assert space.levels
    if not space.ragged:
        return dequantise(x, space.levels, draws)
    moved = dequantise(fill_up(x, space), space.levels, draws)[:, :, : x.shape[2]]
    return with_mask(moved, position_mask(x, space).to(x.dtype))


def noise(space: Continuous, draws: Draws, lengths: Tensor) -> Tensor:
    """Standard normal noise up to each item's end, with its mask, shape (B, *shape)."""
    return add_mask(draws.normal(*space.shape)[:, :-1], lengths)


def mean_error(errors: Tensor, mask: Tensor) -> Tensor:
    """The mean error over the valid values of each item, shape (B,), from errors of shape (B, C, L, *rest)."""
    inside = errors[:, :-1] * mask
    return inside.flatten(1).sum(1) / (mask.flatten(1).sum(1) * inside.shape[1])
