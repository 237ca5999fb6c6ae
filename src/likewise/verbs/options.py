"""The choices of a user of `train` and `look`, as keyword arguments of both."""

from __future__ import annotations

from likewise.backbones.base import Backbone
from likewise.families.base import Family
from likewise.modalities.base import Modality
from likewise.planning.request import Options


class ModelOptions(Options, total=False):
    """What is learned and how; a part is given by its name, or as an object such as MLP(width=64)."""

    #: the modality of the target: a name, or a class
    as_: str | type[Modality] | None
    family: str | Family | None
    backbone: str | Backbone | None
    #: "tiny", "small", "base" or "large"; None for the size that goes with the minutes
    size: str | None
