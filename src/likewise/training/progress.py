"""Training state beside weights and optimizers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Progress:
    """Everything that is carried from step to step beside weights and optimizers, stored in `state.json`."""

    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    items: int = 0
    best: float | None = None
    best_step: int | None = None
    worse: int = 0
    stopped_early: bool = False
    #: steps between held-out losses, and between checkpoints
    evaluate_every: int = 0
    save_every: int = 0
    #: (step, seconds, steps): when the number of steps was corrected, and to what
    replanned: list[tuple[int, float, int]] = field(default_factory=list)
    #: (step, seconds): since when the speed is being seen
    paced: tuple[int, float] = (0, 0.0)
    #: steps whose update was left out, because it was not finite
    skipped: list[int] = field(default_factory=list)
    #: steps that led to going back to a checkpoint, and are left out when they come again
    avoid: list[int] = field(default_factory=list)
    #: parts a process computes its rows in; 0 until memory has run out
    accumulate: int = 0
