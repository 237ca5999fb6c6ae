"""The training state besides weights and optimizers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Progress:
    """All state between steps besides weights and optimizers, stored in `state.json` of a checkpoint."""

    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    items: int = 0
    best: float | None = None
    best_step: int | None = None
    worse: int = 0
    stopped_early: bool = False
    #: steps between evaluations, and between checkpoints
    evaluate_every: int = 0
    save_every: int = 0
    #: (step, seconds, steps) of each correction: when, and the new number of steps
    replanned: list[tuple[int, float, int]] = field(default_factory=list)
    #: (step, seconds): the start of the current speed measurement
    paced: tuple[int, float] = (0, 0.0)
    #: steps whose update was skipped because it was not finite
    skipped: list[int] = field(default_factory=list)
    #: steps that caused a rollback to a checkpoint; they are skipped the next time
    avoid: list[int] = field(default_factory=list)
    #: parts in which a process computes its rows (gradient accumulation); 0 until memory has run out
    accumulate: int = 0
