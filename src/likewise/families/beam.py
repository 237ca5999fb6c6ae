"""Beam search: an approximately most likely item, found by keeping several partial sequences.

Scores are normalised by length as in Wu et al., "Google's neural machine translation system" (2016): an item of n
tokens has log p / ((5 + n) / 6)^penalty, where `end` is one of the n.

The greedy sequence is always kept as a beam, even where all others are more likely, so that the result is never worse
than greedy decoding, and one beam is greedy decoding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from likewise.backbones.base import Predictor
from likewise.families.decoding import TokenRules
from likewise.spaces import MISSING_TOKEN, Tokens

_NEVER = float("-inf")


def normaliser(count: int, penalty: float) -> float:
    """The divisor of the log-likelihood of `count` tokens."""
    return ((5 + count) / 6) ** penalty


@dataclass(frozen=True)
class BeamSettings:
    """beams: partial sequences that are kept. penalty: length penalty. min_p: as in `decoding.TokenSampling`."""

    beams: int
    penalty: float
    min_p: float = 0.0


@torch.no_grad()
def beam_search(
    predictor: Predictor,
    space: Tokens,
    c: dict[str, Tensor] | None,
    batch: int,
    settings: BeamSettings,
    rules: TokenRules,
    device: torch.device,
) -> Tensor:
    """The best item found for each row of c: int64, shape (B, length), padded with `end`; rows are independent.

    rules: without a constraint. A row is finished when as many complete items as beams were found, or when no partial
    sequence can exceed the best one.
    """
    beams, penalty = settings.beams, settings.penalty
    length, end = space.length, space.end
    rows = torch.arange(batch, device=device)[:, None]
    state = predictor.reorder(predictor.start(batch, c), rows.expand(-1, beams).flatten())
    begun = torch.full((batch, beams, length), end if end is not None else 0, device=device)
    best, best_score = begun[:, 0].clone(), torch.full((batch,), _NEVER, device=device)
    scores = torch.full((batch, beams), _NEVER, device=device)
    scores[:, 0] = 0.0
    greedy = torch.ones(batch, dtype=torch.bool, device=device)  # whether beam 0 holds the greedy sequence
    found = torch.zeros(batch, dtype=torch.int64, device=device)
    done = torch.zeros(batch, dtype=torch.bool, device=device)
    token = None
    for position in range(length):
        logits, state = predictor.step(token, state)
        logp = _log_p(logits.float(), position, settings, rules)
        total = scores[:, :, None] + logp
        score, source, symbol = _candidates(total, greedy)
        if end is not None:
            ends = symbol == end
            counts = ends[:, :beams] & (score[:, :beams] > _NEVER) & ~done[:, None]
            value = torch.where(counts, score[:, :beams] / normaliser(position + 1, penalty), _NEVER)
            top, which = value.max(1)
            better = top > best_score
            best = torch.where(better[:, None], begun[rows[:, 0], source[rows[:, 0], which]], best)
            best_score = torch.where(better, top, best_score)
            found, greedy = found + counts.sum(1), greedy & ~ends[:, 0]
            # At most one complete item comes from each beam, so that enough others remain; they keep their order.
            kept = ends.long().argsort(dim=1, stable=True)[:, :beams]
            score, source, symbol = (each.gather(1, kept) for each in (score, source, symbol))
        else:
            score, source, symbol = score[:, :beams], source[:, :beams], symbol[:, :beams]
        begun, scores = begun[rows, source], score
        begun[:, :, position] = symbol
        # Scores never rise with length, and the divisor is at most that of the full length.
        hope = scores.amax(1) / normaliser(length, penalty)
        done = done | ((found >= beams) & ~greedy) | (hope <= best_score)
        if bool(done.all()):
            return best
        state = predictor.reorder(state, (rows * beams + source).flatten())
        token = symbol.flatten()
    value, which = (scores / normaliser(length, penalty)).max(1)
    whole = begun[rows[:, 0], which]
    return torch.where(((value > best_score) & ~done)[:, None], whole, best)


def _log_p(logits: Tensor, position: int, settings: BeamSettings, rules: TokenRules) -> Tensor:
    """Log-probabilities of the next token, shape (B, beams, V), from logits of shape (B * beams, V)."""
    vocabulary = logits.shape[1]
    if rules.possible is not None:
        logits = logits.masked_fill(~rules.possible[position], _NEVER)
    logp = logits.log_softmax(1).view(-1, settings.beams, vocabulary)
    if settings.min_p:
        logp = logp.masked_fill(logp < logp.amax(2, keepdim=True) + math.log(settings.min_p), _NEVER)
    if rules.prefix is not None and position < rules.prefix.shape[1]:
        forced = rules.prefix[:, position, None]
        others = torch.arange(vocabulary, device=logits.device) != forced
        logp = logp.masked_fill((others & (forced != MISSING_TOKEN))[:, None], _NEVER)
    return logp


def _candidates(total: Tensor, greedy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best 2 * beams continuations: scores, beam indices and tokens, each of shape (B, 2 * beams).

    total: scores of all continuations, shape (B, beams, V). greedy: shape (B,); where True, the greedy continuation
    comes first, whatever its score.
    """
    beams, vocabulary = total.shape[1:]
    wanted = total.flatten(1)
    step = total[:, 0].argmax(1, keepdim=True)
    first = torch.where(greedy[:, None], float("inf"), wanted.gather(1, step))
    chosen = wanted.scatter(1, step, first).topk(min(2 * beams, beams * vocabulary), 1).indices
    return wanted.gather(1, chosen), chosen // vocabulary, chosen % vocabulary
