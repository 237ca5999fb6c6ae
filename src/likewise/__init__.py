"""Point it at your data and get a generative model you can trust."""

from __future__ import annotations

from typing import Any

from likewise.version import __version__ as __version__


def __getattr__(name: str) -> Any:
    """`train` and `load` are imported when first used: `import likewise` alone loads no torch."""
    if name == "train":
        from likewise.verbs.train import train

        return train
    if name == "load":
        from pathlib import Path

        from likewise.run import Run

        return lambda path: Run(Path(path))
    raise AttributeError(name)
