"""An encoding: how the values of a modality become tensors of one space, and tensors become values again.

A modality has one encoding or several (a picture its pixels, or tokens of patches); `likewise.catalog` lists them, the
most natural first. What an encoding has learned (a codebook, a vocabulary) is its own state, beside its modality's.
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

#: batches of tokens are padded to a multiple of this many, so that few shapes are met: see docs/guide/speed.md
_WHOLE = 8


class Encoding(ABC):
    """The way between the values of a fitted modality and tensors of `space`.

    An instance is immutable. Its state is JSON, is saved with the run, and with the modality's is all that is needed
    to decode.
    """

    #: of the modality whose values are encoded; with `name`, what the catalog calls it: "image.pixels"
    modality_name: ClassVar[str]
    #: as `--set target.encoding=NAME` has it
    name: ClassVar[str]
    part_kind: ClassVar[str] = "encoding"
    #: the family that is tried where a user names none
    default_family: ClassVar[str] = "flow"
    #: whether a drawn value may go on beyond the space's first dimension, which is time (see `sampling.outpainting`)
    extendable: ClassVar[bool] = False
    #: whether values can be longer than the space's length; `windows` has all of them
    windowed: bool = False
    #: of `token_bytes`: what the first token of a text writes at its beginning, and the text leaves out
    lead: bytes = b""
    #: what a user should know of how the data were encoded, for example how many texts had to be cut
    notes: tuple[str, ...] = ()

    def __init__(self, modality: Modality) -> None:
        """modality: the fitted one whose values these are."""
        self.modality = modality

    @classmethod
    def fit(cls, modality: Modality, values: Sequence[Any], settings: Any, seed: int = 0) -> Encoding:
        """Learn from the raw training values. settings: the modality's.

        Raises ValueError that says what to do.
        """
        return cls.from_state(modality, {})

    def state(self) -> dict[str, Any]:
        """Everything `from_state` needs beside the modality, as JSON."""
        return {}

    @classmethod
    def from_state(cls, modality: Modality, state: dict[str, Any]) -> Encoding:
        return cls(modality, **state)

    def of(self, modality: Modality) -> Encoding:
        """The same encoding of another fitted modality of the kind, such as one whose samples are written otherwise."""
        return type(self).from_state(modality, self.state())

    @property
    @abstractmethod
    def space(self) -> Space: ...

    @abstractmethod
    def pack(self, values: Sequence[Any]) -> Packed:
        """Read raw values into compact arrays. Raises BadValue for one that cannot be read."""

    def in_windows(self) -> Encoding:
        """The same for a family that learns what is longer than the space's length window by window.

        Itself where nothing is, or where a user does not want it.
        """
        return self

    def windows(self, values: Sequence[Any]) -> Windows:
        """The values whole, and their windows; only where it is `windowed`."""
        raise NotImplementedError(f"{self.name} of {self.modality.name} has no windows")

    @property
    def packed_bytes(self) -> int | None:
        """How many bytes an item takes when it is packed; None where that depends on the item."""
        return None

    def unseen(self, values: Sequence[Any]) -> dict[int, str]:
        """Which of the values hold what training data never do and no model can make, by index: what that is."""
        return {}

    @abstractmethod
    def encode(self, batch: NDArray[Any], draws: Draws | None = None) -> Tensor:
        """A batch taken from `Packed` as a tensor of the space; `draws` for dequantisation.

        Without draws the encoding is deterministic (the middle of each bin).
        """

    @abstractmethod
    def decode(self, x: Tensor, draws: Draws | None = None) -> list[Any]:
        """A batch of the space as values: what the modality's `read` would give for the user's own files."""

    def pieces(self, x: Tensor) -> list[str]:
        """The parts of one encoded item that words can name: a text's tokens, a row's columns; [] of a picture.

        x: shape (*shape) or (L,). What is behind an `end` is left out.
        """
        return []

    @abstractmethod
    def heatmap_html(self, x: Tensor, weights: NDArray[np.float64], titles: Sequence[str] = ()) -> str:
        """One encoded item as HTML in which each part is coloured by its weight, which is in [0, 1].

        x, weights: shape (*shape) or (L,); of several numbers of one part (a pixel's channels) the largest weight
        counts. titles: what is to be said of each piece, one for each of `pieces`. The style of a coloured part is
        the class "piece", whose variable --heat is its weight.
        """

    def token_bytes(self) -> list[bytes]:
        """What each token writes, in UTF-8, by number; `end` writes nothing. Raises ValueError if there is no text."""
        raise ValueError(
            f"prompts, stops, streams, patterns and surprisal pages are for text, and this is {self.modality.name}"
        )

    def tokens_of(self, value: Any) -> list[int]:
        """The tokens of one text, without `end`; only where there are `token_bytes`."""
        raise NotImplementedError(f"{self.modality.name} is no text")

    def uncounted(self) -> str | None:
        """What the encoding loses of a value, so that a likelihood does not count it; None if nothing."""
        return None

    def view_settings(self, name: str) -> dict[str, Any]:
        """What the modality of the view `name` is to be set to, where the user sets nothing. Raises ValueError."""
        return self.modality.view_settings(name)

    def describe(self) -> str:
        """What was learned, in a few words: "28x28 grey"."""
        return self.modality.describe()


class Items(Protocol):
    """Packed values, in memory or read as they are needed."""

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
    """The packed values at `indices`, shape (B,), as a tensor of the encoding's space, with a mask where it is ragged.

    trim: items of lengths of their own are padded to about the longest of them only, and not to the space's length.
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
    # of a ragged space, the values, shape (B, C - 1, L, *rest): a packed value has one entry for each first position
    return add_mask(encoded, torch.from_numpy(packed.lengths[indices])) if ragged else encoded


def encoding_class(modality: str, name: str) -> type[Encoding]:
    """The encoding `name` of the modality called `modality`."""
    return catalog.find("encoding", f"{modality}.{name}")


def fit_encoding(
    kind: type[Modality], values: Sequence[Any], settings: Any = None, name: str | None = None, seed: int = 0
) -> Encoding:
    """Fit a modality to raw training values, and its encoding `name`, by default its first.

    settings: the modality's, by default its own defaults. Raises ValueError that says what to do.
    """
    settings = settings if settings is not None else kind.Settings()
    known = encoding_class(kind.name, name or catalog.encodings(kind.name)[0])
    return known.fit(kind.fit(values, settings, seed), values, settings, seed)


def stored(modality: Modality) -> Encoding | None:
    """The encoding whose arrays real data are kept as beside a run's weights; None where they are kept as JSON."""
    return (
        None if modality.storage is None else encoding_class(modality.name, modality.storage).from_state(modality, {})
    )
