"""A family: a way to learn a distribution over a space, and to draw from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from torch import Tensor, nn

from likewise.backbones.base import Attention, Backbone, Role
from likewise.draws import Draws
from likewise.spaces import Condition, Continuous, Space, Tokens, Unfit, drop


class Sampling(BaseModel):
    """How a family draws: the settings that can still be changed when the model is trained (`--set steps=8`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="float32", description="of products and convolutions; auto: bfloat16 where hardware has it"
    )
    #: the settings of each row of a batch, where they differ (see `Family.by_row`); the fields are then the first row's
    _rows: tuple[Sampling, ...] = PrivateAttr(default=())

    @property
    def rows(self) -> tuple[Self, ...]:
        """The settings of each row of a batch; empty where all rows have these."""
        return self._rows  # pyright: ignore[reportReturnType]

    def groups(self) -> list[tuple[Self, Tensor | None]]:
        """The different settings of a batch, each with its rows, int64; one, with None for all rows, where all agree.

        A family computes each row with the settings of its group, by the same operations as if all rows had them: so
        the bits of a row are those of a batch of one setting.
        """
        if not self._rows:
            return [(self, None)]
        rows: dict[Sampling, list[int]] = {}
        for place, own in enumerate(self._rows):
            rows.setdefault(own, []).append(place)
        return [(own, torch.tensor(places)) for own, places in rows.items()]  # pyright: ignore[reportReturnType]


class Graph(NamedTuple):
    """What of drawing is a fixed function of tensors: what another program needs of a model to draw by itself."""

    #: the shape of each input but for the batch, by name; () of a number for each item
    inputs: dict[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    #: (the inputs in their order, the condition) -> the outputs in theirs
    compute: Callable[[Sequence[Tensor], dict[str, Tensor] | None], tuple[Tensor, ...]]


class Family(BaseModel, ABC):
    """The settings of a family, and how to build its model. Subclasses add fields and a literal `name`."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    part_kind: ClassVar[str] = "family"
    #: whether networks are trained; a family without any learns by `Model.observe` alone, on the backbone "none"
    has_networks: ClassVar[bool] = True
    #: whether items longer than the target's length are learned and scored too, window by window (`Tokens.windows`)
    windows: ClassVar[bool] = False
    #: whether its models have a `posterior`, so that others can learn and draw its latents
    autoencodes: ClassVar[bool] = False
    #: whether its models draw items by themselves; a codec only makes codes of items, for others to learn and draw
    generates: ClassVar[bool] = True
    #: whether items of a ragged space, which have lengths of their own, are learned (see `Continuous`)
    ragged: ClassVar[bool] = False
    #: the settings of sampling that may differ between the rows of a batch
    per_row: ClassVar[frozenset[str]] = frozenset()

    sampling: Sampling = Sampling()

    @abstractmethod
    def roles(self, target: Space) -> dict[Role, Space] | str:
        """The roles a backbone must fill to learn `target`, or why this family cannot, as a clause.

        For example {"denoiser": target}, or "gan needs continuous values: a choice between tokens has no gradient".
        """

    def by_row(self, rows: Sequence[Sampling]) -> Sampling:
        """The settings of a batch whose row b has the settings rows[b].

        Raises ValueError, which names the setting, where the family draws a batch with one value of it.
        """
        first = rows[0]
        if all(own == first for own in rows):
            return first
        for name in type(first).model_fields:
            if name not in self.per_row and any(getattr(own, name) != getattr(first, name) for own in rows):
                can = f"only {', '.join(sorted(self.per_row))} may" if self.per_row else "no setting may"
                raise ValueError(
                    f"{name}: {getattr(self, 'name', 'this family')} draws a batch with one value of it, and {can} "
                    "differ by row; draw these samples apart"
                )
        mixed = first.model_copy()
        mixed._rows = tuple(rows)
        return mixed

    def unfit_condition(self, condition: Condition) -> str | None:
        """Why this family cannot learn given `condition`, as a clause; None if it can, as networks always can."""
        return None

    def settled(self, target: Space, condition: Condition, items: int) -> Family:
        """These settings with what they leave to the data decided; `items` are learned from."""
        return self

    def latents(self, target: Space) -> Continuous:
        """What `Model.posterior` says of items of `target`; only where the family `autoencodes`."""
        raise NotImplementedError(f"{type(self).__name__} finds no latents of items")

    def codebook(self, target: Space) -> Tokens | None:
        """What `Model.codes` makes of items of `target`; None where there are no codes."""
        return None

    @abstractmethod
    def build(self, target: Space, condition: Condition, backbone: Backbone) -> Model:
        """The untrained model. `assemble` has checked the fit."""


class Model(nn.Module, ABC):
    """A generative model of p(x | c): what the training loop and the verbs see of every family.

    `x` is a batch in `target`, `c` a dict of batches in the spaces of `condition`, or None for "any"; missing values
    in it mean "any" too (see `spaces`).
    """

    #: whether the weights of the last step draw, and not those of the least held-out loss, which then ends no training
    draws_last: bool = False
    #: "exact": log_likelihood is log p(x|c); "bound": a lower bound of it; None: it has none. An instance may know
    #: better than its class: a density over one-hot channels, for example, means nothing.
    likelihood: Literal["exact", "bound"] | None = None
    #: where there are no players: how many items, at most, `observe` is shown, each once
    observes: int = 0
    #: how log_likelihood is computed, in a few words that stand beside it in a report
    likelihood_how: str = ""
    #: whether `sample` takes prefix, constraint and on_token too, as a family does that draws tokens in their order
    steerable: ClassVar[bool] = False
    #: whether `sample` takes `edited` too (see `families.editing`); an instance may know better than its class
    editable: bool = False

    @property
    def likelihood_passes(self) -> int:
        """How many passes through a network `log_likelihood` takes for an item, about: what it costs."""
        return 1

    def __init__(self, target: Space, condition: Condition) -> None:
        super().__init__()
        self.target = target
        self.condition = condition

    def players(self) -> dict[str, nn.Module]:
        """Who is trained, each by its own optimizer, in the order of their turns; none where `observe` does it all."""
        return {"model": self}

    @abstractmethod
    def loss(self, x: Tensor, c: dict[str, Tensor] | None, player: str, draws: Draws) -> dict[str, Tensor]:
        """The terms whose sum `player` minimizes, each a scalar that is a mean over the batch's items.

        A term that is only to be watched, not minimized, is detached (its gradient is then zero) and named with a
        leading underscore; the loop leaves those out of the sum. Means are over items (never over the tokens of one
        batch), so that accumulated small batches equal a big one.
        """

    def observe(self, x: Tensor, c: dict[str, Tensor] | None) -> None:
        """Take in items of a single pass over the data, in a random order: how a model without players learns."""
        raise NotImplementedError(f"{type(self).__name__} is trained by its players")

    def make_room(self, weights: Mapping[str, Tensor]) -> None:
        """Give buffers whose length depends on the data the length they have in `weights`, which are then loaded."""

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next((t.device for t in chain(self.parameters(), self.buffers())), torch.device("cpu"))

    def set_progress(self, step: int, steps: int) -> None:
        """Told before each step, for schedules such as KL warm-up.

        What it does hangs on its arguments alone, and on what a checkpoint holds.
        """

    @abstractmethod
    def sample(self, c: dict[str, Tensor] | None, draws: Draws, settings: Sampling) -> Tensor:
        """Draw draws.batch items: (B, *shape), or (B, length) padded with `end`. Row b must not depend on others."""

    def longest(self, settings: Sampling) -> int:
        """How many tokens a sample has at most; only of tokens. Raises ValueError for more than the model can draw."""
        assert isinstance(self.target, Tokens)
        return self.target.length

    def draws_alone(self, settings: Sampling, block: int) -> bool:
        """Whether `sample` gives an item the same bits in any batch of up to `block`: then none is drawn for nothing.

        Elsewhere items are computed in blocks of one size, as products of other shapes round otherwise.
        """
        return False

    def held_out(self, x: Tensor, c: dict[str, Tensor] | None, draws: Draws) -> tuple[Tensor, Tensor] | None:
        """What early stopping watches, lower is better: (values, weights), each (B,); the loss is sum(v) / sum(w).

        None where there is no such number (a GAN).
        """
        return None

    def log_likelihood(self, x: Tensor, c: dict[str, Tensor] | None, draws: Draws) -> Tensor:
        """log p(x|c) in nats, shape (B,), or a bound on it. Of a density in x's own units for Continuous.

        Of tokens, missing ones count as nothing (see `spaces.without_end`).
        """
        raise Unfit(f"{type(self).__name__} has no likelihood")

    def latent(self, draws: Draws) -> Tensor:
        """What a sample starts from, shape (B, *any), standard normal; `sample` is `from_latent` of it."""
        raise Unfit("the family draws token by token, from no latent")

    def from_latent(self, z: Tensor, c: dict[str, Tensor] | None, draws: Draws, settings: Sampling) -> Tensor:
        """The items that the latents z, as `latent` gives them, become; shape as of `sample`."""
        raise Unfit("the family has no latent")

    def encode(self, x: Tensor, c: dict[str, Tensor] | None, settings: Sampling) -> Tensor:
        """The latents that items would come from, shape as of `latent`: of them, `from_latent` makes nearly x again."""
        raise Unfit("the family knows no way from an item to a latent; vae and flow do")

    def posterior(self, x: Tensor, c: dict[str, Tensor] | None) -> tuple[Tensor, Tensor]:
        """The normal distribution of the latents that each item may come from: its mean and its scale.

        Shape (B, *latents.shape) each. A scale of 0 says that there is no doubt.
        """
        raise Unfit("the family learns no distribution of an item's latents; vae does")

    def graph(self) -> Graph:
        """What of drawing can be computed elsewhere; see `Graph`. Raises ValueError, a clause, where nothing can."""
        raise ValueError("the family has no network that draws at once; gan, vae and flow have")

    def codes(self, x: Tensor) -> Tensor:
        """The items as codes: int64, shape (B, length), as the family's `codebook` says."""
        raise Unfit("the family has no codes; codec does")

    def from_codes(self, codes: Tensor) -> Tensor:
        """The items that codes, shape (B, length), become; shape as of `sample`."""
        raise Unfit("the family has no codes; codec does")

    def surprisal(self, x: Tensor, c: dict[str, Tensor] | None) -> Tensor:
        """-log p of each token given those before it and c, in nats, shape (B, L); 0 for tokens that do not count."""
        raise Unfit("the family does not predict token by token; autoregressive does")

    def attention(self, x: Tensor, c: dict[str, Tensor] | None) -> Attention:
        """Where the network looked as it predicted each token of x (see `backbones.base.Attention`)."""
        raise Unfit("the family does not predict token by token; autoregressive does")

    def discriminate(self, x: Tensor, c: dict[str, Tensor] | None) -> Tensor:
        """How real the model's own judge takes items to be, in logits, shape (B,); it can be differentiated by x."""
        raise Unfit("the family has no discriminator; gan has")


def drop_some(c: dict[str, Tensor] | None, rate: float, draws: Draws) -> dict[str, Tensor] | None:
    """The condition, made missing in a share `rate` of the items, so that the networks also learn p(x).

    This is what classifier-free guidance needs (Ho and Salimans, 2022), and what sampling without a condition uses.
    """
    if not c or rate == 0:
        return c
    return drop(c, draws.uniform() < rate)
