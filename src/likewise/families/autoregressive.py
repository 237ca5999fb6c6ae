"""Autoregressive models: p(x|c) = prod_i p(x_i | x_<i, c), trained by maximum likelihood.

Bengio et al., "A neural probabilistic language model" (2003); the likelihood is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from likewise.backbones.base import Attention, Backbone, Role
from likewise.draws import Draws
from likewise.errors import Message, Setting, UserError
from likewise.families.base import Family, Model, Sampling, drop_some
from likewise.families.beam import BeamSettings, beam_search
from likewise.families.decoding import PER_ROW, Constraint, TokenRules, TokenSampling, allowed, decode, token_nll
from likewise.families.windows import describe_context, long_nll
from likewise.spaces import Condition, Space, Tokens, split_before, token_mask


class AutoregressiveSampling(TokenSampling):
    """Sampling settings of autoregressive models."""

    guidance_scale: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="guidance scale; above 1 follows the condition more closely"
    )
    beams: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="beam search with this many beams for the likeliest item, instead of sampling",
    )
    length: int | None = Field(
        default=None, ge=1, le=1_000_000, description="maximum tokens of a sample; by default the context length"
    )
    length_penalty: float = Field(
        default=0.6,
        ge=0,
        le=10,
        description="for beam search: 0 prefers short items, 1 is about the mean log-probability per token",
    )

    def guidance_of_rows(self) -> float | Tensor:
        """The guidance scale: one number, or one per row, shape (B,)."""
        return torch.tensor([own.guidance_scale for own in self.rows]) if self.rows else self.guidance_scale

    @model_validator(mode="after")
    def _one_way(self) -> AutoregressiveSampling:
        if self.beams is None:
            if self.length_penalty != type(self).model_fields["length_penalty"].default:
                raise ValueError("length_penalty applies to beam search only; set beams too, such as beams=4")
            return self
        plain = AutoregressiveSampling()
        names = ("guidance_scale", "length", "top_k", "top_p", "repetition_penalty")
        wrong = [name for name in names if getattr(self, name) != getattr(plain, name)]
        if self.temperature not in (0, 1):
            wrong.append("temperature")
        if wrong:
            raise ValueError(f"beam search has no {wrong[0]}; leave out beams or {wrong[0]}")
        return self


class Autoregressive(Family):
    """Settings of an autoregressive model."""

    abilities: ClassVar[frozenset[str]] = frozenset({"surprisal", "attention", "steerable"})
    windows: ClassVar[bool] = True
    per_row: ClassVar[frozenset[str]] = PER_ROW | {"guidance_scale"}
    name: Literal["autoregressive"] = "autoregressive"
    condition_dropout: float = Field(
        default=0.1, ge=0, lt=1, description="probability of dropping an item's condition in training"
    )
    sampling: AutoregressiveSampling = AutoregressiveSampling()

    def roles(self, target: Space) -> dict[Role, Space] | str:
        if not isinstance(target, Tokens):
            return "autoregressive predicts tokens, and these are real values"
        return {"predictor": target}

    def build(self, target: Space, condition: Condition, backbone: Backbone) -> Model:
        assert isinstance(target, Tokens)
        return AutoregressiveModel(self, target, condition, backbone)


class AutoregressiveModel(Model):
    """A predictor of the next token, with its loss and sampling loop."""

    likelihood = "exact"
    likelihood_how = "exact: the product over tokens"
    steerable = True
    possible: Tensor | None

    def __init__(self, settings: Autoregressive, target: Tokens, condition: Condition, backbone: Backbone) -> None:
        super().__init__(target, condition)
        self.settings = settings
        self.space = target
        self.predictor = backbone.predictor(target, condition)
        self.register_buffer("possible", allowed(target), persistent=False)
        self._alone: dict[tuple[int, int, str], bool] = {}
        if target.windows:
            self.likelihood_how += f", {describe_context(self.predictor, target)}"

    def loss(self, x: Tensor, c: dict[str, Tensor] | None, player: str, draws: Draws) -> dict[str, Tensor]:
        """{"nll": nats per token}: the mean over items of each item's sum, divided by the mean length."""
        nll = self._nll(x, drop_some(c, self.settings.condition_dropout, draws)).sum(1)
        return {"nll": nll.mean() / (self.space.mean_length or self.space.length)}

    @torch.no_grad()
    def sample(
        self,
        c: dict[str, Tensor] | None,
        draws: Draws,
        settings: Sampling,
        prefix: Tensor | None = None,
        constraint: Constraint | None = None,
        on_token: Callable[[int, Tensor], None] | None = None,
    ) -> Tensor:
        """Sample tokens, or beam search, shape (B, `longest(settings)`).

        prefix: given tokens, shape (B, P); MISSING_TOKEN where the token is to be sampled. constraint, on_token: see
        `decode`. Raises ValueError for beam search with a constraint or on_token.
        """
        assert isinstance(settings, AutoregressiveSampling)
        if settings.beams is not None:
            if constraint is not None or on_token is not None:
                raise UserError(
                    Message(
                        "beams: beam search has no text before it ends, so it cannot be combined with ",
                        Setting("prompt"),
                        ", ",
                        Setting("stop"),
                        ", ",
                        Setting("stream"),
                        ", ",
                        Setting("regex"),
                        " and ",
                        Setting("json_schema"),
                    ),
                    fix="leave one of them out",
                )
            search = BeamSettings(settings.beams, settings.length_penalty, settings.min_p)
            rules = TokenRules(self.possible, prefix)
            return beam_search(self.predictor, self.space, c, draws.batch, search, rules, draws.device)
        return decode(
            self.predictor,
            self.space,
            c,
            draws,
            settings,
            TokenRules(self.possible, prefix, constraint, self.longest(settings)),
            guidance=settings.guidance_of_rows(),
            on_token=on_token,
        )

    def draws_alone(self, settings: Sampling, block: int) -> bool:
        assert isinstance(settings, AutoregressiveSampling)
        key = block, torch.get_num_threads(), settings.precision
        if key not in self._alone:
            self._alone[key] = self.predictor.independent(self.space.vocabulary, block, min(3, self.space.length))
        return settings.beams is None and self._alone[key]

    @torch.no_grad()
    def held_out(self, x: Tensor, c: dict[str, Tensor] | None, draws: Draws) -> tuple[Tensor, Tensor]:
        """The negative log-likelihood of each item in nats, and its number of tokens, shape (B,) each."""
        return self._nll(x, c).sum(1), token_mask(x, self.space).sum(1).float()

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, c: dict[str, Tensor] | None, draws: Draws) -> Tensor:
        """log p(x|c), exact, in nats, shape (B,); the `end` token is included."""
        return -self._nll(x, c).sum(1)

    @torch.no_grad()
    def surprisal(self, x: Tensor, c: dict[str, Tensor] | None) -> Tensor:
        """-log p(x_i | x_<i, c) in nats, shape (B, L); the sum is the negative log-likelihood."""
        return self._nll(x, c)

    @torch.no_grad()
    def attention(self, x: Tensor, c: dict[str, Tensor] | None) -> Attention:
        """The predictor's attention weights; raises Unfit where it has no attention."""
        return self.predictor.attention(x, c)

    def longest(self, settings: Sampling) -> int:
        assert isinstance(settings, AutoregressiveSampling)
        most = settings.length or self.space.length
        if most > self.space.length and not self.space.windows:
            raise ValueError(
                f"length {most}: this run was trained on items of at most {self.space.length} tokens; train with "
                "target.windows=true to generate longer ones"
            )
        return most

    def _nll(self, x: Tensor, c: dict[str, Tensor] | None) -> Tensor:
        """-log p of each valid token, shape (B, L); for windows, without the context tokens."""
        if not self.space.windows:
            return token_nll(self.predictor(x.clamp(min=0), c), x, self.space, self.possible)
        if x.shape[1] > self.space.length:
            return long_nll(self.predictor, x, c, self.space)
        x, before = split_before(x)
        return token_nll(self.predictor(x.clamp(min=0), c, before), x, self.space, self.possible)
