"""Point it at your data and get a generative model you can trust."""

from __future__ import annotations

import os
from typing import Any

from likewise.version import __version__ as __version__

# How long a thread of torch's OpenMP spins for its fellows before it sleeps. The default, 300,000 turns, makes two
# trainings on one machine (or a training beside a browser) ten times slower than one; alone there is no difference.
# It is read when torch is loaded; docs/guide/speed.md has the figures.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

# How many prepared products oneDNN remembers, each for one shape. The default, 1024, is less than a training on texts
# of all lengths meets: those that come again would be prepared again, for a millisecond each.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "4096")

_VERBS = ("train", "look", "compare", "evaluate")


def __getattr__(name: str) -> Any:
    """The verbs are imported when first used: `import likewise` alone loads no torch."""
    from importlib import import_module

    if name in _VERBS:
        return getattr(import_module(f"likewise.verbs.{name}"), name)
    if name == "load":
        return import_module("likewise.verbs.trained").load
    raise AttributeError(f"module 'likewise' has no attribute {name!r}")
