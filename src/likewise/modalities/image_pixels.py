"""A picture as numbers in [-1, 1], one for each channel of each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.draws import Draws
from likewise.modalities.encoding import Encoding
from likewise.modalities.image import Image, to_picture
from likewise.modalities.packed import Packed
from likewise.spaces import Continuous


class ImagePixels(Encoding):
    """Shape (C, H, W), in [-1, 1]; with draws, each picture may be cropped at random and mirrored."""

    modality_name = "image"
    name = "pixels"
    modality: Image

    @property
    def space(self) -> Continuous:
        return Continuous((self.modality.channels, self.modality.height, self.modality.width), levels=256)

    @property
    def packed_bytes(self) -> int:
        return self.modality.channels * self.modality.room[0] * self.modality.room[1]

    def pack(self, values: Sequence[Any]) -> Packed:
        """Shape (N, C, *room[::-1]), uint8: with the margin for a random crop."""
        return Packed(np.stack([self.modality.array(v) for v in values]))

    def encode(self, batch: NDArray[Any], draws: Draws | None = None) -> Tensor:
        image = self.modality
        x = torch.from_numpy(np.ascontiguousarray(image.middle(batch)) if draws is None else batch)
        if draws is not None and (image.flip or image.crop == "random"):
            x = self._augmented(x, draws.branch("aside").to("cpu"))
        return x.float() / 127.5 - 1

    def _augmented(self, x: Tensor, draws: Draws) -> Tensor:
        """Random crops, half of them mirrored if `flip`, of packed pixels (B, C, *room[::-1]): shape (B, C, H, W).

        The branch of draws is separate, so that a view of the target is augmented in the same way as the target.
        """
        image, size = self.modality, (self.modality.height, self.modality.width)
        turned = (draws.bits() >> 31 if image.flip else torch.zeros(len(x))).tolist()
        down, right = (draws.integers(n - m + 1).tolist() for n, m in zip(image.room[::-1], size, strict=True))
        seen = [
            one[:, top : top + size[0], left : left + size[1]] for one, top, left in zip(x, down, right, strict=True)
        ]
        return torch.stack([one.flip(-1) if flip else one for one, flip in zip(seen, turned, strict=True)])

    def decode(self, x: Tensor, draws: Draws | None = None) -> list[Any]:
        pixels = ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        return [to_picture(a) for a in pixels]

    def heatmap_html(self, x: Tensor, weights: NDArray[np.float64], titles: Sequence[str] = ()) -> str:
        return self.modality.shaded(self.decode(x[None])[0], weights.max(0))
