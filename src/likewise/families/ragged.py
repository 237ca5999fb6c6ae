"""Items of a ragged space: p(x) = p(length) p(x | length), with the lengths of the training data.

The mask, which is the last channel of such items, is never learned: it is given to the networks, and what lies beyond
an item's end is left out of every loss. See docs/notes/decisions/006-ragged.md.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from likewise.draws import Draws
from likewise.families.decoder_distributions import dequantise
from likewise.spaces import Condition, Continuous, add_mask, fill_up, position_mask

#: what a decoder is given beside the user's fields, none of which has such a name
_FIELD = "(length)"


def values_of(space: Continuous) -> Continuous:
    """The space of the values alone, without the mask; `space` itself where it is not ragged."""
    if not space.ragged:
        return space
    return replace(space, shape=(space.channels - 1, *space.positions), ragged=False, lengths=())


def told(condition: Condition) -> Condition:
    """What a network is given that has to be told an item's length, as it does not see the mask."""
    return {**condition, _FIELD: Continuous((1,))}


def telling(c: dict[str, Tensor] | None, lengths: Tensor, space: Continuous) -> dict[str, Tensor]:
    """The condition of items of these lengths, shape (B,), which are told as numbers in (-1, 1]."""
    return {**(c or {}), _FIELD: (2.0 * lengths / space.positions[0] - 1)[:, None]}


def draw_lengths(space: Continuous, draws: Draws, given: int | None) -> Tensor:
    """The lengths of samples: int64, shape (B,), as they are in the training data, or `given` for all.

    Raises ValueError where it is longer than what was learned.
    """
    most = space.positions[0]
    if given is not None:
        if given > most:
            raise ValueError(f"length {given}: this run has learned items of at most {most} positions")
        return torch.full((draws.batch,), given, device=draws.device)
    known = torch.tensor(space.lengths or range(1, most + 1), device=draws.device)
    return known[draws.branch("length").integers(len(known))]


def with_mask(values: Tensor, mask: Tensor, last: Tensor | None = None) -> Tensor:
    """x with 0 beyond the end of each item in all channels but the last, which is `last`, or the mask itself.

    values: shape (B, C, L, *rest), whose last channel does not count. mask: 0 or 1, shape (B, 1, L, *rest).
    """
    return torch.cat((values[:, :-1] * mask, mask if last is None else last), 1)


def dequantised(x: Tensor, space: Continuous, draws: Draws) -> Tensor:
    """x, shape (B, *shape), whose values on levels are moved to random places of their bins (see `dequantise`).

    Of a ragged space, x may be cut: the numbers of an item are the same in any batch.
    """
    assert space.levels
    if not space.ragged:
        return dequantise(x, space.levels, draws)
    moved = dequantise(fill_up(x, space), space.levels, draws)[:, :, : x.shape[2]]
    return with_mask(moved, position_mask(x, space).to(x.dtype))


def noise(space: Continuous, draws: Draws, lengths: Tensor) -> Tensor:
    """Standard normal numbers up to each item's end, shape (B, *shape)."""
    return add_mask(draws.normal(*space.shape)[:, :-1], lengths)


def mean_error(errors: Tensor, mask: Tensor) -> Tensor:
    """The mean over the numbers of each item, shape (B,), of errors of items, shape (B, C, L, *rest)."""
    inside = errors[:, :-1] * mask
    return inside.flatten(1).sum(1) / (mask.flatten(1).sum(1) * inside.shape[1])
