"""A matrix of weights as inline SVG, with names of rows and columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

_CELL = 15
_NAME = 78


def matrix(title: str, weights: NDArray[np.float64], rows: Sequence[str], columns: Sequence[str]) -> Markup:
    """weights: shape (len(rows), len(columns)), nonnegative; each row is scaled by its maximum."""
    width, height = _NAME + _CELL * len(columns), _NAME + _CELL * len(rows)
    largest = weights.max(1, keepdims=True)
    shares = np.divide(weights, largest, out=np.zeros_like(weights), where=largest > 0)
    parts = []
    for j, name in enumerate(columns):
        x = _NAME + _CELL * (j + 0.7)
        parts.append(f'<text class="tick" transform="translate({x:.1f} {_NAME - 5}) rotate(-60)">{_name(name)}</text>')
    for i, name in enumerate(rows):
        y = _NAME + _CELL * i
        parts.append(f'<text class="tick" x="{_NAME - 5}" y="{y + 11}" text-anchor="end">{_name(name)}</text>')
        parts += [
            f'<rect class="hot" x="{_NAME + _CELL * j}" y="{y}" width="{_CELL - 1}" height="{_CELL - 1}" '
            f'opacity="{share:.2f}"/>'
            for j, share in enumerate(shares[i]) if share >= 0.02
        ]  # fmt: skip
    inside = "".join(parts)
    return Markup(
        f'<svg class="matrix" viewBox="0 0 {width} {height}" style="width:{width}px" role="img" '
        f'aria-label="{escape(title)}">{inside}</svg>'
    )


def _name(piece: str, most: int = 11) -> str:
    shown = piece.strip() or ("␣" if piece else "·")
    return str(escape(shown if len(shown) <= most else shown[: most - 1] + "…"))
