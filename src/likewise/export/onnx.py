"""A predictor of tokens as an ONNX graph: the logits of the next token at all positions.

The graph is built node by node: torch's exporters fix the batch size or the length, and unroll recurrent layers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from likewise.backbones.recurrent import GRU, LSTM
from likewise.backbones.transformer import Transformer
from likewise.errors import Message, Setting, UserError
from likewise.export import network
from likewise.export.graph import Graph
from likewise.families.autoregressive import AutoregressiveModel
from likewise.runs.run import Run
from likewise.spaces import space_to_json


def write(run: Run, out: Path) -> Path:
    """Write the file `out`, with modality.json, the space of the tokens and the start token as metadata.

    Models that are not autoregressive are written by `network.write`. Raises ValueError for a run that cannot be
    exported.
    """
    backbone = run.experiment.backbone
    if not isinstance(run.model, AutoregressiveModel):
        return network.write(run, out)
    if run.conditions:
        raise UserError(
            f"{run.path}: is given {', '.join(run.conditions)}",
            fix=Message("of what is drawn token by token, ", Setting("to", "onnx"), " exports what is given nothing"),
        )
    model = run.model
    net: Any = model.predictor
    g = Graph()
    if isinstance(backbone, Transformer):
        logits = _transformer(g, net, backbone)
    elif isinstance(backbone, LSTM | GRU):
        logits = _recurrent(g, net)
    else:
        name = getattr(backbone, "name", "")
        raise UserError(
            f"{run.path}: has the backbone {name}",
            fix=Message(Setting("to", "onnx"), " exports transformer, lstm and gru"),
        )
    about = {
        "start_token": str(model.space.vocabulary),
        "space": json.dumps(space_to_json(model.space)),
        "modality.json": (run.path / "modality.json").read_text(encoding="utf-8"),
        "made_by": "likewise",
    }
    out.write_bytes(g.model(logits, model.space.vocabulary, about).SerializeToString())
    return out


def _enter(g: Graph, net: Any, scale: float) -> tuple[str, str]:
    """The embedded tokens, shape (batch, length, width), and the length, shape (1,), as names of outputs.

    The start token is an additional row of the embedding table.
    """
    rows = torch.cat((net.embed.weight * scale, net.embed_start[None]))
    h = g.add("Gather", g.constant(rows), "tokens")
    length = g.add("Slice", g.add("Shape", "tokens"), g.constant([1]), g.constant([2]))
    if net.embed_place is not None:
        h = g.add("Add", h, g.first(net.embed_place, length))
    return h, length


def _transformer(g: Graph, net: Any, sizes: Transformer) -> str:
    h, length = _enter(g, net, net.scale)
    turn = [g.first(part, length) for part in net.table]
    # The causal mask, added to the attention scores.
    place = g.add("Range", g.constant(0), g.add("Squeeze", length), g.constant(1))
    ahead = g.add("Less", g.add("Unsqueeze", place, g.constant([1])), place)
    ahead = g.add("Where", ahead, g.constant(torch.finfo(torch.float32).min), g.constant(0.0))
    for block in net.blocks:
        h = g.add("Add", h, _attention(g, g.rms_norm(h), block.attention, turn, ahead))
        x = g.linear(g.rms_norm(h), block.feed_forward.up.weight)
        if sizes.ffn == "swiglu":
            gate, up = g.several(2, "Split", x, axis=-1)
            x = g.add("Mul", g.add("Mul", gate, g.add("Sigmoid", gate)), up)
        else:
            x = g.add("Relu", x)
            x = g.add("Mul", x, x)
        h = g.add("Add", h, g.linear(x, block.feed_forward.out.weight))
    return g.linear(g.rms_norm(h), net.head.weight)


def _attention(g: Graph, x: str, layer: Any, turn: list[str], ahead: str) -> str:
    size = layer.qkv.in_features // layer.heads
    qkv = g.add("Reshape", g.linear(x, layer.qkv.weight), g.constant([0, 0, 3, layer.heads, size]))
    parts = g.several(3, "Split", g.add("Transpose", qkv, perm=[2, 0, 3, 1, 4]), axis=0)
    q, k, v = (g.add("Squeeze", part, g.constant([0])) for part in parts)
    if layer.qk_gain is not None:
        q, k = (g.add("Mul", g.rms_norm(p), g.constant(n[0])) for p, n in zip((q, k), layer.qk_gain, strict=True))
    q, k = _turned(g, q, turn), _turned(g, k, turn)
    q = g.add("Mul", q, g.constant(size**-0.5))
    score = g.add("Add", g.add("MatMul", q, g.add("Transpose", k, perm=[0, 1, 3, 2])), ahead)
    found = g.add("MatMul", g.add("Softmax", score, axis=-1), v)
    found = g.add("Reshape", g.add("Transpose", found, perm=[0, 2, 1, 3]), g.constant([0, 0, layer.qkv.in_features]))
    return g.linear(found, layer.out.weight)


def _turned(g: Graph, x: str, turn: list[str]) -> str:
    """Apply rotary positions; channel i of the first half is paired with channel i of the second."""
    low, high = g.several(2, "Split", x, axis=-1)
    other = g.add("Concat", high, low, axis=-1)
    return g.add("Add", g.add("Mul", x, turn[0]), g.add("Mul", other, turn[1]))


def _recurrent(g: Graph, net: Any) -> str:
    h = g.add("Transpose", _enter(g, net, 1.0)[0], perm=[1, 0, 2])
    core = net.core
    lstm = isinstance(core, torch.nn.LSTM)
    # Gate order of torch: input, forget, cell, output (LSTM); reset, update, new (GRU). Reordered for ONNX.
    order = (0, 3, 1, 2) if lstm else (1, 0, 2)

    def sorted_(weight: Tensor) -> Tensor:
        parts = weight.chunk(len(order))
        return torch.cat([parts[i] for i in order])

    for i in range(core.num_layers):
        into, back, bias, bias_back = (
            sorted_(getattr(core, f"{name}_l{i}")) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        weights = [g.constant(w[None]) for w in (into, back, torch.cat((bias, bias_back)))]
        more = {} if lstm else {"linear_before_reset": 1}
        kind = "LSTM" if lstm else "GRU"
        h = g.add("Squeeze", g.add(kind, h, *weights, hidden_size=core.hidden_size, **more), g.constant([1]))
    return g.linear(g.add("Transpose", h, perm=[1, 0, 2]), net.head.weight, net.head.bias)
