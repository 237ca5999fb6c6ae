"""The numbers that the reference packages were given, made by a generator anybody can write."""

from __future__ import annotations

import numpy as np


def congruential(rows: int, columns: int, state: int) -> np.ndarray:
    """u = s / 2^31 of s <- (1103515245 s + 12345) mod 2^31, row by row; shape (rows, columns)."""
    numbers = np.empty(rows * columns)
    for i in range(len(numbers)):
        state = (1103515245 * state + 12345) % 2**31
        numbers[i] = state / 2**31
    return numbers.reshape(rows, columns)


X = congruential(64, 4, 1) - 0.5
Y = (congruential(48, 4, 7) - 0.5) * 0.8 + 0.35
