"""Baselines: simple models in closed form. Each is a family, so it is sampled and evaluated like all others.

They train no network: a random subset of the data is kept in memory, and the closed form of `classical` is estimated
from it on demand. With labels as condition, each label has its own estimate.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from likewise.backbones.base import Backbone, Predictor, Role
from likewise.classical import copula, gaussian, marginals, resample
from likewise.classical.kneser_ney import KneserNey
from likewise.draws import Draws
from likewise.errors import Message, Setting
from likewise.families.base import Family, Model, Sampling
from likewise.families.decoder_distributions import dequantise
from likewise.families.decoding import TokenRules, TokenSampling, allowed, decode, token_nll
from likewise.families.reservoir import Reservoir
from likewise.spaces import MISSING_TOKEN, Condition, Continuous, Space, Tokens, token_mask

#: Maximum number of label combinations whose estimates are cached.
_CACHED = 64


class Baseline(Family):
    """Settings of a family that stores data instead of training networks."""

    has_networks: ClassVar[bool] = False
    memory: int = Field(
        default=32, ge=1, description="MiB of training items that are stored; of larger data, a random subset"
    )

    @abstractmethod
    def unable(self, target: Space) -> str | None:
        """Why it cannot learn `target`, as a clause; None if it can."""

    @abstractmethod
    def estimate(self, x: Tensor, target: Space) -> Any:
        """The fitted estimate of items x, shape (N, *shape), N >= 1."""

    def draw(self, estimate: Any, draws: Draws, settings: Sampling) -> Tensor:
        """Items sampled from `estimate`'s result, shape (B, *shape)."""
        return estimate.sample(draws)

    def log_prob(self, estimate: Any, x: Tensor, draws: Draws) -> Tensor:
        """Log-likelihood in nats by `estimate`'s result, shape (B,); only where it is exact."""
        return estimate.log_prob(x)

    def exact(self, target: Space) -> bool:
        """Whether the exact likelihood of `target` is available."""
        return False

    def roles(self, target: Space) -> dict[Role, Space] | str:
        return self.unable(target) or {}

    def unfit_condition(self, condition: Condition) -> str | None:
        for name, space in condition.items():
            if not isinstance(space, Tokens) or space.length != 1:
                own = getattr(self, "name", "")
                return Message(
                    f"{own} needs labels as conditions, and {name} is none: train with ",
                    Setting("unconditional"),
                    ", or another family",
                )
        return None

    def build(self, target: Space, condition: Condition, backbone: Backbone) -> Model:
        return BaselineModel(self, target, condition)


class Resample(Baseline):
    """Settings of resampling with noise: a model that has memorised its data."""

    name: Literal["resample"] = "resample"
    noise: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="noise relative to a number's standard deviation; probability of swapping a category or token",
    )

    def unable(self, target: Space) -> str | None:
        return None

    def estimate(self, x: Tensor, target: Space) -> Any:
        return resample.Resample(x, target, self.noise)


class Marginals(Baseline):
    """Settings of independent marginals."""

    name: Literal["marginals"] = "marginals"

    def unable(self, target: Space) -> str | None:
        return None

    def exact(self, target: Space) -> bool:
        return True

    def estimate(self, x: Tensor, target: Space) -> Any:
        return marginals.Marginals(x, target)


class Gaussian(Baseline):
    """Settings of a full-covariance Gaussian."""

    name: Literal["gaussian"] = "gaussian"

    def unable(self, target: Space) -> str | None:
        if isinstance(target, Continuous):
            return None
        return "gaussian is a density of real values, and these are tokens"

    def exact(self, target: Space) -> bool:
        return isinstance(target, Continuous) and not target.choices  # a density over one-hot channels is meaningless

    def estimate(self, x: Tensor, target: Space) -> Any:
        assert isinstance(target, Continuous)
        return gaussian.Gaussian(x, target)

    def log_prob(self, estimate: Any, x: Tensor, draws: Draws) -> Tensor:
        levels = estimate.space.levels
        return estimate.log_prob(dequantise(x, levels, draws) if levels else x)


class Copula(Baseline):
    """Settings of a Gaussian copula: empirical marginals with Gaussian dependence."""

    name: Literal["copula"] = "copula"

    def unable(self, target: Space) -> str | None:
        if isinstance(target, Tokens) and target.end is not None:
            return "copula needs items of one length, and these have different lengths"
        return None

    def estimate(self, x: Tensor, target: Space) -> Any:
        return copula.Copula(x, target)


class NGram(Baseline):
    """Settings of an n-gram model of tokens, with Kneser-Ney smoothing."""

    name: Literal["ngram"] = "ngram"
    order: int = Field(default=6, ge=1, le=16, description="n: tokens per n-gram, the predicted one included")
    sampling: TokenSampling = TokenSampling()

    def unable(self, target: Space) -> str | None:
        if isinstance(target, Tokens):
            return None
        return "ngram counts n-grams of tokens, and these are real values"

    def exact(self, target: Space) -> bool:
        return True

    def estimate(self, x: Tensor, target: Space) -> Any:
        assert isinstance(target, Tokens)
        return NGramPredictor(KneserNey(*_flat(x, target), target.vocabulary, self.order), target)

    def draw(self, estimate: Any, draws: Draws, settings: Sampling) -> Tensor:
        assert isinstance(settings, TokenSampling)
        return decode(estimate, estimate.space, None, draws, settings, TokenRules(estimate.possible))

    def log_prob(self, estimate: Any, x: Tensor, draws: Draws) -> Tensor:
        if estimate.possible is None:
            return torch.from_numpy(estimate.counts.log_prob(*_flat(x, estimate.space)))
        # The probability of tokens that cannot occur at a position is redistributed among those that can.
        return -token_nll(estimate(x), x, estimate.space, estimate.possible).double().sum(1)


class NGramPredictor(Predictor):
    """An n-gram model with the interface of a predictor, for the same sampling loop."""

    possible: Tensor | None

    def __init__(self, counts: KneserNey, space: Tokens) -> None:
        super().__init__()
        self.counts, self.space = counts, space
        self.register_buffer("possible", allowed(space), persistent=False)

    def forward(self, x: Tensor, c: dict[str, Tensor] | None = None) -> Tensor:
        logits, state = [], self.start(len(x))
        for token in (None, *x.T[:-1]):
            found, state = self.step(token, state)
            logits.append(found)
        return torch.stack(logits, 1)

    def start(self, batch: int, c: dict[str, Tensor] | None = None) -> Any:
        return self.counts.start(batch)

    def step(self, token: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        if token is not None:
            state = self.counts.follow(state, token.numpy())
        return torch.from_numpy(self.counts.chances(state)).log(), state


def _flat(x: Tensor, space: Tokens) -> tuple[Any, Any]:
    """The valid tokens, concatenated, and the number of each item. x: shape (N, L)."""
    if space.end is None:
        return x.flatten().numpy(), np.full(len(x), x.shape[1])
    counted = token_mask(x, space)
    return x[counted].numpy(), counted.sum(1).numpy()


class BaselineModel(Model):
    """The stored items, and the estimates fitted to them."""

    def __init__(self, settings: Baseline, target: Space, condition: Condition) -> None:
        super().__init__(target, condition)
        self.settings = settings
        self.reservoir = Reservoir(target, condition, settings.memory * 2**20)
        self.observes = self.reservoir.capacity
        self.likelihood = "exact" if settings.exact(target) else None
        self._estimates: dict[tuple[int, ...], Any] = {}

    def players(self) -> dict[str, nn.Module]:
        return {}

    def loss(self, x: Tensor, c: dict[str, Tensor] | None, player: str, draws: Draws) -> dict[str, Tensor]:
        raise NotImplementedError("a baseline has no loss: it learns by `observe`")

    @torch.no_grad()
    def observe(self, x: Tensor, c: dict[str, Tensor] | None) -> None:
        self.reservoir.add(x, c)
        self._estimates.clear()

    def make_room(self, weights: Mapping[str, Tensor]) -> None:
        prefix = "reservoir."
        self.reservoir.make_room({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        self.make_room(state_dict)
        self._estimates.clear()
        return super().load_state_dict(state_dict, strict, assign)

    @torch.no_grad()
    def sample(self, c: dict[str, Tensor] | None, draws: Draws, settings: Sampling) -> Tensor:
        """Draw items, shape (B, *shape), or tokens (B, length)."""
        labels = self._labels(c, draws.batch)
        # Each label's items are drawn for the whole batch, and some are used: products of other shapes round
        # differently.
        drawn = {
            key: self.settings.draw(self._estimate_for(key), copy.copy(draws), settings)
            for key in dict.fromkeys(labels)
        }
        return torch.stack([drawn[key][row] for row, key in enumerate(labels)])

    @torch.no_grad()
    def held_out(self, x: Tensor, c: dict[str, Tensor] | None, draws: Draws) -> tuple[Tensor, Tensor] | None:
        """Nats of each item, and as weights its number of tokens, or 1. None without a likelihood."""
        if self.likelihood is None:
            return None
        nats = -self.log_likelihood(x, c, draws)
        many = token_mask(x, self.target).sum(1).double() if isinstance(self.target, Tokens) else torch.ones_like(nats)
        return nats, many

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, c: dict[str, Tensor] | None, draws: Draws) -> Tensor:
        """log p(x|c) in nats, shape (B,), float64; for real values a density in x's units."""
        if self.likelihood is None:
            return super().log_likelihood(x, c, draws)
        labels = self._labels(c, len(x))
        each = {
            key: self.settings.log_prob(self._estimate_for(key), x, copy.copy(draws)) for key in dict.fromkeys(labels)
        }
        return torch.stack([each[key][row] for row, key in enumerate(labels)])

    def _labels(self, c: dict[str, Tensor] | None, batch: int) -> list[tuple[int, ...]]:
        names = self.reservoir.names
        if not names or c is None:
            return [(MISSING_TOKEN,) * len(names)] * batch
        return [tuple(row) for row in torch.cat([c[name] for name in names], 1).tolist()]

    def _estimate_for(self, labels: tuple[int, ...]) -> Any:
        if not len(self.reservoir):
            raise ValueError("this model has not seen any data yet: train it")
        if labels not in self._estimates:
            if len(self._estimates) >= _CACHED:
                self._estimates.pop(next(iter(self._estimates)))
            self._estimates[labels] = self.settings.estimate(self.reservoir.take(labels), self.target)
        return self._estimates[labels]
