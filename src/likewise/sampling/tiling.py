"""Seamless tiles: convolutions with circular padding, so that opposite edges of a sample continue each other.

With circular instead of zero padding a convolution computes on a torus, and so does a network of such convolutions,
averages and attention without positional encodings. The weights stay as trained.
"""

from __future__ import annotations

import copy
from itertools import chain

from torch import nn

from likewise import catalog
from likewise.backbones.base import Backbone
from likewise.errors import UserError, listed
from likewise.families.base import Model
from likewise.spaces import Continuous


def seamless(model: Model, backbone: Backbone, kind: str) -> Model:
    """A model with the same weights whose samples can be tiled without seams.

    The layers are copies that share the memory of the weights; `model` itself is unchanged and may be used at the same
    time in another thread. kind: the name of the modality, for the error. Raises UserError if the network cannot.
    """
    space = model.target
    if not isinstance(space, Continuous) or not space.positions:
        raise UserError(f"patterns are made of pixels, and this run draws {kind} from {space}", setting="tile")
    if why := backbone.no_tiles(space):
        others = [catalog.find("backbone", name) for name in catalog.names("backbone")]
        able = [other().name for other in others if other().builds and not other().no_tiles(space)]
        raise UserError(why, setting="tile", fix=f"{listed(able)} can" if able else "")
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    tiled = copy.deepcopy(model, shared)
    for layer in tiled.modules():
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and max(layer.kernel_size) > 1:
            layer.padding_mode = "circular"
    return tiled
