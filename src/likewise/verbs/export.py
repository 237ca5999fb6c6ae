"""Export: writes a run's model in a format of other tools, independent of how many processes trained it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import save_file

from likewise.errors import Message, Setting, UserError
from likewise.runs.run import PRETRAINED, Run
from likewise.training import checkpoint

#: the formats, with the suffix of the file; hf and diffusers write a folder
FORMATS = {"safetensors": ".safetensors", "hf": "", "diffusers": "", "onnx": ".onnx", "gguf": ".gguf"}


def export(run: Run, out: Path, to: str = "safetensors") -> Path:
    """Write the weights used for sampling to `out`, in one of `FORMATS`. Returns `out`.

    safetensors contains the weights unchanged, and the plan as metadata. The others are for transformers (hf),
    diffusers, onnxruntime and llama.cpp (gguf). Raises ValueError if `out` exists or the format is unknown.
    """
    if to not in FORMATS:
        raise UserError(f"there are {', '.join(FORMATS)}", setting="to", value=to)
    if FORMATS[to] and out.suffix != FORMATS[to]:
        raise ValueError(f"{out}: weights are written as {FORMATS[to]}")
    if out.exists():
        raise UserError(f"{out}: is there already", fix=Message("give another ", Setting("out")))
    try:
        write = _writer(to)
    except ModuleNotFoundError as error:
        raise UserError(
            Message(Setting("to", to), f" needs {error.name}"), fix="pip install 'likewise[export]'"
        ) from None
    out.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and renamed, so that a refused or interrupted export leaves no partial output.
    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as aside:
        return write(run, Path(aside) / out.name).replace(out)


def _writer(to: str) -> Callable[[Run, Path], Path]:
    """The function that writes a format. Raises ModuleNotFoundError if a library that it needs is not installed."""
    if to == "hf":
        from likewise.export.hf import write
    elif to == "diffusers":
        from likewise.export.diffusers import write
    elif to == "onnx":
        from likewise.export.onnx import write
    elif to == "gguf":
        from likewise.export.gguf import write
    else:
        write = _weights
    return write


def _weights(run: Run, out: Path) -> Path:
    weights, _, state = checkpoint.load(run.checkpoint())
    if (run.path / PRETRAINED).is_file():  # checkpoints do not contain frozen weights
        weights = {**checkpoint.load_file(run.path / PRETRAINED), **weights}
    if run.autoencoder is not None:
        inner = checkpoint.load(run.autoencoder.checkpoint())[0]
        weights |= {f"autoencoder.{name}": value for name, value in inner.items()}
    about = {"experiment": json.dumps(run.experiment.to_dict()), "step": str(state["step"]), "made_by": "likewise"}
    save_file(checkpoint.separate(weights), out, about)
    return out
