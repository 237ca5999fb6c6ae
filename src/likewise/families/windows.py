"""Items longer than the context length: their likelihood, and how sampling continues beyond it.

A recurrent network carries its state on, for any length. Any other network reads `length` tokens; when its context is
full, it restarts with the last `kept` tokens as context (positions are relative, so any position can be the first).
Scoring uses the same contexts as sampling, so that the likelihood is that of the sampling procedure.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.backbones.base import Predictor
from likewise.spaces import MISSING_TOKEN, Tokens, token_mask


def kept(space: Tokens) -> int:
    """The number of context tokens after a restart, in addition to the token before them."""
    return space.length // 2


def restarts_context(predictor: Predictor, space: Tokens, position: int) -> bool:
    """Whether the context is full before the token at `position` >= 0."""
    beyond = position - space.length
    return not predictor.endless and beyond >= 0 and beyond % (space.length - kept(space)) == 0


def restarted_state(predictor: Predictor, space: Tokens, c: dict[str, Tensor] | None, x: Tensor) -> Any:
    """The state after reading the restarted context, without the last token of x, which `step` reads next.

    x: the tokens so far, shape (B, position).
    """
    state = predictor.start(len(x), c)
    for token in x[:, -kept(space) - 1 : -1].unbind(1):
        _, state = predictor.step(token, state)
    return state


def describe_context(predictor: Predictor, space: Tokens) -> str:
    """The context of each token of a long item in scoring, for reports."""
    if predictor.endless:
        return "each given all that is before it"
    return f"each given the {kept(space):,} to {space.length - 1:,} tokens before it"


@torch.no_grad()
def long_nll(predictor: Predictor, x: Tensor, c: dict[str, Tensor] | None, space: Tokens) -> Tensor:
    """-log p of each valid token, in nats, 0 for the others, for items of any length; holds one window's logits at a
    time.

    x: tokens, shape (B, L). Returns shape (B, L), float32.
    """
    target = x.masked_fill(~token_mask(x, space), MISSING_TOKEN)
    seen = x.clamp(min=0)
    start = torch.full_like(seen[:, :1], MISSING_TOKEN)
    out = torch.zeros(x.shape, device=x.device)
    if predictor.endless:
        read = torch.cat((start, seen[:, :-1]), 1)
        state = None
        for at in range(0, x.shape[1], space.length):
            logits, state = predictor.carry(read[:, at : at + space.length], c, state)
            out[:, at : at + space.length] = _nll(logits, target[:, at : at + space.length])
        return out
    first = kept(space)
    out[:, : space.length] = _nll(predictor(seen[:, : space.length], c), target[:, : space.length])
    for at in range(space.length, x.shape[1], space.length - first):
        window = slice(at - first, at - first + space.length)
        logits = predictor(seen[:, window], c, seen[:, at - first - 1])[:, first:]
        out[:, at : window.stop] = _nll(logits, target[:, at : window.stop])
    return out


def _nll(logits: Tensor, target: Tensor) -> Tensor:
    flat = logits.float().flatten(0, 1)
    return F.cross_entropy(flat, target.flatten(), ignore_index=MISSING_TOKEN, reduction="none").view_as(target)
