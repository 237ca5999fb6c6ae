"""What a tensor means: the one contract between data, networks and families.

A modality says which space its items become, a backbone builds networks between spaces, a family learns a
distribution over one. Nothing else needs to know what a picture or a sentence is.

A value can be *missing*: ``MISSING_TOKEN`` in `Tokens`, NaN in `Continuous`. Networks read a missing condition as
"any", which serves incomplete records, classifier-free guidance and partial conditioning alike.
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
    """Parts do not work together, or one cannot do what is asked; the message says which, what, and what can."""


@dataclass(frozen=True)
class Continuous:
    """Real values of about unit scale, as tensors of shape (B, *shape).

    shape: (C, *positions), with zero to three position dimensions.
    levels: the values are `levels` evenly spaced numbers in [-1, 1] (256 for 8-bit pictures); None if unbounded.
    choices: channel ranges (start, stop) that are one-hot: exactly one channel of each range is 1, the others 0.
    ragged: each item has its own length, 1 to positions[0], in the first position dimension. The last channel is then
        the mask: 1 up to the item's end, and 0 after it, where the other channels are 0 too. A batch may be cut to its
        longest item, to (B, C, L, *rest) with L <= positions[0]; see `position_mask`.
    lengths: of a ragged space: lengths of training items in order (see `length_quantiles`), from which the lengths of
        samples are drawn; if empty, all are equally likely.
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
            raise ValueError("lengths are of a ragged space")

    def _check_lengths(self) -> None:
        if len(self.shape) < 2 or self.channels < 2:
            raise ValueError(f"shape {self.shape}: a ragged space has positions, and the mask as its last channel")
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
        """How many numbers one item has."""
        return prod(self.shape)

    def __str__(self) -> str:
        return f"Continuous({'x'.join(map(str, self.shape))}{', ragged' if self.ragged else ''})"


@dataclass(frozen=True)
class Tokens:
    """Integers in [0, vocabulary), as tensors of shape (B, L) with L <= length, padded with `end` after `end`.

    end: the token after which an item is over; None if every item has exactly `length` tokens.
    ranges: (low, high) for each position where only low <= token < high can occur; empty if anything can.
    grid: the positions laid out in space, (height, width) for a picture read row by row; empty for a sequence.
    mean_length: how many tokens an item has on average in the training data, `end` included; of windows, each.
    windows: items can be longer than `length`: they are learned in windows of `length` tokens (see `split_before`),
        and a likelihood takes them whole.
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
            raise ValueError("windows are of items that end, of two tokens at least, and without ranges")

    def __str__(self) -> str:
        return f"Tokens({self.length} of {self.vocabulary})"


Space = Continuous | Tokens

#: The given fields by name, each with its space; empty when nothing is given.
Condition = dict[str, Space]


def space_to_json(space: Space) -> dict[str, Any]:
    """A space as JSON; of one whose items all have one size, nothing is said of lengths."""
    state = asdict(space)
    if isinstance(space, Continuous) and not space.ragged:
        del state["ragged"], state["lengths"]
    return {"kind": type(space).__name__.lower(), **state}


def space_from_json(state: dict[str, Any]) -> Space:
    state = dict(state)
    kind = {"continuous": Continuous, "tokens": Tokens}[state.pop("kind")]
    return kind(**{k: tuple(map(tuple, v)) if k in ("choices", "ranges") else v for k, v in state.items()})


def token_mask(x: Tensor, space: Tokens) -> Tensor:
    """True for the tokens that count: all up to the first `end`, itself included.

    x: tokens, with shape (B, L). Returns booleans with shape (B, L).
    """
    if space.end is None:
        return x >= 0
    ended = (x == space.end).cumsum(1)
    return (ended - (x == space.end).long() == 0) & (x >= 0)


def position_mask(x: Tensor, space: Continuous) -> Tensor:
    """True at the positions that count: all of them, or those up to each item's end where the space is ragged.

    x: shape (B, C, L, *rest), L <= positions[0]. Returns shape (B, 1, L, *rest).
    """
    return x[:, -1:] > 0 if space.ragged else x[:, :1] == x[:, :1]


def item_lengths(x: Tensor, space: Continuous) -> Tensor:
    """How many of the first positions each item has: int64, shape (B,)."""
    return position_mask(x, space)[:, 0].reshape(len(x), x.shape[2], -1)[..., 0].sum(1)


def add_mask(values: Tensor, lengths: Tensor) -> Tensor:
    """Items of a ragged space from their values, of which those beyond each item's length become 0.

    values: shape (B, C - 1, L, *rest). lengths: shape (B,). Returns shape (B, C, L, *rest).
    """
    import torch  # here, so that the words of a space are known without it

    inside = torch.arange(values.shape[2], device=values.device) < lengths.to(values.device)[:, None]
    mask = inside.view(len(values), 1, -1, *[1] * (values.dim() - 3)).to(values.dtype)
    return torch.cat((values * mask, mask.expand(-1, 1, *values.shape[2:])), 1)


def cut_to_length(x: Tensor, space: Continuous) -> list[Tensor]:
    """The values of each item of a ragged space up to its end, without the mask: shape (C - 1, length, *rest) each."""
    return [item[:-1, :length] for item, length in zip(x, item_lengths(x, space).tolist(), strict=True)]


def fill_up(x: Tensor, space: Continuous) -> Tensor:
    """Items of a ragged space that were cut to the longest of a batch, at the space's own length again.

    What is added is 0, or NaN in the items that are missing. x: shape (B, C, L, *rest). Returns shape (B, *shape).
    """
    import torch  # here, so that the words of a space are known without it

    if not space.ragged or x.shape[2] == space.positions[0]:
        return x
    more = space.positions[0] - x.shape[2]
    first = x[:, :, :1]
    return torch.cat((x, torch.where(first.isnan(), first, 0.0).expand(-1, -1, more, *first.shape[3:])), 2)


def length_quantiles(lengths: Iterable[int], most: int = 256) -> tuple[int, ...]:
    """At most `most` lengths that stand for all, in order: what `Continuous.lengths` holds of a training set."""
    ordered = sorted(lengths)
    if len(ordered) <= most:
        return tuple(ordered)
    return tuple(ordered[round(i * (len(ordered) - 1) / (most - 1))] for i in range(most))


def only_read(token: Any) -> Any:
    """`token`, a number or many, made one that is read and not counted: it is below MISSING_TOKEN."""
    return MISSING_TOKEN - 1 - token


def split_before(x: Tensor) -> tuple[Tensor, Tensor]:
    """Windows as (their tokens, the token before each, MISSING_TOKEN where a window is the beginning of its item).

    x: shape (B, L). A window that goes on with an item begins with the token before it, made `only_read`; its own
    tokens then move one to the left, and the last is missing. Returns shapes (B, L) and (B,).
    """
    import torch  # here, so that the words of a space are known without it

    goes_on = x[:, 0] < MISSING_TOKEN
    before = torch.where(goes_on, only_read(x[:, 0]), MISSING_TOKEN)
    moved = torch.cat((x[:, 1:], torch.full_like(x[:, :1], MISSING_TOKEN)), 1)
    return torch.where(goes_on[:, None], moved, x), before


def without_end(x: Tensor, space: Tokens) -> Tensor:
    """The tokens with each `end` made missing: what a likelihood of the items' own content is taken of.

    x: shape (B, L). What is missing counts as nothing, so that an item stands for all that begin like it.
    """
    return x if space.end is None else x.masked_fill(x == space.end, MISSING_TOKEN)


def to_index(x: Tensor, levels: int) -> Tensor:
    """Which of the `levels` bins of width 2 / levels in [-1, 1] each value is in: int64 in [0, levels)."""
    return ((x + 1) * (levels / 2)).floor().long().clamp(0, levels - 1)


def from_index(index: Tensor, levels: int) -> Tensor:
    """The middles of the bins `index`."""
    return (2 * index + 1) / levels - 1


def missing(space: Space, count: int) -> Tensor:
    """`count` items of which nothing is known: (count, *shape) of NaN, or (count, length) of MISSING_TOKEN."""
    import torch  # here, so that the words of a space are known without it

    if isinstance(space, Tokens):
        return torch.full((count, space.length), MISSING_TOKEN)
    return torch.full((count, *space.shape), float("nan"))


def drop(c: dict[str, Tensor] | None, where: Tensor) -> dict[str, Tensor] | None:
    """The condition `c` made missing in the rows where `where`, with shape (B,), is True."""
    if c is None:
        return None
    dropped = {}
    for name, value in c.items():
        missing = float("nan") if value.is_floating_point() else MISSING_TOKEN
        dropped[name] = value.masked_fill(where.view(-1, *[1] * (value.dim() - 1)), missing)
    return dropped
