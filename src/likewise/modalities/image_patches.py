"""A picture as tokens, one for each patch of pixels (Chen et al., "Generative pretraining from pixels", iGPT, 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.draws import Draws
from likewise.errors import Message, Setting
from likewise.modalities.base import spread
from likewise.modalities.encoding import Encoding
from likewise.modalities.image import LOOKED_AT, Image, ImageSettings, to_picture
from likewise.modalities.packed import Packed
from likewise.modalities.patches import Patches
from likewise.spaces import Tokens, Unfit


class ImagePatches(Encoding):
    """For each patch, row by row, the index of the nearest codebook entry, or the level of a single grey pixel."""

    modality_name = "image"
    name = "patches"
    default_family = "autoregressive"
    modality: Image

    def __init__(self, modality: Image, patch: int, codebook: list[list[int]] | None) -> None:
        """patch: side in pixels. codebook: (codes, patch * patch * C) in [0, 255]; None if tokens are grey levels."""
        super().__init__(modality)
        self.patch, self.codebook = patch, codebook
        self.patches = Patches((modality.channels, modality.height, modality.width), (patch, patch), codebook)

    @classmethod
    def fit(cls, modality: Image, values: Sequence[Any], settings: ImageSettings, seed: int = 0) -> ImagePatches:
        if modality.flip or modality.crop == "random":
            what = "target.flip" if modality.flip else "target.crop=random"
            raise Unfit(
                f"{what} changes pixels from step to step, and tokens are made once",
                fix=Message("learn the pixels, ", Setting("target.encoding", "pixels")),
            )
        width, height = modality.width, modality.height
        patch = settings.patch or (2 if max(width, height) > 16 and width % 2 == height % 2 == 0 else 1)
        found = cls(modality, patch, None)
        if patch == 1 and modality.mode == "L":
            return found
        pixels = np.stack([modality.array(v) for v in spread(values, LOOKED_AT)])
        return cls(modality, patch, found.patches.learn(pixels, settings.codes, seed))

    def state(self) -> dict[str, Any]:
        return {"patch": self.patch, "codebook": self.codebook}

    @property
    def space(self) -> Tokens:
        return Tokens(self.patches.count, self.patches.kinds, grid=self.patches.grid)

    @property
    def packed_bytes(self) -> int:
        return self.patches.packed_bytes

    def pack(self, values: Sequence[Any]) -> Packed:
        return Packed(self.patches.tokens(np.stack([self.modality.array(v) for v in values])))

    def encode(self, batch: NDArray[Any], draws: Draws | None = None) -> Tensor:
        return torch.from_numpy(batch.astype(np.int64))

    def decode(self, x: Tensor, draws: Draws | None = None) -> list[Any]:
        return [to_picture(a) for a in self.patches.pixels(x.cpu().numpy())]

    def heatmap_html(self, x: Tensor, weights: NDArray[np.float64], titles: Sequence[str] = ()) -> str:
        return self.modality.shaded(self.decode(x[None])[0], self.patches.spread(weights))

    def uncounted(self) -> str | None:
        if self.codebook is None:
            return None
        return f"of {self.patch}x{self.patch} patches, each as the nearest of {len(self.codebook)}: not of every pixel"
