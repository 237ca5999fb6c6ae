"""Presets: default settings of a kind of model, which the user's settings override.

`presets/MODALITY-FAMILY.toml` holds those of a modality and a family. `presets/MODALITY-FAMILY-BACKBONE.toml`, if it
exists, overrides them for a backbone. A user's own preset is a path that ends in .toml.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from likewise.config import read_toml
from likewise.runs import migrate

Settings = dict[str, Any]
_PRESETS = files("likewise") / "presets"


def preset_names() -> list[str]:
    """The presets of this package, in alphabetical order."""
    return sorted(p.name.removesuffix(".toml") for p in _PRESETS.iterdir() if p.name.endswith(".toml"))


def read_preset(name: str) -> Settings:
    """A preset of this package by name, or a user's own by path. Raises ValueError for an unknown name."""
    if name.endswith(".toml"):
        return migrate.experiment(read_toml(Path(name)))
    if name not in preset_names():
        raise ValueError(f"no preset {name!r}; there are {', '.join(preset_names())}, or give a .toml file")
    return read_toml(Path(str(_PRESETS / f"{name}.toml")))


def preset_if_any(name: str) -> Settings:
    """A preset of this package; empty settings if there is none of that name."""
    return read_preset(name) if name in preset_names() else {}


def merge(below: Settings, *above: Mapping[str, Any]) -> Settings:
    """Merge nested settings; for each key, the last layer that sets it wins. The arguments are not changed."""
    out = dict(below)
    for layer in above:
        for key, value in layer.items():
            nested = isinstance(value, Mapping) and isinstance(out.get(key), dict)
            out[key] = merge(out[key], value) if nested else value
    return out
