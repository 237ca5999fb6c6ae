"""The tensor spaces of items and conditions: the contract between modalities, backbones and families.

A modality says which space its items are encoded in, a backbone builds networks between spaces, and a family learns a
distribution over one space. Nothing else depends on the kind of data.

A value can be *missing*: ``MISSING_TOKEN`` in `Tokens`, NaN in `Continuous`. Networks read a missing condition as
"any". Incomplete records, classifier-free guidance and partial conditioning all use this.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from likewise.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

MISSING_TOKEN = -1


class Unfit(UserError):
    """Parts do not fit together, or one cannot do what is requested; the message names it, and parts that can."""


@dataclass(frozen=True)
class Continuous:
    """Real values of about unit scale, as float tensors of shape (B, *shape).

    shape: (C, *positions), with zero to three position dimensions.
    levels: the values are `levels` evenly spaced numbers in [-1, 1] (256 for 8-bit images); None if they are unbounded.
    choices: channel ranges (start, stop) that are one-hot: exactly one channel of each range is 1, the others are 0.
    ragged: items have different lengths, 1 to positions[0], along the first position dimension. The last channel is
        then the mask: 1 up to the item's end, and 0 after it, where the other channels are 0 too. A batch may be
        truncated to its longest item, to (B, C, L, *rest) with L <= positions[0]; see `position_mask`.
    lengths: for a ragged space, sorted lengths of training items (see `length_quantiles`), from which the lengths of
        samples are drawn; if empty, all lengths are equally likely.
    """

    shape: tuple[int, ...]
    levels: int | None = None
    choices: tuple[tuple[int, int], ...] = ()
    ragged: bool = False
    lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "choices", tuple((int(a), int(b)) for a, b in self.choices))
        object.__setattr__(self, "lengths", tuple(int(n) for n in self.lengths))
        if not 1 <= len(self.shape) <= 4 or min(self.shape) < 1:
            raise ValueError(f"shape {self.shape}: expected (channels, *positions) with zero to three positions")
        if self.ragged:
            self._check_lengths()
        elif self.lengths:
            raise ValueError("lengths can only be set for a ragged space")

    def _check_lengths(self) -> None:
        if len(self.shape) < 2 or self.channels < 2:
            raise ValueError(f"shape {self.shape}: a ragged space needs positions, and a mask as its last channel")
        if any(stop == self.channels for _, stop in self.choices):
            raise ValueError(f"choices {self.choices}: the last channel of a ragged space is its mask")
        if any(not 1 <= n <= self.positions[0] for n in self.lengths):
            raise ValueError(f"lengths: items have 1 to {self.positions[0]} positions")

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def positions(self) -> tuple[int, ...]:
        return self.shape[1:]

    @property
    def size(self) -> int:
        """The number of values of one item."""
        return prod(self.shape)

    def __str__(self) -> str:
        return f"Continuous({'x'.join(map(str, self.shape))}{', ragged' if self.ragged else ''})"


@dataclass(frozen=True)
class Tokens:
    """Integers in [0, vocabulary), as int64 tensors of shape (B, L) with L <= length, padded with `end` after the first
    `end`.

    end: the token that ends an item; None if every item has exactly `length` tokens.
    ranges: (low, high) for each position at which only low <= token < high can occur; empty if every token can occur.
    grid: the spatial layout of the positions, (height, width) for an image in raster order; empty for a sequence.
    mean_length: mean number of tokens per item in the training data, `end` included; with windows, per window.
    windows: items can be longer than `length`. They are learned in windows of `length` tokens (see `split_before`), and
        their likelihood is computed for the whole item.
    """

    length: int
    vocabulary: int
    end: int | None = None
    ranges: tuple[tuple[int, int], ...] = ()
    grid: tuple[int, ...] = ()
    mean_length: float | None = None
    windows: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "ranges", tuple((int(a), int(b)) for a, b in self.ranges))
        object.__setattr__(self, "grid", tuple(int(n) for n in self.grid))
        if self.length < 1 or self.vocabulary < 1:
            raise ValueError(f"{self.length} tokens of {self.vocabulary} kinds: both must be at least 1")
        if self.ranges and len(self.ranges) != self.length:
            raise ValueError(f"{len(self.ranges)} ranges for {self.length} positions")
        if self.windows and (self.end is None or self.ranges or self.length < 2):
            raise ValueError("windows need an `end`, a length of at least 2, and no ranges")

    def __str__(self) -> str:
        return f"Tokens({self.length} of {self.vocabulary})"


Space = Continuous | Tokens

#: The space of each condition field, by name; empty for an unconditional model.
Condition = dict[str, Space]


def space_to_json(space: Space) -> dict[str, Any]:
    """A space as JSON. `ragged` and `lengths` are left out where the space is not ragged."""
    state = asdict(space)
    if isinstance(space, Continuous) and not space.ragged:
        del state["ragged"], state["lengths"]
    return {"kind": type(space).__name__.lower(), **state}


def space_from_json(state: dict[str, Any]) -> Space:
    state = dict(state)
    kind = {"continuous": Continuous, "tokens": Tokens}[state.pop("kind")]
    return kind(**{k: tuple(map(tuple, v)) if k in ("choices", "ranges") else v for k, v in state.items()})


def token_mask(x: Tensor, space: Tokens) -> Tensor:
    """True for the valid tokens: those up to and including the first `end`, except missing ones.

    x: tokens, shape (B, L). Returns booleans, shape (B, L).
    """
    if space.end is None:
        return x >= 0
    ended = (x == space.end).cumsum(1)
    return (ended - (x == space.end).long() == 0) & (x >= 0)


def position_mask(x: Tensor, space: Continuous) -> Tensor:
    """True at the valid positions: all of them, or in a ragged space those before each item's end.

    x: shape (B, C, L, *rest), L <= positions[0]. Returns booleans, shape (B, 1, L, *rest).
    """
    return x[:, -1:] > 0 if space.ragged else x[:, :1] == x[:, :1]


def item_lengths(x: Tensor, space: Continuous) -> Tensor:
    """The length of each item along the first position dimension: int64, shape (B,)."""
    return position_mask(x, space)[:, 0].reshape(len(x), x.shape[2], -1)[..., 0].sum(1)


def add_mask(values: Tensor, lengths: Tensor) -> Tensor:
    """Append the mask channel of a ragged space, and set the values beyond each item's length to 0.

    values: shape (B, C - 1, L, *rest). lengths: shape (B,). Returns shape (B, C, L, *rest).
    """
    import torch  # here, so that the words of a space are known without it

    inside = torch.arange(values.shape[2], device=values.device) < lengths.to(values.device)[:, None]
    mask = inside.view(len(values), 1, -1, *[1] * (values.dim() - 3)).to(values.dtype)
    return torch.cat((values * mask, mask.expand(-1, 1, *values.shape[2:])), 1)


def cut_to_length(x: Tensor, space: Continuous) -> list[Tensor]:
    """The values of each item of a ragged space up to its end, without the mask: shapes (C - 1, length, *rest)."""
    return [item[:-1, :length] for item, length in zip(x, item_lengths(x, space).tolist(), strict=True)]


def fill_up(x: Tensor, space: Continuous) -> Tensor:
    """Pad items of a ragged space that were truncated to the longest of a batch to the full length of the space.

    The padding is 0, or NaN in missing items. x: shape (B, C, L, *rest). Returns shape (B, *shape).
    """
    import torch  # here, so that the words of a space are known without it

    if not space.ragged or x.shape[2] == space.positions[0]:
        return x
    more = space.positions[0] - x.shape[2]
    first = x[:, :, :1]
    return torch.cat((x, torch.where(first.isnan(), first, 0.0).expand(-1, -1, more, *first.shape[3:])), 2)


def length_quantiles(lengths: Iterable[int], most: int = 256) -> tuple[int, ...]:
    """At most `most` evenly spaced quantiles of the lengths, in ascending order, for `Continuous.lengths`."""
    ordered = sorted(lengths)
    if len(ordered) <= most:
        return tuple(ordered)
    return tuple(ordered[round(i * (len(ordered) - 1) / (most - 1))] for i in range(most))


def only_read(token: Any) -> Any:
    """Encode `token`, a number or a tensor, as context that is read and excluded from the loss: < MISSING_TOKEN."""
    return MISSING_TOKEN - 1 - token


def split_before(x: Tensor) -> tuple[Tensor, Tensor]:
    """Split windows into their tokens and the token before each: MISSING_TOKEN where a window begins its item.

    x: shape (B, L). A window that continues an item begins with the token before it, encoded by `only_read`; the
    window's own tokens are then shifted left by one, and the last position is missing. Returns shapes (B, L) and (B,).
    """
    import torch  # here, so that the words of a space are known without it

    goes_on = x[:, 0] < MISSING_TOKEN
    before = torch.where(goes_on, only_read(x[:, 0]), MISSING_TOKEN)
    moved = torch.cat((x[:, 1:], torch.full_like(x[:, :1], MISSING_TOKEN)), 1)
    return torch.where(goes_on[:, None], moved, x), before


def without_end(x: Tensor, space: Tokens) -> Tensor:
    """The tokens with each `end` replaced by MISSING_TOKEN, for the likelihood of the content alone.

    x: shape (B, L). Missing tokens contribute nothing, so the result is the probability of all items with this
    beginning.
    """
    return x if space.end is None else x.masked_fill(x == space.end, MISSING_TOKEN)


def to_index(x: Tensor, levels: int) -> Tensor:
    """The bin index of each value among `levels` bins of width 2 / levels in [-1, 1]: int64 in [0, levels)."""
    return ((x + 1) * (levels / 2)).floor().long().clamp(0, levels - 1)


def from_index(index: Tensor, levels: int) -> Tensor:
    """The centres of the bins `index`, in [-1, 1]."""
    return (2 * index + 1) / levels - 1


def missing(space: Space, count: int) -> Tensor:
    """`count` missing items: (count, *shape) of NaN, or (count, length) of MISSING_TOKEN."""
    import torch  # here, so that the words of a space are known without it

    if isinstance(space, Tokens):
        return torch.full((count, space.length), MISSING_TOKEN)
    return torch.full((count, *space.shape), float("nan"))


def drop(c: dict[str, Tensor] | None, where: Tensor) -> dict[str, Tensor] | None:
    """The condition `c`, with all fields missing in the rows where `where` (booleans, shape (B,)) is True."""
    if c is None:
        return None
    dropped = {}
    for name, value in c.items():
        missing = float("nan") if value.is_floating_point() else MISSING_TOKEN
        dropped[name] = value.masked_fill(where.view(-1, *[1] * (value.dim() - 1)), missing)
    return dropped
