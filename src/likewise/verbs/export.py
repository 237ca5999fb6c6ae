"""Export: the weights of a run as one file that other tools load, whatever number of processes wrote them."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

from likewise.run import Run
from likewise.training import checkpoint


def export(run: Run, out: Path) -> Path:
    """Write the weights that sample to `out`, a safetensors file with the plan in its metadata. Returns `out`."""
    if out.suffix != ".safetensors":
        raise ValueError(f"{out}: weights are written as .safetensors")
    if out.exists():
        raise ValueError(f"{out}: is there already; give another --out")
    weights, _, state = checkpoint.load(run.checkpoint())
    about = {"experiment": json.dumps(run.experiment.to_dict()), "step": str(state["step"]), "made_by": "likewise"}
    aside = out.with_name(f".{out.name}.tmp")
    save_file(checkpoint.separate(weights), aside, about)
    aside.replace(out)
    return out
