"""Modalities read the user's files as values, and write and display values.

An `Encoding` converts values to tensors (see `likewise.modalities.encoding`).
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from pydantic import BaseModel, ConfigDict, Field, field_validator

from likewise import catalog
from likewise.data.records import FoundFiles

#: standard forms of values for metrics, pages and exporters: a string; named columns; a picture; the frames of a clip;
#: the messages of a conversation
Form = Literal["text", "row", "picture", "frames", "messages"]


class BadValue(ValueError):
    """A value that cannot be read; the message states the reason but does not name the file."""


class ModalitySettings(BaseModel):
    """User settings of a modality; None means "infer from the data". Subclasses add a literal `modality`."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    encoding: str | None = Field(
        default=None, description="how values become tensors; default: the first encoding that the family can learn"
    )

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        kind = cls.model_fields["modality"].default if "modality" in cls.model_fields else ""
        known = catalog.encodings(kind)
        if value is not None and known and value not in (*known, *catalog.encodings(catalog.ANY)):
            raise ValueError(f"the encodings of {kind} are {', '.join(known)}")
        return value


def spread(values: Sequence[Any], most: int) -> Iterator[Any]:
    """Yields at most `most` values at evenly spaced indices, one at a time."""
    return (values[i] for i in np.linspace(0, len(values) - 1, min(len(values), most)).astype(int))


@dataclass(frozen=True)
class View:
    """A condition computed from the target itself. modality: that of the condition. words: a short description."""

    modality: str
    words: str


class Modality(ABC):
    """The part that all encodings of a field share, fitted to the user's files (sizes, columns, classes).

    An instance is immutable. Its state is JSON and is saved with the run.
    """

    name: ClassVar[str]
    part_kind: ClassVar[str] = "modality"
    Settings: ClassVar[type[ModalitySettings]]
    #: the encoding in which a run stores real data beside the weights; None where they are stored as JSON
    storage: ClassVar[str | None] = None
    #: suffix of sample files, such as ".png"; None where samples are stored in samples.jsonl
    suffix: str | None = None
    #: suffixes of the formats that `written` can select
    suffixes: tuple[str, ...] = ()
    #: the noun for one value, in the singular: "picture"
    item: ClassVar[str] = "item"
    #: suffixes of files that hold one value each, such as ".png"; see `find_files`
    reads: ClassVar[tuple[str, ...]] = ()
    #: the standard forms to which values can be converted, by `text_of`, `row_of`, `picture_of`, `frames_of` and
    #: `messages_of`. Metrics, report sections, pages and exporters depend on these forms, not on the modality's name.
    forms: tuple[Form, ...] = ()
    #: layout of values on a page: figures side by side, texts one below another, or rows of a table
    page_style: Literal["figures", "texts", "rows"] = "texts"
    #: unit of likelihoods: bits per "byte" of text, "dimension" of a picture or "column" of a table
    likelihood_unit: str = "dimension"
    #: notes for the user on how the data were read, for example that 16-bit pictures are read as 8-bit
    notes: tuple[str, ...] = ()
    #: whether the modality is for conditions only: its values are read, but never generated
    condition_only: ClassVar[bool] = False
    #: if `condition_only`, the modality that generates such values
    base_modality: ClassVar[str] = ""

    @classmethod
    def examples(cls, count: int = 16) -> list[Any]:
        """`count` small raw values, the same at each call; the contract tests train on them."""
        raise NotImplementedError(f"{cls.name} gives no examples of its values")

    @classmethod
    def fit(cls, values: Sequence[Any], settings: Any, seed: int = 0) -> Modality:
        """Fit to the training values (never the held-out ones). Raises ValueError whose message says what to do."""
        return cls.from_state({})

    @classmethod
    def given_settings(cls, settings: Any) -> Any:
        """Settings with defaults suited to a condition, where the user has set nothing; here unchanged."""
        return settings

    @classmethod
    def find_files(cls, folder: Path, names: Sequence[str], asked: bool) -> FoundFiles | None:
        """The files of a folder that are values of this modality; None if there are none.

        names: all files in the folder and its subfolders, relative to it, or the files that its metadata list. asked:
        whether the user selected this modality. Modalities are tried in the order of the catalog.
        """
        found = [name for name in names if Path(name).suffix.lower() in cls.reads]
        found.sort(key=lambda name: name.split(os.sep))
        return FoundFiles(found, f"{cls.name} folder") if found else None

    @classmethod
    def summary(cls, value: Any) -> tuple[str, str]:
        """(short description, key) of a raw value that is not a file; values that look alike share a key.

        The key is "" where similarity is not determined. For files, see `thumbnail`.
        """
        return cls.name, ""

    def given_notes(self, name: str, values: Sequence[Any], target: Modality) -> tuple[str, ...]:
        """Notes for a user who conditions a model of `target` on these values of the field `name`."""
        return ()

    def state(self) -> dict[str, Any]:
        """All that `from_state` needs, as JSON."""
        return {}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Modality:
        return cls(**state)

    @classmethod
    def views(cls) -> dict[str, View]:
        """Conditions that can be computed from a value, by name: see `likewise.modalities.views`."""
        return {}

    def view(self, value: Any, name: str) -> Any:
        """The view `name` of a raw value, as a raw value of the view's modality. Raises BadValue."""
        raise NotImplementedError(f"{self.name} has no view {name}")

    def view_settings(self, name: str) -> dict[str, Any]:
        """Default settings for the modality of the view `name`. Raises ValueError if the view is unavailable."""
        return {}

    def to_given(self, value: Any) -> Any:
        """A raw value as JSON that `read` accepts without the user's files, to store a sample's condition with it."""
        return value

    @abstractmethod
    def read(self, value: Any) -> Any:
        """A record's raw value (a path, a string, a mapping) as a value that `write` and `to_html` accept."""

    def parse(self, text: str) -> Any:
        """A raw value from the command line, as in `--given label=3`."""
        return self.read(text)

    def write(self, value: Any, path: Path, provenance: dict[str, Any]) -> None:
        """Write one sample to a file that also contains its provenance. Only where `suffix` is not None."""
        raise NotImplementedError(f"{self.name} samples stand in samples.jsonl")

    def written(self, changes: Mapping[str, Any]) -> Modality:
        """A copy with other settings for writing samples, such as {"format": "mp4"}. Raises ValueError for others."""
        raise ValueError(f"target.{min(changes)}: there is one way only to write {self.name}")

    @classmethod
    def read_provenance(cls, path: Path) -> dict[str, Any] | None:
        """The provenance in a file written by `write`; None if it has none."""
        return None

    def to_json(self, value: Any) -> Any:
        """A value as stored in samples.jsonl (only where `suffix` is None)."""
        return value

    def caption(self, value: Any) -> str:
        """A raw value as one line of text, for captions."""
        return str(value)

    @abstractmethod
    def to_html(self, value: Any) -> str:
        """A value as a self-contained HTML fragment."""

    def text_of(self, value: Any) -> str:
        """The value as text that `read` accepts. Only where "text" is one of `forms`."""
        raise NotImplementedError(f"{self.name} is no text")

    def row_of(self, value: Any) -> Mapping[str, Any]:
        """The value as columns, by name, which `read` accepts. Only where "row" is one of `forms`."""
        raise NotImplementedError(f"{self.name} has no columns")

    def picture_of(self, value: Any) -> PILImage.Image:
        """The complete value as a picture. Only where "picture" is one of `forms`."""
        raise NotImplementedError(f"{self.name} is no picture")

    def frames_of(self, value: Any) -> NDArray[np.uint8]:
        """The value's frames, shape (T, H, W, C), in [0, 255]. Only where "frames" is one of `forms`."""
        raise NotImplementedError(f"{self.name} has no frames")

    def messages_of(self, value: Any) -> Sequence[Mapping[str, str]]:
        """The value as messages with role and content, which `read` accepts.

        Only where "messages" is one of `forms`.
        """
        raise NotImplementedError(f"{self.name} is no conversation")

    def as_form(self, values: Sequence[Any], form: Form) -> list[Any]:
        """The values converted to one of `forms`."""
        find: dict[Form, Callable[[Any], Any]] = {
            "text": self.text_of, "row": self.row_of, "picture": self.picture_of, "frames": self.frames_of,
            "messages": self.messages_of,
        }  # fmt: skip
        return [find[form](value) for value in values]

    def still(self, value: Any) -> PILImage.Image | None:
        """A picture that represents the value on a contact sheet; None if it has none."""
        return None

    def content(self, value: Any) -> bytes:
        """Bytes for comparison: equal values have equal bytes."""
        return json.dumps(self.to_json(value), sort_keys=True, default=str).encode()

    def sheet(self, values: Sequence[Any]) -> bytes | None:
        """The values side by side as one PNG; None where they are not pictures."""
        return None

    def moving_sheet(self, values: Sequence[Any]) -> bytes | None:
        """The values side by side as one animated GIF; None where they are not clips."""
        return None

    @classmethod
    def thumbnail(cls, path: Path) -> tuple[str, PILImage.Image]:
        """A short description of a user's file, and a preview picture. Raises BadValue if it cannot be read."""
        raise BadValue(f"a {cls.name} is not read from a file of its own")

    def read_file(self, path: Path) -> Any:
        """The single value in a user's file, as returned by `read`. Raises BadValue."""
        raise BadValue(f"a {self.name} is not read from a file of its own; give the number of a sample")

    def read_mask(self, path: Path) -> NDArray[np.bool_]:
        """A user's mask file as booleans, True where the value is kept; shape: the positions of the space.

        Raises BadValue.
        """
        raise BadValue(f"what is to be kept of a {self.name} is not read from a file; of a picture it is")

    def perturbations(self, value: Any, rng: np.random.Generator) -> list[tuple[str, Any]]:
        """Plausible wrong or unusual inputs in place of `value`: (description of the change, changed value).

        Examples: misspelt, damaged, outside the range of the training data. [] where the modality has none.
        """
        return []

    def properties(self, values: Sequence[Any]) -> dict[str, Callable[[Any], bool]]:
        """Properties that hold for some values only: {description: predicate}; thresholds are taken from `values`."""
        return {}

    @abstractmethod
    def features(self, values: Sequence[Any]) -> NDArray[np.float64]:
        """Features for two-sample metrics that need no trained network, shape (N, F)."""

    @property
    def resize(self) -> str:
        """How `features` resizes pictures: "none", or the filter and the size."""
        return "none"

    def labels(self, values: Sequence[Any]) -> dict[str, list[str | None]]:
        """Categorical parts of raw values, by name ("" for the value itself); None marks a missing one."""
        return {}

    def without(self, values: Sequence[Any], name: str) -> list[Any]:
        """Raw values with the part `name` of `labels` removed (unknown)."""
        raise NotImplementedError(f"{self.name} has no labels")

    @abstractmethod
    def num_units(self, value: Any) -> int:
        """The number of units (see `likelihood_unit`) of a value, by which its likelihood is divided."""

    def task(self, given: Sequence[str]) -> str | None:
        """The task name on model hubs for generating values from the modalities `given`; None if there is none."""
        return None

    def describe(self) -> str:
        """A short description of the fitted modality, such as "28x28 grey"."""
        return self.name
