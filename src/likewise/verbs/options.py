"""The options that `train` and `look` share, as keyword arguments."""

from __future__ import annotations

from likewise.backbones.base import Backbone
from likewise.families.base import Family
from likewise.modalities.base import Modality
from likewise.planning.request import Options


class ModelOptions(Options, total=False):
    """The target, its model and the training. Parts are given by name, or as an object such as MLP(width=64)."""

    #: the modality of the target: a name, or a class
    as_: str | type[Modality] | None
    family: str | Family | None
    backbone: str | Backbone | None
    #: "tiny", "small", "base" or "large"; None to choose by the training minutes
    size: str | None
