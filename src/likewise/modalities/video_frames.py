"""A clip as numbers in [-1, 1], one for each channel of each pixel of each frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.draws import Draws
from likewise.modalities.encoding import Encoding
from likewise.modalities.packed import Packed
from likewise.modalities.video import Video
from likewise.spaces import Continuous


class VideoFrames(Encoding):
    """Shape (C, T, H, W), in [-1, 1]."""

    modality_name = "video"
    name = "frames"
    extendable = True
    modality: Video

    @property
    def space(self) -> Continuous:
        return Continuous(self.modality.shape, levels=256)

    @property
    def packed_bytes(self) -> int:
        return int(np.prod(self.modality.shape))

    def pack(self, values: Sequence[Any]) -> Packed:
        return Packed(np.stack([self.modality.array(v) for v in values]))

    def encode(self, batch: NDArray[Any], draws: Draws | None = None) -> Tensor:
        return torch.from_numpy(batch).float() / 127.5 - 1

    def decode(self, x: Tensor, draws: Draws | None = None) -> list[Any]:
        clips = ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        return [self.modality.clip(clip) for clip in clips]

    def heatmap_html(self, x: Tensor, weights: NDArray[np.float64], titles: Sequence[str] = ()) -> str:
        return self.modality.shaded(self.decode(x[None])[0], weights.max(0))
