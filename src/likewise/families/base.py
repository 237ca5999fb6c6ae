"""A family: a way to learn a distribution over a space, and to draw from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from likewise.backbones.base import Backbone, Role
from likewise.draws import Draws
from likewise.spaces import Condition, Space, drop


class Sampling(BaseModel):
    """How a family draws: the settings that can still be changed when the model is trained (`--set steps=8`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Family(BaseModel, ABC):
    """The settings of a family, and how to build its model. Subclasses add fields and a literal `name`."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    sampling: Sampling = Sampling()

    @abstractmethod
    def roles(self, target: Space) -> dict[Role, Space] | str:
        """The roles a backbone must fill to learn `target`, or why this family cannot, as a clause.

        For example {"denoiser": target}, or "gan needs continuous values: a choice between tokens has no gradient".
        """

    @abstractmethod
    def build(self, target: Space, condition: Condition, backbone: Backbone) -> Model:
        """The untrained model. `assemble` has checked the fit."""


class Model(nn.Module, ABC):
    """A generative model of p(x | c): what the training loop and the verbs see of every family.

    `x` is a batch in `target`, `c` a dict of batches in the spaces of `condition`, or None for "any"; missing values
    in it mean "any" too (see `spaces`).
    """

    #: "exact": log_likelihood is log p(x|c); "bound": a lower bound of it; None: it has none. An instance may know
    #: better than its class: a density over one-hot channels, for example, means nothing.
    likelihood: Literal["exact", "bound"] | None = None
    #: how log_likelihood is computed, in a few words that stand beside it in a report
    likelihood_how: str = ""

    def __init__(self, target: Space, condition: Condition) -> None:
        super().__init__()
        self.target = target
        self.condition = condition

    def players(self) -> dict[str, nn.Module]:
        """Who is trained, each by its own optimizer, in the order of their turns."""
        return {"model": self}

    @abstractmethod
    def loss(self, x: Tensor, c: dict[str, Tensor] | None, player: str, draws: Draws) -> dict[str, Tensor]:
        """The terms whose sum `player` minimizes, each a scalar that is a mean over the batch's items.

        A term that is only to be watched, not minimized, is detached (its gradient is then zero) and named with a
        leading underscore; the loop leaves those out of the sum. Means are over items (never over the tokens of one
        batch), so that accumulated small batches equal a big one.
        """

    def set_progress(self, step: int, steps: int) -> None:
        """Told before each step, for schedules such as KL warm-up; must be a pure function of its arguments."""

    @abstractmethod
    def sample(self, c: dict[str, Tensor] | None, draws: Draws, settings: Sampling) -> Tensor:
        """Draw draws.batch items: (B, *shape), or (B, length) padded with `end`. Row b must not depend on others."""

    def held_out(self, x: Tensor, c: dict[str, Tensor] | None, draws: Draws) -> tuple[Tensor, Tensor] | None:
        """What early stopping watches, lower is better: (values, weights), each (B,); the loss is sum(v) / sum(w).

        None where there is no such number (a GAN).
        """
        return None

    def log_likelihood(self, x: Tensor, c: dict[str, Tensor] | None, draws: Draws) -> Tensor:
        """log p(x|c) in nats, shape (B,), or a bound on it. Of a density in x's own units for Continuous."""
        raise NotImplementedError(f"{type(self).__name__} has no likelihood")

    def discriminate(self, x: Tensor, c: dict[str, Tensor] | None = None) -> Tensor:
        """How real the model itself takes items to be, shape (B,), higher = more real: if it has a discriminator."""
        raise NotImplementedError(f"{type(self).__name__} has no discriminator; gan has one")


def drop_some(c: dict[str, Tensor] | None, rate: float, draws: Draws) -> dict[str, Tensor] | None:
    """The condition, made missing in a share `rate` of the items, so that the networks also learn p(x).

    This is what classifier-free guidance needs (Ho and Salimans, 2022), and what sampling without a condition uses.
    """
    if not c or rate == 0:
        return c
    return drop(c, draws.uniform() < rate)
