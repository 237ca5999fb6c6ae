"""Seamless patterns: convolutions that go round the edge, so that what is drawn goes on with itself on all sides.

A convolution fills up with zeros at the edge; filled up with what is at the opposite edge, it computes on a torus, and
so does everything made of such convolutions, of means and of attention without places. Nothing is trained anew for it.
"""

from __future__ import annotations

import copy
from itertools import chain

from torch import nn

from likewise.backbones.base import Backbone
from likewise.errors import UserError
from likewise.families.base import Model
from likewise.spaces import Continuous


def seamless(model: Model, backbone: Backbone, kind: str) -> Model:
    """A model with the same weights whose samples go on with themselves at their edges.

    The layers are copies that share the weights' memory: `model` itself still draws as before, in another thread at the
    same time too. kind: what is drawn, for the error. Raises UserError where the network cannot.
    """
    space = model.target
    if not isinstance(space, Continuous) or not space.positions:
        raise UserError(f"patterns are made of pixels, and this run draws {kind} from {space}", setting="tile")
    if why := backbone.no_tiles(space):
        raise UserError(why, setting="tile")
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    tiled = copy.deepcopy(model, shared)
    for layer in tiled.modules():
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and max(layer.kernel_size) > 1:
            layer.padding_mode = "circular"
    return tiled
