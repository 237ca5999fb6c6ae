"""Editing requests: an item of the user and a mask, read from files and stored in the provenance of each sample.

The family carries the edit out (see `families.editing`).
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.errors import Message, Setting, UserError
from likewise.families.editing import Edited
from likewise.modalities.base import BadValue
from likewise.modalities.encoding import Encoding
from likewise.spaces import Continuous

#: default strengths, without and with a mask of positions to keep
_STRENGTH, _STRENGTH_BESIDE = 0.6, 1.0


@dataclass(frozen=True, eq=False)
class Edit:
    """An edit that a user requests.

    item: the item, packed by its encoding, shape (*any). keep: True at positions that stay unchanged, with the shape of
    the positions; None if there are none. strength: share of the item that is sampled anew, in [0, 1].
    """

    item: NDArray[Any]
    keep: NDArray[np.bool_] | None
    strength: float

    @classmethod
    def read(cls, encoding: Encoding, item: str | None, keep: str | None, strength: float | None) -> Edit | None:
        """The edit that a user describes by files and a number; None without an item.

        Raises UserError or ValueError if a setting or a file is wrong.
        """
        if item is None:
            if keep is not None:
                raise UserError(
                    Message("of which picture? give it too, ", Setting("from_image", "FILE")),
                    setting="keep",
                    value=keep,
                )
            if strength is not None:
                raise UserError(
                    Message("of which picture? give it too, ", Setting("from_image", "FILE")), setting="strength"
                )
            return None
        space, modality = encoding.space, encoding.modality
        if not isinstance(space, Continuous) or not space.positions:
            raise UserError(
                f"this run learned {encoding.describe()}, as {space}, and what is edited are real values "
                "with positions, such as a picture's pixels",
                setting="from_image",
            )
        if strength is None:
            strength = _STRENGTH if keep is None else _STRENGTH_BESIDE
        if not 0 <= strength <= 1:
            raise UserError(
                "from 0, the picture as it is, to 1, nothing of it", setting="strength", value=f"{strength:g}"
            )
        packed = _of(item, lambda path: encoding.pack([modality.read_file(path)]))
        return cls(packed.take(np.zeros(1, np.int64))[0], _of(keep, modality.read_mask) if keep else None, strength)

    def to_dict(self) -> dict[str, Any]:
        """The edit for the provenance; sufficient to repeat it without the user's files."""
        found: dict[str, Any] = {"item": _to_text(self.item), "strength": self.strength}
        if self.keep is not None:
            found["keep"] = _to_text(self.keep)
        return found

    @classmethod
    def from_dict(cls, asked: Mapping[str, Any] | None) -> Edit | None:
        if not asked:
            return None
        return cls(_from_text(asked["item"]), _from_text(asked["keep"]) if "keep" in asked else None, asked["strength"])

    def batch(self, encoding: Encoding, count: int, device: torch.device) -> Edited:
        """The argument `edited` of `Model.sample`, for `count` items. Raises UserError if a mask cannot be used."""
        start = encoding.encode(self.item[None]).to(device)
        keep: Tensor | None = None
        if self.keep is not None:
            keep = torch.from_numpy(self.keep).to(device)[None, None]
            if keep.shape[2:] != start.shape[2:]:
                raise UserError(
                    "a part of a picture that is seen through an autoencoder cannot be kept as it is",
                    setting="keep",
                    fix=Message("a run that was trained without ", Setting("through"), " can"),
                )
        return Edited(start.expand(count, *start.shape[1:]), keep, self.strength)


def _of(file: str, read: Any) -> Any:
    """read(file). Raises ValueError that names the file."""
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"{file}: there is no such file")
    try:
        return read(path)
    except BadValue as error:
        raise ValueError(f"{file}: {error}") from None


def _to_text(values: NDArray[Any]) -> dict[str, Any]:
    """An array for JSON: its bytes, compressed, in base 64."""
    packed = base64.b64encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 9)).decode()
    return {"shape": list(values.shape), "type": values.dtype.str, "zlib": packed}


def _from_text(text: Mapping[str, Any]) -> NDArray[Any]:
    raw = zlib.decompress(base64.b64decode(text["zlib"]))
    return np.frombuffer(raw, np.dtype(text["type"])).reshape(text["shape"]).copy()
