"""Point it at your data and get a generative model you can trust."""

from __future__ import annotations

from typing import Any

from likewise.version import __version__ as __version__

_VERBS = ("train", "look", "compare", "evaluate")


def __getattr__(name: str) -> Any:
    """The verbs are imported when first used: `import likewise` alone loads no torch."""
    from importlib import import_module
    from pathlib import Path

    if name in _VERBS:
        return getattr(import_module(f"likewise.verbs.{name}"), name)
    if name == "load":
        run = import_module("likewise.run").Run
        return lambda path: run(Path(path))
    raise AttributeError(f"module 'likewise' has no attribute {name!r}")
