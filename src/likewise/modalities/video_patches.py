"""A clip as tokens, one for each block of space and time.

Space-time tokens follow VideoGPT (Yan et al., 2021), but with a k-means codebook instead of a learned VQ-VAE.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.draws import Draws
from likewise.modalities.base import spread
from likewise.modalities.encoding import Encoding
from likewise.modalities.packed import Packed
from likewise.modalities.patches import Patches
from likewise.modalities.video import LOOKED_AT, Video, VideoSettings
from likewise.spaces import Tokens

#: maximum tokens of a clip with default blocks; maximum blocks for learning a codebook, which takes some seconds
_MOST_TOKENS, _BLOCKS = 512, 20_000


class VideoPatches(Encoding):
    """For each block, the index of the nearest codebook entry, or the level of a single grey pixel."""

    modality_name = "video"
    name = "patches"
    default_family = "autoregressive"
    modality: Video

    def __init__(self, modality: Video, block: Sequence[int], codebook: list[list[int]] | None) -> None:
        """block: frames, height and width of a token's block. codebook: see `Patches`."""
        super().__init__(modality)
        self.block, self.codebook = tuple(block), codebook
        self.patches = Patches(modality.shape, self.block, codebook)

    @classmethod
    def fit(cls, modality: Video, values: Sequence[Any], settings: VideoSettings, seed: int = 0) -> VideoPatches:
        _, *shape = modality.shape
        block = _block(shape, settings)
        found = cls(modality, block, None)
        if (modality.mode, block) == ("L", (1, 1, 1)):
            return found
        clips = np.stack([modality.array(v) for v in spread(values, LOOKED_AT)])
        return cls(modality, block, found.patches.learn(clips, settings.codes, seed, _BLOCKS))

    def state(self) -> dict[str, Any]:
        return {"block": list(self.block), "codebook": self.codebook}

    @property
    def space(self) -> Tokens:
        return Tokens(self.patches.count, self.patches.kinds, grid=self.patches.grid)

    @property
    def packed_bytes(self) -> int:
        return self.patches.packed_bytes

    def pack(self, values: Sequence[Any]) -> Packed:
        return Packed(self.patches.tokens(np.stack([self.modality.array(v) for v in values]), 16))

    def encode(self, batch: NDArray[Any], draws: Draws | None = None) -> Tensor:
        return torch.from_numpy(batch.astype(np.int64))

    def decode(self, x: Tensor, draws: Draws | None = None) -> list[Any]:
        return [self.modality.clip(clip) for clip in self.patches.pixels(x.cpu().numpy())]

    def heatmap_html(self, x: Tensor, weights: NDArray[np.float64], titles: Sequence[str] = ()) -> str:
        return self.modality.shaded(self.decode(x[None])[0], self.patches.spread(weights))

    def uncounted(self) -> str | None:
        if self.patches.plain:
            return None
        frames, height, width = self.block
        return (
            f"of blocks of {frames} frames of {height}x{width} pixels, each as the nearest of {self.patches.kinds}: "
            "not of every pixel"
        )


def _block(shape: Sequence[int], settings: VideoSettings) -> tuple[int, int, int]:
    """Frames, height and width of a block: the smallest with at most _MOST_TOKENS tokens for a clip."""
    frames, height, width = shape
    sides = [p for p in range(1, 17) if height % p == 0 and width % p == 0]
    times = [p for p in (1, 2, 4) if frames % p == 0]
    sides = [settings.patch] if settings.patch else sides
    times = [settings.patch_frames] if settings.patch_frames else times
    # Prefer blocks of few frames: a codebook rarely covers blocks of four differing frames.
    both = sorted(((t, p) for t in times for p in sides), key=lambda both: (both[0] * both[1] ** 2, both[0]))
    fit = [both for both in both if (frames // both[0]) * (height // both[1]) * (width // both[1]) <= _MOST_TOKENS]
    t, p = (fit or both[-1:])[0]
    return t, p, p
