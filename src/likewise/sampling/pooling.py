"""Pools samples of several requests into batches without changing their bits."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from likewise.families.base import Sampling


@dataclass(frozen=True)
class PooledRow:
    """One sample of a request.

    index: the index of the sample. conditional: whether any row of its own block has a condition. part: identifies the
    request and its block; None for a row that only fills a batch.
    """

    index: int
    seed: int
    given: dict[str, Any]
    settings: Sampling
    conditional: bool
    part: tuple[int, int] | None


def pools(rows: Sequence[PooledRow], per_row: Set[str]) -> list[list[PooledRow]]:
    """Groups of rows that can share a batch: equal `conditional`, and equal settings except those in `per_row`."""
    found: dict[tuple[bool, str], list[PooledRow]] = {}
    for row in rows:
        shared = {name: value for name, value in row.settings.model_dump().items() if name not in per_row}
        found.setdefault((row.conditional, repr(shared)), []).append(row)
    return list(found.values())


def in_any_place(rows: Sequence[PooledRow], size: int) -> list[list[PooledRow]]:
    """Batches of at most `size` rows, for a model whose rows have the same bits in any batch."""
    return [list(rows[first : first + size]) for first in range(0, len(rows), size)]


def in_their_places(rows: Sequence[PooledRow], size: int) -> list[list[PooledRow]]:
    """Batches of exactly `size` rows, in which each row has the same position as in its own block.

    Rounding depends on the shape of a batch and may depend on the position in it. Positions that no row needs are
    filled with a copy of another row.
    """
    batches: list[dict[int, PooledRow]] = []
    for row in rows:
        place = row.index % size
        free = next((batch for batch in batches if place not in batch), None)
        if free is None:
            batches.append(free := {})
        free[place] = row
    fillers = [replace(next(iter(batch.values())), part=None) for batch in batches]
    return [[batch.get(place, filler) for place in range(size)] for batch, filler in zip(batches, fillers, strict=True)]
