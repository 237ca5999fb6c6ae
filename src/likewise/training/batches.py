"""Packed records as batches of tensors: x in the target's space, c in the condition's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.draws import Draws
from likewise.modalities.base import Encoding, Modality, Packed
from likewise.spaces import Tokens


@dataclass(frozen=True)
class Channel:
    """One field of the records, ready to be encoded."""

    modality: Modality
    encoding: Encoding
    packed: Packed

    def encode(self, indices: NDArray[np.int64], draws: Draws | None, trim: bool) -> Tensor:
        batch = self.packed.take(indices)
        space = self.modality.space(self.encoding)
        if self.packed.offsets is not None and isinstance(space, Tokens) and not trim:
            full = np.full((len(batch), space.length), self.packed.pad, batch.dtype)
            full[:, : batch.shape[1]] = batch
            batch = full
        return self.modality.encode(batch, self.encoding, draws)


@dataclass(frozen=True)
class Batches:
    """The records of one split. Their order is whoever asks."""

    target: Channel
    condition: Mapping[str, Channel] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.target.packed)

    @property
    def lengths(self) -> NDArray[np.int64] | None:
        return self.target.packed.lengths

    def take(
        self, indices: NDArray[np.int64], draws: Draws | None = None, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        """The records at `indices`, shape (B,): x, cut to the longest item, and c (None if nothing is given).

        draws: for dequantisation, row b for indices[b]; None for none.
        """
        x = self.target.encode(indices, draws, trim=True).to(device, non_blocking=True)
        if not self.condition:
            return x, None
        # A condition keeps its full length: its padding is masked, and its shape must not depend on the batch.
        c = {k: v.encode(indices, draws, trim=False).to(device, non_blocking=True) for k, v in self.condition.items()}
        return x, c
