"""Explain: run every applicable explanation on samples of a run or on an item of the user."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from likewise.explain import (
    directions,
    discriminator,
    fields,
    latent_neighbours,
    latents,
    robustness,
    tokens,
    training_neighbours,
)
from likewise.explain.page import SCHEMA, Section, about, write
from likewise.explain.probe import Probe, Subject
from likewise.modalities.base import BadValue
from likewise.runs.run import Run
from likewise.spaces import Unfit

#: the sections in the order of the page, each with its name for messages if it must be skipped
QUESTIONS: list[tuple[str, Callable[[Probe], Section | None]]] = [
    ("the latent", latents.section),
    ("nearest items by latent", latent_neighbours.section),
    ("directions of the latent", directions.section),
    ("the surprisal of tokens", tokens.surprisal),
    ("attention", tokens.attention),
    ("the discriminator", discriminator.section),
    ("the influence of given fields", fields.section),
    ("robustness", robustness.section),
    ("nearest training items", training_neighbours.section),
]


def explain(
    run: Run, sample: str | None = None, n: int = 4, seed: int = 0, given: dict[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write `report/explain.html` and `explain.json`; returns the content of explain.json (see `explain.page`).

    sample: the number of the first sample of `seed` to explain, or the path of a user's item, which is explained before
    the first n samples. given: the condition of all samples; by default those of training items. Raises ValueError if
    n < 1 or the item cannot be read.
    """
    if n < 1:
        raise ValueError(f"-n {n}: at least one sample")
    tell = progress or (lambda _: None)
    tell("drawing samples")
    probe = Probe(run, [], seed)  # raises an error early if the run lacks reference data
    probe.subjects = _subjects(run, sample, n, seed, given)
    sections = []
    for name, ask in QUESTIONS:
        tell(f"asking: {name}")
        try:
            found = ask(probe)
        except Unfit as error:
            probe.skipped.append((name, str(error)))
            continue
        if found is not None:
            sections.append(found)
    explained: dict[str, Any] = {
        "schema": SCHEMA,
        "run": about(run),
        "seed": seed,
        "subjects": [
            {"name": s.name, "given": s.given, "index": s.index, "drawn": s.drawn} for s in probe.subjects
        ],
        "skipped": [{"what": what, "why": why} for what, why in probe.skipped],
    }  # fmt: skip
    write(run.path / "report", explained, sections)
    return explained


def _subjects(run: Run, sample: str | None, n: int, seed: int, given: dict[str, Any] | None) -> list[Subject]:
    """The user's item, if any, and n samples from the requested number on."""
    own: list[Subject] = []
    start = 0
    if sample is not None and sample.isascii() and sample.isdigit():
        start = int(sample)
    elif sample is not None:
        own = [_own(run, Path(sample), given or {})]
    drawn = run.sample(n, seed, given, start)
    parts = zip(drawn.values, drawn.x, drawn.given, strict=True)
    device = next(run.model.parameters()).device
    return own + [
        Subject(f"sample {i}", value, x[None].to(device), asked, i, True)
        for i, (value, x, asked) in enumerate(parts, start)
    ]


def _own(run: Run, path: Path, given: dict[str, Any]) -> Subject:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; SAMPLE is a file, or the number of a sample")
    try:
        value = run.modality.read_file(path)
        x = run.field_data([value]).encode(np.arange(1), None, trim=True)
    except BadValue as error:
        raise ValueError(f"{path}: {error}") from None
    return Subject(path.name, value, x.to(next(run.model.parameters()).device), given, 0, False)
