"""No network at all: for families that learn by counting."""

from __future__ import annotations

from typing import ClassVar, Literal

from likewise.backbones.base import Backbone, Role
from likewise.spaces import Space


class NoBackbone(Backbone):
    """Builds nothing."""

    builds: ClassVar[bool] = False
    name: Literal["none"] = "none"

    def unfit(self, role: Role, space: Space) -> str | None:
        return f"none is no network, and a {role} is one"
