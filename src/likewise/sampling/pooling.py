"""Pools samples of several requests into batches without changing their bits."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from likewise.families.base import Sampling


@dataclass(frozen=True)
class PooledRow:
    """One sample of a request.

    conditional: whether anything is given in the block that it is drawn in alone. part: names the request and its
    block; None of a row that only fills a batch up.
    """

    index: int
    seed: int
    given: dict[str, Any]
    settings: Sampling
    conditional: bool
    part: tuple[int, int] | None


def pools(rows: Sequence[PooledRow], per_row: Set[str]) -> list[list[PooledRow]]:
    """The rows by what a batch has one value of: whether anything is given, and the settings not in `per_row`."""
    found: dict[tuple[bool, str], list[PooledRow]] = {}
    for row in rows:
        shared = {name: value for name, value in row.settings.model_dump().items() if name not in per_row}
        found.setdefault((row.conditional, repr(shared)), []).append(row)
    return list(found.values())


def in_any_place(rows: Sequence[PooledRow], size: int) -> list[list[PooledRow]]:
    """Batches of at most `size`, for a model that gives a row the same bits in any of them."""
    return [list(rows[first : first + size]) for first in range(0, len(rows), size)]


def in_their_places(rows: Sequence[PooledRow], size: int) -> list[list[PooledRow]]:
    """Batches of just `size`, in which each row has the place that it has in its own block.

    Products of other shapes are rounded otherwise, and those of other places may be. A place that no row needs is
    filled up by one of the others.
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
