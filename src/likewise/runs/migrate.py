"""Converts experiment.toml and modality.json of older run folders to the current format.

Older runs name one of two encodings, "continuous" or "tokens", for the whole run, and the state of a modality includes
the state of all its encodings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from likewise import catalog

#: by modality, the current names of the older encodings
_NAMES = {
    "image": {"continuous": "pixels", "tokens": "patches"},
    "video": {"continuous": "frames", "tokens": "patches"},
    "table": {"continuous": "quantiles", "tokens": "bins"},
    "label": {"tokens": "index"},
    "text": {"tokens": "tokens"},
    "dialogue": {"tokens": "tokens"},
    "palette": {"continuous": "colours"},
    "sentence": {"continuous": "embedding"},
}
#: the same for encodings over an autoencoder
_THROUGH = {"continuous": "latents", "tokens": "codes"}
#: by modality, the keys of its older state that are now in the state of an encoding
_MOVED = {
    "image": {"patch", "codebook"},
    "video": {"block", "codebook"},
    "text": {"kind", "known", "length", "mean_length", "windows"},
    "dialogue": {"kind", "known", "roles", "length", "mean_length"},
    "sentence": {"network"},
}
#: encodings without a state, although other encodings of their modality have one
_STATELESS = {"pixels", "frames", "codes"}


def experiment(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The content of experiment.toml; in the older format, `encoding` is beside `target` and not inside it."""
    plan = dict(plan)
    old = plan.pop("encoding", None)
    target = plan.get("target")
    if old is None or not isinstance(target, Mapping) or "encoding" in target:
        return plan
    names = _THROUGH if plan.get("through") else _NAMES.get(target.get("modality", ""), {})
    if old in names:
        plan["target"] = {**target, "encoding": names[old]}
    return plan


def modality(state: Mapping[str, Any]) -> dict[str, Any]:
    """The content of modality.json in the current format."""
    if isinstance(state["target"], Mapping):
        return dict(state)
    name, own = state["target"]
    if "latents" in state:
        target = _field(name, {**own, **state["latents"]}, _THROUGH[state["encoding"]], {"shift", "scale"})
    else:
        target = _field(name, own, _NAMES[name][state["encoding"]])
    condition = {key: _field(kind, own, catalog.encodings(kind)[0]) for key, (kind, own) in state["condition"].items()}
    return {"target": target, "condition": condition}


def _field(name: str, state: Mapping[str, Any], encoding: str, more: set[str] | None = None) -> dict[str, Any]:
    """Divide the state of a field. more: keys of an encoding over an autoencoder, which the modality does not have."""
    moved = _MOVED.get(name, set())
    taken = set() if encoding in _STATELESS else moved if more is None else more
    return {
        "modality": {"name": name, "state": {k: v for k, v in state.items() if k not in moved | (more or set())}},
        "encoding": {"name": encoding, "state": {k: v for k, v in state.items() if k in taken}},
    }
