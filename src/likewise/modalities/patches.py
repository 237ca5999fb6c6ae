"""Blocks of pixels as tokens: the nearest entries of a k-means codebook (as the colours of Chen et al., iGPT, 2020).

Used for pictures and clips; `sides` is the size of a block along each dimension.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Patches:
    """Divides items of shape (C, *positions), uint8, into a grid of blocks, and quantises blocks by a codebook."""

    def __init__(self, shape: Sequence[int], sides: Sequence[int], codebook: Sequence[Sequence[int]] | None) -> None:
        """sides: size of a block along each dimension. codebook: (codes, C * prod(sides)) in [0, 255].

        Without a codebook a token is a grey level; C and all sides are then 1.
        """
        self.shape, self.sides = tuple(shape), tuple(sides)
        if wrong := [(p, n) for n, p in zip(self.shape[1:], self.sides, strict=True) if n % p]:
            raise ValueError(f"patch {wrong[0][0]} does not divide the size {wrong[0][1]}")
        self.grid = tuple(n // p for n, p in zip(self.shape[1:], self.sides, strict=True))
        self.count = math.prod(self.grid)
        self._codes = None if codebook is None else np.array(codebook, np.float32)

    @property
    def plain(self) -> bool:
        """Whether tokens are grey levels and not blocks."""
        return self._codes is None

    @property
    def kinds(self) -> int:
        return 256 if self._codes is None else len(self._codes)

    @property
    def packed_bytes(self) -> int:
        """Bytes of one item as returned by `tokens`."""
        return math.prod(self.shape) if self.plain else 2 * self.count

    def cut(self, pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        """Divide (N, C, *positions) into blocks (N, count, C * prod(sides))."""
        dims = len(self.grid)
        split = [n for pair in zip(self.grid, self.sides, strict=True) for n in pair]
        order = [0, *range(2, 2 + 2 * dims, 2), 1, *range(3, 3 + 2 * dims, 2)]
        blocks = pixels.reshape(-1, self.shape[0], *split).transpose(order)
        return blocks.reshape(len(pixels), self.count, -1)

    def join(self, blocks: NDArray[np.generic]) -> NDArray[np.generic]:
        """The inverse of `cut`."""
        dims = len(self.grid)
        order = [0, 1 + dims, *(axis for d in range(dims) for axis in (1 + d, 2 + dims + d))]
        whole = blocks.reshape(-1, *self.grid, self.shape[0], *self.sides).transpose(order)
        return whole.reshape(-1, *self.shape)

    def spread(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Repeat the weight of each block, shape (count,), at all its positions: shape (*positions)."""
        return np.kron(weights.reshape(self.grid), np.ones(self.sides)).astype(np.float64, copy=False)

    def learn(self, pixels: NDArray[np.uint8], codes: int, seed: int, most: int = 1_000_000) -> list[list[int]]:
        """A codebook of at most `codes` blocks, by k-means, for items of shape (N, C, *positions).

        most: maximum blocks that are used, at evenly spaced indices.
        """
        from sklearn.cluster import MiniBatchKMeans

        blocks = self.cut(pixels).reshape(-1, self.shape[0] * math.prod(self.sides))
        if len(blocks) > most:
            blocks = blocks[np.linspace(0, len(blocks) - 1, most).astype(int)]
        codes = min(codes, len(np.unique(blocks, axis=0)))
        found = MiniBatchKMeans(codes, batch_size=4096, n_init=1, random_state=seed, max_iter=30)  # pyright: ignore
        found.fit(blocks)
        return np.asarray(found.cluster_centers_).round().astype(int).tolist()

    def tokens(self, pixels: NDArray[np.uint8], at_once: int = 256) -> NDArray[np.generic]:
        """The nearest code of each block, shape (N, count). pixels: shape (N, C, *positions). at_once: batch size."""
        if self._codes is None:
            return pixels.reshape(len(pixels), -1)
        squares = (self._codes**2).sum(1)
        found = []
        for part in np.array_split(pixels, -(-len(pixels) // at_once)):
            flat = self.cut(part).astype(np.float32)
            found.append((squares - 2 * flat @ self._codes.T).argmin(-1).astype(np.int16))
        return np.concatenate(found)

    def pixels(self, tokens: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Decode tokens, shape (N, count), to pixels, shape (N, C, *positions), uint8."""
        if self._codes is None:
            return tokens.astype(np.uint8).reshape(-1, *self.shape)
        return self.join(self._codes[tokens].astype(np.uint8)).astype(np.uint8, copy=False)
