"""The real data kept with a run, for reports and as conditions where none is given."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from likewise.errors import Message, Setting, UserError
from likewise.modalities import views
from likewise.modalities.base import Modality
from likewise.modalities.encoding import Encoding, stored
from likewise.training.batches import FieldData


@dataclass(frozen=True)
class Reference:
    """Real data stored in a run: target values, condition values by field, and both encoded.

    x: the encoded target, shape (n, ...). c: the encoded conditions; None if unconditional.
    """

    values: list[Any]
    given: dict[str, list[Any]]
    x: Tensor
    c: dict[str, Tensor] | None


class Kept(Sequence[Any]):
    """Values stored as one array, each decoded on access."""

    def __init__(self, file: Path, encoding: Encoding) -> None:
        self._batch, self._encoding = np.load(file, mmap_mode="r", allow_pickle=False), encoding

    def __len__(self) -> int:
        return len(self._batch)

    def __getitem__(self, index: Any) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        batch = np.array(self._batch[index])[None]
        return self._encoding.decode(self._encoding.encode(batch))[0]


def keep(
    folder: Path, split: str, target: Modality, values: Sequence[Any], given: Mapping[str, Sequence[Any]],
    conditions: Mapping[str, Encoding],
) -> None:  # fmt: skip
    """Store real data in a folder: pictures as arrays, other values as JSON. Views are not stored, but computed again.

    given: the values of each condition by field. conditions: the encoding of each condition.
    """
    folder.mkdir(exist_ok=True)
    told: dict[str, Any] = {}
    if (arrays := stored(target)) is not None:
        _save(folder / f"{split}.npy", arrays, values)
    else:
        told[""] = list(values)
    for number, (name, encoding) in enumerate(conditions.items()):
        column = given[name]
        if isinstance(column, views.Viewed):
            continue
        if (arrays := stored(encoding.modality)) is not None:
            _save(folder / f"{split}.{number}.npy", arrays, column)
        else:
            told[name] = list(column)
    (folder / f"{split}.json").write_text(json.dumps(told, ensure_ascii=False, default=str), encoding="utf-8")


def _save(file: Path, encoding: Encoding, values: Sequence[Any]) -> None:
    packed = FieldData.of(encoding, values).packed
    np.save(file, packed.take(np.arange(len(values))), allow_pickle=False)


def kept(
    folder: Path, split: str, target: Modality, conditions: Mapping[str, Encoding]
) -> tuple[Sequence[Any], dict[str, Sequence[Any]]]:
    """The stored target values, and the stored condition values by field. Raises UserError if there are none."""
    file = folder / f"{split}.json"
    if not file.is_file():
        raise UserError(
            f"{file}: is not there",
            fix=Message(
                "evaluating needs the real data that training left in the run, and so does a sample of "
                "which nobody says what it is ",
                Setting("given"),
            ),
        )
    told = json.loads(file.read_text(encoding="utf-8"))
    values = told.pop("") if "" in told else _arrays(folder / f"{split}.npy", target)
    given: dict[str, Sequence[Any]] = {}
    for number, (name, encoding) in enumerate(conditions.items()):
        array = folder / f"{split}.{number}.npy"
        if name in told:
            given[name] = told[name]
        else:
            given[name] = _arrays(array, encoding.modality) if array.is_file() else views.seen(values, target, name)
    return values, given


def _arrays(file: Path, modality: Modality) -> Kept:
    encoding = stored(modality)
    assert encoding is not None
    return Kept(file, encoding)
