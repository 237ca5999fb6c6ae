"""Export: a run's model for other tools, whatever number of processes wrote it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import save_file

from likewise.errors import Message, Setting, UserError
from likewise.runs.run import PRETRAINED, Run
from likewise.training import checkpoint

#: the formats, and how what is written must be called; a folder for hf and diffusers
FORMATS = {"safetensors": ".safetensors", "hf": "", "diffusers": "", "onnx": ".onnx", "gguf": ".gguf"}


def export(run: Run, out: Path, to: str = "safetensors") -> Path:
    """Write the weights that sample to `out`, in one of `FORMATS`. Returns `out`.

    safetensors holds the weights as they are and the plan as metadata; the others are what transformers, diffusers,
    onnxruntime and llama.cpp load.
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
    # Whole or not at all: what is refused or interrupted leaves nothing that looks like an export.
    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as aside:
        return write(run, Path(aside) / out.name).replace(out)


def _writer(to: str) -> Callable[[Run, Path], Path]:
    """What writes a format; what it needs is imported here. Raises ModuleNotFoundError if that is not installed."""
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
    if (run.path / PRETRAINED).is_file():  # what is frozen is in no checkpoint
        weights = {**checkpoint.load_file(run.path / PRETRAINED), **weights}
    if run.autoencoder is not None:
        inner = checkpoint.load(run.autoencoder.checkpoint())[0]
        weights |= {f"autoencoder.{name}": value for name, value in inner.items()}
    about = {"experiment": json.dumps(run.experiment.to_dict()), "step": str(state["step"]), "made_by": "likewise"}
    save_file(checkpoint.separate(weights), out, about)
    return out
