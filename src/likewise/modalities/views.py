"""Views: conditions that are computed from the target itself and need no other data.

The views of a picture are a small copy, a grey copy, and its main colours. Learning p(picture | small) is
super-resolution (Saharia et al., "Image super-resolution via iterative refinement", 2021), p(picture | grey) is
colourisation, and p(picture | palette) generates pictures in the colours of a brand. `--given NAME` selects a field of
the data; if no field has that name, it selects a view of the target. `Modality.views` lists the views.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise import catalog
from likewise.data.columns import Stream, Where
from likewise.data.records import Records
from likewise.modalities.base import Modality, ModalitySettings
from likewise.modalities.encoding import Encoding


class Viewed(Stream):
    """A column whose items are computed from another column on access."""

    def __init__(self, source: Sequence[Any], view: Callable[[Any], Any]) -> None:
        self.source, self._view = source, view

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Any:
        return self._view(self.source[index])

    def subset(self, where: Where) -> Viewed:
        source = self.source
        picked = source.subset(where) if isinstance(source, Stream) else [source[int(i)] for i in where]
        return Viewed(picked, self._view)

    @property
    def unread(self) -> bool:
        return isinstance(self.source, Stream)

    def marks(self) -> Iterator[NDArray[np.uint64]]:
        raise NotImplementedError("a view is divided as its target is")

    def fingerprint(self) -> str:
        raise NotImplementedError("a view is its target's, which has the fingerprint")

    @property
    def bytes(self) -> int:
        return 0


def kinds(modality: str) -> dict[str, str]:
    """The views of a modality: {name of the view: its modality}."""
    return {name: view.modality for name, view in catalog.find("modality", modality).views().items()}


def add(records: Records, modality: Modality) -> Records:
    """The records with an added column for each given field that is a view of the target and not in the data."""
    target = records.columns[records.target]
    columns = {name: seen(target, modality, name) for name in records.given if name not in records.columns}
    return replace(records, columns={**records.columns, **columns}) if columns else records


def seen(values: Sequence[Any], modality: Modality, name: str) -> Viewed:
    """The view `name` of each of the raw values."""
    return Viewed(values, lambda value: modality.view(value, name))


def settings(encoding: Encoding, name: str, own: ModalitySettings) -> ModalitySettings:
    """The settings of the view `name`: the user's, with defaults from the target. Raises ValueError."""
    stated = {key: getattr(own, key) for key in own.model_fields_set}
    return type(own).model_validate({**encoding.view_settings(name), **stated})
