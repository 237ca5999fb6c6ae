"""A small builder of ONNX graphs: each call adds one node and returns the name of its output."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

#: the oldest operator set with all operators used here, and the version of the file format that belongs to it
OPSET, IR = 17, 8


class Graph:
    """Nodes and constants of an ONNX graph, in the order of their addition."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output. kind: the operator. Returns the name of the output."""
        return self.several(1, kind, *inputs, **attributes)[0]

    def several(self, outputs: int, kind: str, *inputs: str, **attributes: Any) -> list[str]:
        names = [f"{kind.lower()}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def constant(self, value: Tensor | NDArray[Any] | list[int] | float) -> str:
        """Add a constant, int64 for integers and float32 otherwise. Returns its name."""
        found = value.detach().float().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        found = found.astype(np.int64 if found.dtype.kind == "i" else np.float32)
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(found), name))
        return name

    def linear(self, x: str, weight: Tensor, bias: Tensor | None = None) -> str:
        y = self.add("MatMul", x, self.constant(weight.T))
        return y if bias is None else self.add("Add", y, self.constant(bias))

    def rms_norm(self, x: str, eps: float = 1e-6) -> str:
        mean = self.add("ReduceMean", self.add("Mul", x, x), axes=[-1])
        return self.add("Div", x, self.add("Sqrt", self.add("Add", mean, self.constant(eps))))

    def first(self, value: Tensor, count: str, axis: int = 0) -> str:
        """The first `count` entries of a constant along an axis. count: the name of an int64 tensor of shape (1,)."""
        zero, along = self.constant([0]), self.constant([axis])
        return self.add("Slice", self.constant(value), zero, count, along)

    def model(self, output: str, vocabulary: int, about: dict[str, str]) -> onnx.ModelProto:
        """The model from "tokens" (batch, length) to "logits" (batch, length, vocabulary), with free batch and length.

        output: name of the logits. about: metadata of the file.
        """
        self.nodes.append(helper.make_node("Identity", [output], ["logits"]))
        tokens = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", "length"])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "length", vocabulary])
        graph = helper.make_graph(self.nodes, "predictor", [tokens], [logits], self.constants)
        opset = [helper.make_opsetid("", OPSET)]
        made = helper.make_model(graph, opset_imports=opset, ir_version=IR, producer_name="likewise")
        helper.set_model_props(made, about)
        onnx.checker.check_model(made)
        return made
