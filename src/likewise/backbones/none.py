"""No network, for families that train none."""

from __future__ import annotations

from typing import ClassVar, Literal

from likewise.backbones.base import Backbone, Role
from likewise.spaces import Space


class NoBackbone(Backbone):
    """Builds no network."""

    builds: ClassVar[bool] = False
    name: Literal["none"] = "none"

    def unfit(self, role: Role, space: Space) -> str | None:
        return f"none builds no network, and a {role} is needed"
