"""Encodings convert the values of a modality to tensors of one space, and tensors back to values.

A modality has one or more encodings (pixels of a picture, or tokens of its patches); `likewise.catalog` lists them, the
default first. The fitted state of an encoding (a codebook, a vocabulary) is stored separately from its modality's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise import catalog
from likewise.draws import Draws
from likewise.modalities.base import Modality
from likewise.modalities.packed import Packed, Windows
from likewise.spaces import Continuous, Space, Tokens, add_mask

#: batches of tokens are padded to a multiple of this length, so that few shapes occur: see docs/guide/speed.md
_WHOLE = 8


class Encoding(ABC):
    """Converts the values of a fitted modality to tensors of `space`, and back.

    An instance is immutable. Its state is JSON and is saved with the run; together with the modality's state it
    suffices to decode.
    """

    #: name of the encoded modality; MODALITY.NAME is the key in the catalog, such as "image.pixels"
    modality_name: ClassVar[str]
    #: the NAME in `--set target.encoding=NAME`
    name: ClassVar[str]
    part_kind: ClassVar[str] = "encoding"
    #: the family that is used unless the user names one
    default_family: ClassVar[str] = "flow"
    #: whether samples can be extended along the first dimension of the space, which is time (`sampling.outpainting`)
    extendable: ClassVar[bool] = False
    #: whether values can be longer than the space's length; `windows` then divides them
    windowed: bool = False
    #: prefix in the `token_bytes` of a text's first token that is not part of the text
    lead: bytes = b""
    #: notes for the user on how the data were encoded, for example how many texts were truncated
    notes: tuple[str, ...] = ()

    def __init__(self, modality: Modality) -> None:
        """modality: the fitted modality of the values."""
        self.modality = modality

    @classmethod
    def fit(cls, modality: Modality, values: Sequence[Any], settings: Any, seed: int = 0) -> Encoding:
        """Fit to the raw training values. settings: those of the modality.

        Raises ValueError whose message says what to do.
        """
        return cls.from_state(modality, {})

    def state(self) -> dict[str, Any]:
        """All that `from_state` needs in addition to the modality, as JSON."""
        return {}

    @classmethod
    def from_state(cls, modality: Modality, state: dict[str, Any]) -> Encoding:
        return cls(modality, **state)

    def of(self, modality: Modality) -> Encoding:
        """A copy for another instance of the same modality, for example one with another format for samples."""
        return type(self).from_state(modality, self.state())

    @property
    @abstractmethod
    def space(self) -> Space: ...

    @abstractmethod
    def pack(self, values: Sequence[Any]) -> Packed:
        """Read raw values into compact arrays. Raises BadValue for a value that cannot be read."""

    def in_windows(self) -> Encoding:
        """The variant that divides long values into windows, for families that support windows.

        Returns self where no value is longer than the space's length, or where the user has disabled windows.
        """
        return self

    def windows(self, values: Sequence[Any]) -> Windows:
        """The complete values, divided into windows. Only where `windowed`."""
        raise NotImplementedError(f"{self.name} of {self.modality.name} has no windows")

    @property
    def packed_bytes(self) -> int | None:
        """Bytes of one packed item; None where the size depends on the item."""
        return None

    def unseen(self, values: Sequence[Any]) -> dict[int, str]:
        """Content that the training data lack and that cannot be encoded: {index of the value: description}."""
        return {}

    @abstractmethod
    def encode(self, batch: NDArray[Any], draws: Draws | None = None) -> Tensor:
        """A batch taken from `Packed` as a tensor of the space. draws: random numbers, for example for dequantisation.

        Without draws the encoding is deterministic (the middle of each bin).
        """

    @abstractmethod
    def decode(self, x: Tensor, draws: Draws | None = None) -> list[Any]:
        """A batch of the space as values of the kind that the modality's `read` returns."""

    def pieces(self, x: Tensor) -> list[str]:
        """The parts of one encoded item as strings: the tokens of a text, the columns of a row; [] for a picture.

        x: shape (*shape) or (L,). Positions after `end` are left out.
        """
        return []

    @abstractmethod
    def heatmap_html(self, x: Tensor, weights: NDArray[np.float64], titles: Sequence[str] = ()) -> str:
        """One encoded item as HTML in which each part is coloured by its weight, which is in [0, 1].

        x, weights: shape (*shape) or (L,); where a part has several numbers (the channels of a pixel), the largest
        weight is shown. titles: tooltips, one for each of `pieces`. Coloured parts have the CSS class "piece" and the
        variable --heat, which is the weight.
        """

    def token_bytes(self) -> list[bytes]:
        """The UTF-8 bytes of each token, by token number; empty for `end`. Raises ValueError if this is not text."""
        raise ValueError(
            f"prompts, stops, streams, patterns and surprisal pages are for text, and this is {self.modality.name}"
        )

    def tokens_of(self, value: Any) -> list[int]:
        """The tokens of one text, without `end`. Raises NotImplementedError if this is not text."""
        raise NotImplementedError(f"{self.modality.name} is no text")

    def uncounted(self) -> str | None:
        """The information that encoding discards and likelihoods therefore omit, in words; None if it is lossless."""
        return None

    def view_settings(self, name: str) -> dict[str, Any]:
        """Default settings for the modality of the view `name`. Raises ValueError if the view is unavailable."""
        return self.modality.view_settings(name)

    def describe(self) -> str:
        """A short description of the fitted encoding, such as "28x28 grey"."""
        return self.modality.describe()


class Items(Protocol):
    """Packed values, in memory or read on demand."""

    @property
    def ragged(self) -> bool: ...

    @property
    def pad(self) -> int: ...

    @property
    def lengths(self) -> Any: ...

    def take(self, indices: NDArray[np.int64]) -> NDArray[Any]: ...


def encode_items(
    encoding: Encoding, packed: Items, indices: NDArray[np.int64], draws: Draws | None = None, trim: bool = False
) -> Tensor:
    """The packed values at `indices`, shape (B,), as a tensor of the encoding's space, with a mask if it is ragged.

    trim: pad items of variable length to about the longest in the batch, and not to the space's length.
    """
    batch, space = packed.take(indices), encoding.space
    ragged = isinstance(space, Continuous) and space.ragged
    if packed.ragged and (ragged or isinstance(space, Tokens)):
        most = space.positions[0] if isinstance(space, Continuous) else space.length
        length = min(most, -(-batch.shape[1] // _WHOLE) * _WHOLE) if trim else most
        full = np.full((len(batch), length, *batch.shape[2:]), packed.pad, batch.dtype)
        full[:, : batch.shape[1]] = batch
        batch = full
    encoded = encoding.encode(batch, draws)
    # In a ragged space `encoded` has shape (B, C - 1, L, *rest); packed lengths count entries along L.
    return add_mask(encoded, torch.from_numpy(packed.lengths[indices])) if ragged else encoded


def encoding_class(modality: str, name: str) -> type[Encoding]:
    """The encoding `name` of the modality called `modality`."""
    return catalog.find("encoding", f"{modality}.{name}")


def fit_encoding(
    kind: type[Modality], values: Sequence[Any], settings: Any = None, name: str | None = None, seed: int = 0
) -> Encoding:
    """Fit a modality to raw training values, then its encoding `name` (default: the first in the catalog).

    settings: those of the modality. Raises ValueError whose message says what to do.
    """
    settings = settings if settings is not None else kind.Settings()
    known = encoding_class(kind.name, name or catalog.encodings(kind.name)[0])
    return known.fit(kind.fit(values, settings, seed), values, settings, seed)


def stored(modality: Modality) -> Encoding | None:
    """The encoding in which a run stores real data beside its weights; None where they are stored as JSON."""
    return (
        None if modality.storage is None else encoding_class(modality.name, modality.storage).from_state(modality, {})
    )
