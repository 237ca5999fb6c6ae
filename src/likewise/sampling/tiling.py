"""Seamless patterns: convolutions that go round the edge, so that what is drawn goes on with itself on all sides.

A convolution fills up with zeros at the edge; filled up with what is at the opposite edge, it computes on a torus, and
so does everything made of such convolutions, of means and of attention without places. Nothing is trained anew for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from likewise.spaces import Continuous


@contextmanager
def seamless(run: Any) -> Iterator[None]:
    """While it lasts, the run draws what goes on with itself at its edges. Raises ValueError where it cannot."""
    # What is seen through an autoencoder is painted by that.
    painter = run.autoencoder or run
    space = painter.model.target
    if not isinstance(space, Continuous) or not space.positions:
        raise ValueError(f"--tile: patterns are made of pixels, and this run draws {run.plain.name} from {space}")
    if why := painter.experiment.backbone.no_tiles(space):
        raise ValueError(f"--tile: {why}")
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    layers = [m for m in painter.model.modules() if isinstance(m, kinds) and max(m.kernel_size) > 1]
    before = [layer.padding_mode for layer in layers]
    for layer in layers:
        layer.padding_mode = "circular"
    try:
        yield
    finally:
        for layer, mode in zip(layers, before, strict=True):
            layer.padding_mode = mode  # pyright: ignore[reportAttributeAccessIssue]
