"""Builds a model from family, backbone and spaces, or refuses in one sentence that names what would fit."""

from __future__ import annotations

from likewise import catalog
from likewise.backbones.base import Backbone
from likewise.families.base import Family, Model
from likewise.spaces import Condition, Continuous, Space, Unfit


def unfit(target: Space, family: Family, backbone: Backbone, condition: Condition | None = None) -> str | None:
    """The reason why the parts cannot be combined, as a clause; None if they can."""
    roles = family.roles(target)
    if isinstance(roles, str):
        return roles
    if family.has_networks != backbone.builds:
        name, needs = getattr(family, "name", ""), "networks" if family.has_networks else "no network"
        return f"{name} needs {needs}, not the backbone {getattr(backbone, 'name', '')}"
    why = _unfit_lengths(target, family, backbone)
    why = why or next((why for role, space in roles.items() if (why := backbone.unfit(role, space))), None)
    return why or family.unfit_condition(condition or {})


def _unfit_lengths(target: Space, family: Family, backbone: Backbone) -> str | None:
    """The reason why the parts cannot learn items of different lengths, as a clause; None if they can or need not."""
    if not isinstance(target, Continuous) or not target.ragged:
        return None
    parts: list[tuple[str, Family | Backbone]] = [("family", family), ("backbone", backbone)]
    for kind, part in parts:
        if not part.ragged:
            can = " and ".join(name for name in catalog.names(kind) if catalog.find(kind, name).ragged)
            name = getattr(part, "name", "")
            return f"{name} takes items of one length, and those of {target} have lengths of their own; {can} can"
    return None


def fitting(target: Space, condition: Condition | None = None) -> list[tuple[str, str]]:
    """The (family, backbone) names that fit `target`, with default settings."""
    pairs = [(f, b) for f in catalog.names("family") for b in catalog.names("backbone")]
    return [
        (f, b)
        for f, b in pairs
        if unfit(target, catalog.find("family", f)(), catalog.find("backbone", b)(), condition) is None
    ]


def assemble(target: Space, condition: Condition, family: Family, backbone: Backbone) -> Model:
    """Build the untrained model. Raises Unfit, with the pairs that fit, if the parts cannot be combined."""
    if why := unfit(target, family, backbone, condition):
        pairs = ", ".join(f"{f} with {b}" for f, b in fitting(target, condition))
        raise Unfit(why, fix=f"what fits {target}: {pairs or 'nothing yet'}")
    return family.build(target, condition, backbone)
