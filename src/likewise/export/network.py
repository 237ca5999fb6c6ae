"""The generator of a GAN, the decoder of a VAE or the denoiser of a flow as an ONNX graph with a free batch size.

Only the batch size of these networks varies, so torch's exporter is sufficient (for predictors of tokens, see `onnx`).
"""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import onnxscript  # noqa: F401  the exporter requires it, and without it fails late
import torch
from torch import Tensor, nn

from likewise.export.graph import OPSET
from likewise.families.base import Graph
from likewise.runs.run import Run
from likewise.spaces import Space, Tokens, space_to_json

#: batch size of the example inputs; the exporter would treat 1 as a constant
_TRIED = 3


class _Plain(nn.Module):
    """A model's graph as a module with positional tensors: the inputs of the graph, then the conditions in `fields`."""

    def __init__(self, model: nn.Module, graph: Graph, fields: list[str]) -> None:
        super().__init__()
        self.model, self.graph, self.fields = model, graph, fields

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        count = len(self.graph.inputs)
        return self.graph.compute(tensors[:count], dict(zip(self.fields, tensors[count:], strict=True)) or None)


def write(run: Run, out: Path) -> Path:
    """Write the file `out`: the model's `families.base.Graph`, with the conditions as additional inputs.

    Raises ValueError for a model of latents or one without a graph.
    """
    if run.autoencoder is not None:
        raise ValueError(f"{run.path}: draws latents that another run decodes; export {run.autoencoder.path} by itself")
    model = copy.deepcopy(run.model).to("cpu")
    try:
        graph = model.graph()
    except ValueError as error:
        raise ValueError(f"{run.path}: {error}") from None
    names = {field: f"given.{field}" for field in model.condition}
    inputs = [torch.zeros(_TRIED, *shape) for shape in graph.inputs.values()]
    inputs += [_example(space) for space in model.condition.values()]
    batch = torch.export.Dim("batch", min=1)
    plain = _Plain(model, graph, list(names)).eval()
    with torch.no_grad(), _quiet():
        made = torch.onnx.export(
            plain,
            tuple(inputs),
            dynamo=True,
            dynamic_shapes=(tuple({0: batch} for _ in inputs),),
            input_names=[*graph.inputs, *names.values()],
            output_names=list(graph.outputs),
            opset_version=max(OPSET, 18),  # 18 is the exporter's minimum
            verbose=False,
        )
    assert made is not None
    found: Any = made.model_proto
    found.producer_name = "likewise"
    onnx.helper.set_model_props(found, _about(run))
    onnx.checker.check_model(found)
    out.write_bytes(found.SerializeToString())
    return out


def _about(run: Run) -> dict[str, str]:
    """Metadata that a program needs to use the graph."""
    family: Any = run.experiment.family
    about = {
        "family": family.name,
        "space": json.dumps(space_to_json(run.model.target)),
        "given": json.dumps({name: space_to_json(space) for name, space in run.model.condition.items()}),
        "sampling": family.sampling.model_dump_json(),
        "modality.json": (run.path / "modality.json").read_text(encoding="utf-8"),
        "made_by": "likewise",
    }
    return about | ({"path": family.path} if "path" in type(family).model_fields else {})


def _example(space: Space) -> Tensor:
    if isinstance(space, Tokens):
        return torch.zeros(_TRIED, space.length, dtype=torch.int64)
    return torch.zeros(_TRIED, *space.shape)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's warnings about optional packages and about its own calls."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
