"""A modality: how a user's files become values, and what people see of values.

How values become tensors is an `Encoding` (see `likewise.modalities.encoding`).
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

#: what metrics, pages and exporters can take values as: a string; named columns; a picture; frames of a moving picture;
#: the messages of a conversation
Form = Literal["text", "row", "picture", "frames", "messages"]


class BadValue(ValueError):
    """A value that cannot be read; the message says what is wrong with it, without naming the file."""


class ModalitySettings(BaseModel):
    """What a user may choose about a modality; None means "look at the data". Subclasses add a literal `modality`."""

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
    """At most so many of the values, spread evenly over all of them, one at a time."""
    return (values[i] for i in np.linspace(0, len(values) - 1, min(len(values), most)).astype(int))


@dataclass(frozen=True)
class View:
    """A condition that is computed from the target itself. modality: whose value it is. words: what it is."""

    modality: str
    words: str


class Modality(ABC):
    """What all encodings of a field's values have in common, learned from a user's files (sizes, columns, classes).

    An instance is immutable. Its state is JSON and is saved with the run.
    """

    name: ClassVar[str]
    part_kind: ClassVar[str] = "modality"
    Settings: ClassVar[type[ModalitySettings]]
    #: the encoding whose arrays real data are kept as beside the weights; None where they are kept as JSON
    storage: ClassVar[str | None] = None
    #: ".png" where each sample is a file of its own; None where samples stand in the table of samples
    suffix: str | None = None
    #: what samples may be written as beside that, see `written`
    suffixes: tuple[str, ...] = ()
    #: what one value is called, in the singular: "picture"
    item: ClassVar[str] = "item"
    #: the ends of the names of a user's files that are one value each, such as ".png"; see `find_files`
    reads: ClassVar[tuple[str, ...]] = ()
    #: the forms that its values have beside their own, each with its method: `text_of`, `row_of`, `picture_of`,
    #: `frames_of`, `messages_of`. Metrics, report sections, pages and exporters are chosen by these, not by name.
    forms: tuple[Form, ...] = ()
    #: how values stand on a page: as figures side by side, as texts one below another, or as the rows of a table
    page_style: Literal["figures", "texts", "rows"] = "texts"
    #: what a likelihood is divided by: "byte" of text, "dimension" of a picture, "column" of a table
    likelihood_unit: str = "dimension"
    #: what a user should know of how the data were taken, for example how many texts had to be cut
    notes: tuple[str, ...] = ()
    #: whether it is for what is given alone: values are read, and none are made
    condition_only: ClassVar[bool] = False
    #: of one that is, the modality that makes such values
    base_modality: ClassVar[str] = ""

    @classmethod
    def examples(cls, count: int = 16) -> list[Any]:
        """`count` small raw values, the same at each call: what the contract tests train on."""
        raise NotImplementedError(f"{cls.name} gives no examples of its values")

    @classmethod
    def fit(cls, values: Sequence[Any], settings: Any, seed: int = 0) -> Modality:
        """Learn from the training values (never the held-out ones). Raises ValueError that says what to do."""
        return cls.from_state({})

    @classmethod
    def given_settings(cls, settings: Any) -> Any:
        """The settings of a field that is given, so only read, where a user leaves something open: as they are."""
        return settings

    @classmethod
    def find_files(cls, folder: Path, names: Sequence[str], asked: bool) -> FoundFiles | None:
        """Which of a folder's files are values of this modality; None where it holds none.

        names: of all files in the folder and below, relative to it, or of those that its metadata list. asked: whether
        the user asked for this modality. Modalities are asked in the order of the catalog.
        """
        found = [name for name in names if Path(name).suffix.lower() in cls.reads]
        found.sort(key=lambda name: name.split(os.sep))
        return FoundFiles(found, f"{cls.name} folder") if found else None

    @classmethod
    def summary(cls, value: Any) -> tuple[str, str]:
        """A raw value that is no file in a few words, and a key that values which look alike share.

        The key is "" where nothing is said of that. Of a file, `thumbnail` says both.
        """
        return cls.name, ""

    def given_notes(self, name: str, values: Sequence[Any], target: Modality) -> tuple[str, ...]:
        """What a user should know who gives these values, of the field `name`, to a model of `target`."""
        return ()

    def state(self) -> dict[str, Any]:
        """Everything `from_state` needs, as JSON."""
        return {}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Modality:
        return cls(**state)

    @classmethod
    def views(cls) -> dict[str, View]:
        """What else can be seen of a value, by name: see `likewise.modalities.views`."""
        return {}

    def view(self, value: Any, name: str) -> Any:
        """The view `name` of a raw value: a raw value of the view's modality. Raises BadValue."""
        raise NotImplementedError(f"{self.name} has no view {name}")

    def view_settings(self, name: str) -> dict[str, Any]:
        """What the view's modality is to be set to, where the user sets nothing. Raises ValueError if it cannot be."""
        return {}

    def to_given(self, value: Any) -> Any:
        """A raw value as JSON that `read` takes, wherever and whenever: what a sample was given goes with it."""
        return value

    @abstractmethod
    def read(self, value: Any) -> Any:
        """A record's raw value (a path, a string, a mapping) as a value that `write` and `show` take."""

    def parse(self, text: str) -> Any:
        """A value given on the command line, as in `--given label=3`."""
        return self.read(text)

    def write(self, value: Any, path: Path, provenance: dict[str, Any]) -> None:
        """Write one sample to a file of its own, with its provenance inside. Only where `suffix` is not None."""
        raise NotImplementedError(f"{self.name} samples stand in samples.jsonl")

    def written(self, changes: Mapping[str, Any]) -> Modality:
        """The same, but for how samples are written, such as {"format": "mp4"}. Raises ValueError if it has no such."""
        raise ValueError(f"target.{min(changes)}: there is one way only to write {self.name}")

    @classmethod
    def read_provenance(cls, path: Path) -> dict[str, Any] | None:
        """The provenance in a file that `write` wrote; None if it has none."""
        return None

    def to_json(self, value: Any) -> Any:
        """A value as it stands in samples.jsonl (only where `suffix` is None)."""
        return value

    def caption(self, value: Any) -> str:
        """A raw value in a line, for captions."""
        return str(value)

    @abstractmethod
    def to_html(self, value: Any) -> str:
        """A value as a self-contained HTML fragment."""

    def text_of(self, value: Any) -> str:
        """The value as text, which `read` takes again. Only where "text" is one of `forms`."""
        raise NotImplementedError(f"{self.name} is no text")

    def row_of(self, value: Any) -> Mapping[str, Any]:
        """The value as columns, by name; `read` takes it again. Only where "row" is one of `forms`."""
        raise NotImplementedError(f"{self.name} has no columns")

    def picture_of(self, value: Any) -> PILImage.Image:
        """The value as a picture: all of it, not one view of it. Only where "picture" is one of `forms`."""
        raise NotImplementedError(f"{self.name} is no picture")

    def frames_of(self, value: Any) -> NDArray[np.uint8]:
        """The value's frames, shape (T, H, W, C), 8-bit. Only where "frames" is one of `forms`."""
        raise NotImplementedError(f"{self.name} has no frames")

    def messages_of(self, value: Any) -> Sequence[Mapping[str, str]]:
        """The value as messages, each with role and content; `read` takes it again.

        Only where "messages" is one of `forms`.
        """
        raise NotImplementedError(f"{self.name} is no conversation")

    def as_form(self, values: Sequence[Any], form: Form) -> list[Any]:
        """The values in one of `forms`."""
        find: dict[Form, Callable[[Any], Any]] = {
            "text": self.text_of, "row": self.row_of, "picture": self.picture_of, "frames": self.frames_of,
            "messages": self.messages_of,
        }  # fmt: skip
        return [find[form](value) for value in values]

    def still(self, value: Any) -> PILImage.Image | None:
        """A picture that stands for the value on a contact sheet; None where it has none."""
        return None

    def content(self, value: Any) -> bytes:
        """The bytes that tell values apart: equal values have equal ones."""
        return json.dumps(self.to_json(value), sort_keys=True, default=str).encode()

    def sheet(self, values: Sequence[Any]) -> bytes | None:
        """The values side by side as one PNG; None where they are not pictures."""
        return None

    def moving_sheet(self, values: Sequence[Any]) -> bytes | None:
        """The values side by side as one animated GIF; None where they do not move."""
        return None

    @classmethod
    def thumbnail(cls, path: Path) -> tuple[str, PILImage.Image]:
        """What a user's file is in a few words, and a picture to know it by. Raises BadValue if it cannot be read."""
        raise BadValue(f"a {cls.name} is not read from a file of its own")

    def read_file(self, path: Path) -> Any:
        """The one value that a user's file holds, as `read` would give it. Raises BadValue."""
        raise BadValue(f"a {self.name} is not read from a file of its own; give the number of a sample")

    def read_mask(self, path: Path) -> NDArray[np.bool_]:
        """A user's file that says which part of a value to keep: True there, with the shape of the space's positions.

        Raises BadValue.
        """
        raise BadValue(f"what is to be kept of a {self.name} is not read from a file; of a picture it is")

    def perturbations(self, value: Any, rng: np.random.Generator) -> list[tuple[str, Any]]:
        """What a user may give instead of `value`, by mistake or to try it: (what was done, the other value).

        Misspelt, damaged, out of the range of the training data. [] where nothing else can be given.
        """
        return []

    def properties(self, values: Sequence[Any]) -> dict[str, Callable[[Any], bool]]:
        """What is true of some values and not of others, in words, with how to tell; words and limits by `values`."""
        return {}

    @abstractmethod
    def features(self, values: Sequence[Any]) -> NDArray[np.float64]:
        """A plain description of each value for two-sample metrics, shape (N, F), that needs no trained network."""

    @property
    def resize(self) -> str:
        """How `features` brings pictures to one size: "none", or the filter and the size."""
        return "none"

    def labels(self, values: Sequence[Any]) -> dict[str, list[str | None]]:
        """What in raw values is one of a few names, by what it is called ("" for the value itself); None is missing."""
        return {}

    def without(self, values: Sequence[Any], name: str) -> list[Any]:
        """Raw values as if the one of `labels` that is called `name` were unknown."""
        raise NotImplementedError(f"{self.name} has no labels")

    @abstractmethod
    def num_units(self, value: Any) -> int:
        """How many units (`unit`) a value has: what its likelihood is divided by."""

    def task(self, given: Sequence[str]) -> str | None:
        """What model hubs call making such values from values of the modalities `given`; None if they have no word."""
        return None

    def describe(self) -> str:
        """What was learned of the values, in a few words: "28x28 grey"."""
        return self.name
