"""Token-by-token sampling from a predictor's logits, and the negative log-likelihood of tokens.

Nucleus sampling: Holtzman et al. (2020); min-p: Nguyen et al. (2024); repetition penalty: Keskar et al. (CTRL, 2019);
guidance: Ho and Salimans (2022).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from likewise.backbones.base import Predictor
from likewise.draws import Draws
from likewise.families.base import Sampling
from likewise.families.windows import restarted_state, restarts_context
from likewise.spaces import MISSING_TOKEN, Tokens, drop, token_mask


class TokenSampling(Sampling):
    """Sampling settings for tokens."""

    temperature: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="softmax temperature; below 1 is more conservative, 0 is greedy",
    )
    top_k: int | None = Field(default=None, ge=1, description="sample from the k likeliest tokens only")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="sample from the likeliest tokens with this total probability"
    )
    min_p: float = Field(
        default=0.0, ge=0, lt=1, description="exclude tokens with less than this share of the top token's probability"
    )
    repetition_penalty: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="above 1 reduces repetition of tokens"
    )


#: The settings of `TokenSampling`, each of which may differ between the rows of a batch.
PER_ROW = frozenset(TokenSampling.model_fields) - frozenset(Sampling.model_fields)


class Constraint(Protocol):
    """Restricts the next token of each item of one batch. Called at every position in order, so it may keep state."""

    def mask(self, x: Tensor) -> Tensor | None:
        """True for the allowed next tokens, at least one per item: shape (B, V); None if all are allowed.

        x: the tokens so far, shape (B, position). Row b must not depend on other rows.
        """
        ...


def allowed(space: Tokens) -> Tensor | None:
    """True where a token can occur: shape (length, vocabulary); None if every token can occur everywhere."""
    if not space.ranges:
        return None
    low, high = torch.tensor(space.ranges).T
    token = torch.arange(space.vocabulary)
    return (low[:, None] <= token) & (token < high[:, None])


def token_nll(logits: Tensor, x: Tensor, space: Tokens, possible: Tensor | None) -> Tensor:
    """-log p of each valid token, in nats; 0 for the others.

    logits: shape (B, L, V). x: tokens, shape (B, L). possible: from `allowed`. Returns shape (B, L), float32.
    """
    logits = logits.float()
    if possible is not None:
        logits = logits.masked_fill(~possible[: x.shape[1]], float("-inf"))
    target = x.masked_fill(~token_mask(x, space), MISSING_TOKEN)
    nll = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=MISSING_TOKEN, reduction="none")
    return nll.view_as(x)


def restrict(logits: Tensor, settings: TokenSampling, used: Tensor | None = None) -> Tensor:
    """The logits after temperature, repetition penalty and truncation: shape (B, V), -inf for excluded tokens.

    logits: shape (B, V). used: True for tokens that the item already contains, shape (B, V), for the repetition
    penalty.
    """
    if used is not None and settings.repetition_penalty != 1:
        penalty = settings.repetition_penalty
        logits = torch.where(used, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
    top_k = settings.top_k
    if settings.temperature == 0:
        top_k = 1
    else:
        logits = logits / settings.temperature
    if top_k is not None and top_k < logits.shape[1]:
        # By index, not by value, so that ties do not keep more than k tokens.
        kept = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, logits.topk(top_k).indices, True)
        logits = logits.masked_fill(~kept, float("-inf"))
    if settings.top_p < 1:
        ordered, index = logits.sort(descending=True, stable=True)
        p = ordered.softmax(1)
        out = p.cumsum(1) - p >= settings.top_p  # the token that crosses the threshold stays
        logits = logits.masked_fill(torch.zeros_like(out).scatter_(1, index, out), float("-inf"))
    if settings.min_p > 0:
        p = logits.softmax(1)
        logits = logits.masked_fill(p < settings.min_p * p.amax(1, keepdim=True), float("-inf"))
    return logits


def restrict_rows(logits: Tensor, settings: TokenSampling, used: Tensor | None = None) -> Tensor:
    """As `restrict`, where each row may have its own settings."""
    groups = settings.groups()
    if len(groups) == 1:
        return restrict(logits, settings, used)
    restricted = torch.empty_like(logits)
    for own, rows in groups:
        restricted[rows] = restrict(logits[rows], own, None if used is None else used[rows])
    return restricted


def guide(given: Tensor, free: Tensor, guidance: float | Tensor) -> Tensor:
    """Guided logits log p(x) + w (log p(x|c) - log p(x)), shape (B, V); those of p(x|c) in rows where w is 1.

    given, free: logits with and without the condition, shape (B, V). guidance: w, or one per row, shape (B,).
    """
    conditional, marginal = given.log_softmax(1), free.log_softmax(1)
    if not isinstance(guidance, Tensor):
        return marginal + guidance * (conditional - marginal)
    w = guidance.to(given.device)[:, None]
    return torch.where(w == 1, given, marginal + w * (conditional - marginal))


@dataclass(frozen=True)
class TokenRules:
    """Restrictions on the tokens of an item, independent of the logits."""

    #: From `allowed`.
    possible: Tensor | None = None
    #: Given tokens, shape (B, P); MISSING_TOKEN where the token is to be sampled.
    prefix: Tensor | None = None
    constraint: Constraint | None = None
    #: Maximum tokens of an item; None for the space's length. For longer items see `windows`.
    length: int | None = None

    def restrict(self, scores: Tensor, x: Tensor) -> Tensor:
        """Scores of the next token, shape (B, V), -inf where it is not allowed. x: tokens so far, shape (B, i)."""
        if self.possible is not None:
            scores = scores.masked_fill(~self.possible[x.shape[1]], float("-inf"))
        if self.constraint is not None and (may := self.constraint.mask(x)) is not None:
            scores = scores.masked_fill(~may.to(scores.device), float("-inf"))
        return scores

    def given(self, token: Tensor, position: int) -> Tensor:
        """The tokens at a position, shape (B,): those of the prefix where given, else `token`."""
        if self.prefix is None or position >= self.prefix.shape[1]:
            return token
        return torch.where(self.prefix[:, position] == MISSING_TOKEN, token, self.prefix[:, position])


@torch.no_grad()
def decode(
    predictor: Predictor,
    space: Tokens,
    c: dict[str, Tensor] | None,
    draws: Draws,
    settings: TokenSampling,
    rules: TokenRules,
    *,
    guidance: float | Tensor = 1.0,
    on_token: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Sample items token by token: int64, shape (B, length), padded with `end`.

    guidance: see `guide`; 1 samples from p(x|c). on_token: called with each position and its tokens, shape (B,).

    Each position uses one random number per item, whether given or sampled, so that items are independent.
    """
    batch, device = draws.batch, draws.device
    length = rules.length or space.length
    guided = c is not None and bool((guidance != 1).any() if isinstance(guidance, Tensor) else guidance != 1)
    conditions = [c, drop(c, torch.ones(batch, dtype=torch.bool, device=device))] if guided else [c]
    states = [predictor.start(batch, each) for each in conditions]
    x = torch.full((batch, length), space.end if space.end is not None else 0, device=device)
    ended = torch.zeros(batch, dtype=torch.bool, device=device)
    used = None
    if any(own.repetition_penalty != 1 for own, _ in settings.groups()):
        used = torch.zeros(batch, space.vocabulary, dtype=torch.bool, device=device)
    token = None
    for position in range(length):
        if restarts_context(predictor, space, position):
            states = [restarted_state(predictor, space, each, x[:, :position]) for each in conditions]
        logits = []
        for i, state in enumerate(states):
            found, states[i] = predictor.step(token, state)
            logits.append(found.float())
        scores = guide(logits[0], logits[1], guidance) if guided else logits[0]
        scores = rules.restrict(scores, x[:, :position])
        token = rules.given(draws.categorical(restrict_rows(scores, settings, used)), position)
        if space.end is not None:
            token = token.masked_fill(ended, space.end)
            ended = ended | (token == space.end)
        x[:, position] = token
        if on_token is not None:
            on_token(position, token)
        if used is not None:
            used.scatter_(1, token[:, None], True)
        if space.end is not None and bool(ended.all()):
            break
    return x
