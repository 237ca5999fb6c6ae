"""Families: ways to learn a distribution over a space, and to sample from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from torch import Tensor, nn

from likewise import catalog
from likewise.backbones.base import Attention, Backbone, Role
from likewise.draws import Draws
from likewise.errors import listed
from likewise.spaces import Condition, Continuous, Space, Tokens, Unfit, drop


class Sampling(BaseModel):
    """Sampling settings of a family; they can be changed after training (`--set steps=8`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="float32",
        description="of matrix products and convolutions; auto: bfloat16 where the hardware supports it",
    )
    #: The settings of each row of a batch, where they differ (see `Family.by_row`); the fields are those of the first
    #: row.
    _rows: tuple[Sampling, ...] = PrivateAttr(default=())

    @property
    def rows(self) -> tuple[Self, ...]:
        """The settings of each row of a batch; empty where all rows share one setting."""
        return self._rows  # pyright: ignore[reportReturnType]

    def groups(self) -> list[tuple[Self, Tensor | None]]:
        """The distinct settings of a batch, each with its row indices, int64; one with None where all rows agree.

        A family computes the rows of each group by the same operations as a batch with one setting, so their bits are
        equal.
        """
        if not self._rows:
            return [(self, None)]
        rows: dict[Sampling, list[int]] = {}
        for place, own in enumerate(self._rows):
            rows.setdefault(own, []).append(place)
        return [(own, torch.tensor(places)) for own, places in rows.items()]  # pyright: ignore[reportReturnType]


class Graph(NamedTuple):
    """The part of sampling that can be exported as a static graph."""

    #: The shape of each input without the batch dimension, by name; () for a scalar per item.
    inputs: dict[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    #: (inputs in order, condition) -> outputs in order.
    compute: Callable[[Sequence[Tensor], dict[str, Tensor] | None], tuple[Tensor, ...]]


class Family(BaseModel, ABC):
    """The settings of a family, and how to build its model. Subclasses add fields and a literal `name`."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    part_kind: ClassVar[str] = "family"
    #: Whether networks are trained; a family without networks learns by `Model.observe`, with the backbone "none".
    has_networks: ClassVar[bool] = True
    #: Whether items longer than the target's length are learned and scored, window by window (`Tokens.windows`).
    windows: ClassVar[bool] = False
    #: Whether its models have a `posterior`, so that another family can model its latents.
    autoencodes: ClassVar[bool] = False
    #: Whether its models generate items; a codec only encodes them as codes for another family.
    generates: ClassVar[bool] = True
    #: Whether it can learn items of a ragged space, which have different lengths (see `Continuous`).
    ragged: ClassVar[bool] = False
    #: The sampling settings that may differ between the rows of a batch.
    per_row: ClassVar[frozenset[str]] = frozenset()

    #: optional abilities of its models, by the name of the attribute of `Model`; refusals list the families with one
    abilities: ClassVar[frozenset[str]] = frozenset()

    sampling: Sampling = Sampling()

    @abstractmethod
    def roles(self, target: Space) -> dict[Role, Space] | str:
        """The roles that a backbone must fill to learn `target`, or why this family cannot learn it, as a clause.

        For example {"denoiser": target}, or "gan needs a gradient from item to generator, and tokens have none".
        """

    def by_row(self, rows: Sequence[Sampling]) -> Sampling:
        """The settings of a batch whose row b has the settings rows[b].

        Raises ValueError, which names the setting, if one that cannot differ between rows does.
        """
        first = rows[0]
        if all(own == first for own in rows):
            return first
        for name in type(first).model_fields:
            if name not in self.per_row and any(getattr(own, name) != getattr(first, name) for own in rows):
                can = f"only {', '.join(sorted(self.per_row))} may" if self.per_row else "no setting may"
                raise ValueError(
                    f"{name}: {getattr(self, 'name', 'this family')} uses one value for a whole batch, and {can} "
                    "differ by row; draw these samples separately"
                )
        mixed = first.model_copy()
        mixed._rows = tuple(rows)
        return mixed

    def unfit_condition(self, condition: Condition) -> str | None:
        """Why this family cannot use `condition`, as a clause; None if it can, as networks always can."""
        return None

    def settled(self, target: Space, condition: Condition, items: int) -> Family:
        """These settings, with those that depend on the data resolved; items: the number of training items."""
        return self

    def latents(self, target: Space) -> Continuous:
        """The space of the latents of `Model.posterior`; only where the family `autoencodes`."""
        raise NotImplementedError(f"{type(self).__name__} has no latents of items")

    def codebook(self, target: Space) -> Tokens | None:
        """The space of `Model.codes` for items of `target`; None where there are no codes."""
        return None

    @abstractmethod
    def build(self, target: Space, condition: Condition, backbone: Backbone) -> Model:
        """Build the untrained model. `assemble` has checked that the parts fit."""


class Model(nn.Module, ABC):
    """A generative model of p(x | c), as seen by the training loop and the verbs.

    `x` is a batch in `target`, `c` a dict of batches in the spaces of `condition`, or None for "any"; missing values in
    it mean "any" too (see `spaces`).
    """

    #: Whether sampling uses the last weights instead of those with the lowest validation loss, without early stopping.
    draws_last: bool = False
    #: "exact": log_likelihood is log p(x|c); "bound": a lower bound; None: no likelihood. An instance may override its
    #: class: a density over one-hot channels, for example, is meaningless.
    likelihood: Literal["exact", "bound"] | None = None
    #: For models without players: the maximum number of items passed to `observe`, each once.
    observes: int = 0
    #: How log_likelihood is computed, in a few words for reports.
    likelihood_how: str = ""
    #: Whether `sample` accepts prefix, constraint and on_token, as sequential token models do.
    steerable: ClassVar[bool] = False
    #: Whether `sample` accepts `edited` (see `families.editing`); an instance may override its class.
    editable: bool = False

    @property
    def likelihood_passes(self) -> int:
        """The approximate number of network passes per item of `log_likelihood`."""
        return 1

    def __init__(self, target: Space, condition: Condition) -> None:
        super().__init__()
        self.target = target
        self.condition = condition

    def players(self) -> dict[str, nn.Module]:
        """The modules trained by separate optimizers, in order; empty where `observe` does all training."""
        return {"model": self}

    @abstractmethod
    def loss(self, x: Tensor, c: dict[str, Tensor] | None, player: str, draws: Draws) -> dict[str, Tensor]:
        """The loss terms of `player`, each a scalar mean over the batch's items; their sum is minimized.

        A term that is only logged is detached and named with a leading underscore; the loop excludes it from the sum.
        Means are over items, never over the tokens of one batch, so that accumulated small batches equal one large
        batch.
        """

    def observe(self, x: Tensor, c: dict[str, Tensor] | None) -> None:
        """Learn from items of a single pass over the data, in random order, for models without players."""
        raise NotImplementedError(f"{type(self).__name__} is trained by its players")

    def make_room(self, weights: Mapping[str, Tensor]) -> None:
        """Resize buffers whose length depends on the data to their length in `weights`, before these are loaded."""

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return next((t.device for t in chain(self.parameters(), self.buffers())), torch.device("cpu"))

    def set_progress(self, step: int, steps: int) -> None:
        """Called before each step, for schedules such as KL warm-up.

        The effect depends only on the arguments and on the contents of checkpoints.
        """

    @abstractmethod
    def sample(self, c: dict[str, Tensor] | None, draws: Draws, settings: Sampling) -> Tensor:
        """Draw draws.batch items: (B, *shape), or (B, length) padded with `end`. Row b must not depend on others."""

    def longest(self, settings: Sampling) -> int:
        """The maximum number of tokens of a sample; tokens only. Raises ValueError if the setting exceeds the model."""
        assert isinstance(self.target, Tokens)
        return self.target.length

    def draws_alone(self, settings: Sampling, block: int) -> bool:
        """Whether `sample` gives an item the same bits in any batch of up to `block`, so that no padding items are
        drawn.

        Other models compute blocks of a fixed size, as products of other shapes round differently.
        """
        return False

    def held_out(self, x: Tensor, c: dict[str, Tensor] | None, draws: Draws) -> tuple[Tensor, Tensor] | None:
        """The validation loss for early stopping: (values, weights), each (B,); the loss is sum(values) / sum(weights).

        None where there is none (a GAN).
        """
        return None

    def log_likelihood(self, x: Tensor, c: dict[str, Tensor] | None, draws: Draws) -> Tensor:
        """log p(x|c) in nats, shape (B,), or a bound on it; for Continuous, a density in x's units.

        Missing tokens contribute nothing (see `spaces.without_end`). Raises Unfit where there is no likelihood.
        """
        raise Unfit(f"{type(self).__name__} has no likelihood")

    def latent(self, draws: Draws) -> Tensor:
        """Draw the latent that a sample is computed from, shape (B, *any), standard normal; see `from_latent`."""
        raise lacks("the family generates token by token and has no latent", "latent")

    def from_latent(self, z: Tensor, c: dict[str, Tensor] | None, draws: Draws, settings: Sampling) -> Tensor:
        """The samples of latents z from `latent`; shape as of `sample`."""
        raise lacks("the family has no latent", "latent")

    def encode(self, x: Tensor, c: dict[str, Tensor] | None, settings: Sampling) -> Tensor:
        """The latents of items, shape as of `latent`; `from_latent` approximately reconstructs x from them."""
        raise lacks("the family does not encode items as latents", "encode")

    def posterior(self, x: Tensor, c: dict[str, Tensor] | None) -> tuple[Tensor, Tensor]:
        """The normal posterior of each item's latents: mean and standard deviation, shape (B, *latents.shape) each.

        A standard deviation of 0 means that the latents are deterministic.
        """
        raise lacks("the family has no posterior over an item's latents", "posterior")

    def graph(self) -> Graph:
        """The exportable part of sampling; see `Graph`. Raises ValueError, with a clause, where there is none."""
        raise lacks("the family has no network to export", "graph")

    def codes(self, x: Tensor) -> Tensor:
        """The items as codes: int64, shape (B, length), in the family's `codebook` space."""
        raise lacks("the family has no codes", "codes")

    def from_codes(self, codes: Tensor) -> Tensor:
        """The items decoded from codes, shape (B, length); shape as of `sample`."""
        raise lacks("the family has no codes", "codes")

    def surprisal(self, x: Tensor, c: dict[str, Tensor] | None) -> Tensor:
        """-log p of each token given the previous ones and c, in nats, shape (B, L); 0 for masked tokens."""
        raise lacks("the family does not predict token by token", "surprisal")

    def attention(self, x: Tensor, c: dict[str, Tensor] | None) -> Attention:
        """The attention weights when predicting each token of x (see `backbones.base.Attention`)."""
        raise lacks("the family does not predict token by token", "surprisal")

    def discriminate(self, x: Tensor, c: dict[str, Tensor] | None) -> Tensor:
        """The discriminator's logits, shape (B,), higher for more realistic items; differentiable in x."""
        raise lacks("the family has no discriminator", "discriminate")


def able(ability: str) -> list[str]:
    """The families whose models have an ability (see `Family.abilities`), by the catalog."""
    return [name for name in catalog.names("family") if ability in catalog.find("family", name).abilities]


def lacks(what: str, ability: str) -> Unfit:
    """The refusal of a model without an ability. what: a clause; the families whose models have it are added."""
    return Unfit(what, fix=f"{listed(able(ability))} can" if able(ability) else "")


def drop_some(c: dict[str, Tensor] | None, rate: float, draws: Draws) -> dict[str, Tensor] | None:
    """Drop the condition of a share `rate` of the items, so that the networks also learn p(x).

    Needed for classifier-free guidance (Ho and Salimans, 2022), and for unconditional sampling.
    """
    if not c or rate == 0:
        return c
    return drop(c, draws.uniform() < rate)
