"""The README.md of an exported diffusers folder: example code, the meaning of labels, provenance."""

from __future__ import annotations

from typing import Any

from huggingface_hub import ModelCardData

from likewise.families.prob_paths import Linear
from likewise.modalities.label import Label
from likewise.runs.run import Run
from likewise.version import __version__

#: number of steps in the example; it divides the 1,000 levels of the scheduler
_STEPS = 25

_ALONE = """\
from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained("{folder}")
pictures = pipe(batch_size=16, num_inference_steps={steps}{clipped}).images
pictures[0].save("picture.png")
"""

_GIVEN = """\
import torch
from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained("{folder}")
labels = torch.arange(16) % {any}  # what they are is in labels.json
x = torch.randn(16, {channels}, {height}, {width})
pipe.scheduler.set_timesteps({steps})
with torch.no_grad():
    for t in pipe.scheduler.timesteps:
        given, free = pipe.unet(x, t, labels).sample, pipe.unet(x, t, labels * 0 + {any}).sample
        x = pipe.scheduler.step(free + {guidance:g} * (given - free), t, x{clipped}).prev_sample
pictures = pipe.numpy_to_pil((x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy())
pictures[0].save("picture.png")
"""

_LABELS = """
`labels.json` says which number is which {field}; the last, {any}, is any of them. The pipeline itself draws only what
has no label, so the lines above ask its parts; `{guidance:g}` is the guidance that the run draws with, 1 is none.
"""

_TEXT = """\
# {name}

{what}, a flow that likewise {version} learned, as a U-Net and a scheduler of diffusers.
In the folder that holds this one:

```python
{code}```
{labels}
{stops}{clips}

`DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)` is as good in fewer steps.

A picture x has values in [-1, 1] ({channels}); level k of 256 is (2 k + 1) / 256 - 1. The first and the last level
were learned a tenth beyond the range, so that plain black and white come out plain: cut off what is outside, as the
pipeline does. To have whole levels: `((x + 1) * 128).floor().clamp(0, 255)`.

| | |
|---|---|
| path | {path}: `trained_betas` are its own noise, `{prediction}` |
| weights that sampled | `{weights}` |
| fingerprint of the training data | `{fingerprint}` |

The settings of the run stand in the metadata of `unet/diffusion_pytorch_model.safetensors`. What the data allow,
likewise cannot know: say it here, and set `license` above, before you share this.
"""

_EVEN = """\
`DDIMScheduler` takes the same steps as likewise with `sampler=euler`, exactly so where their number divides 1,000
(10, 20, 25, 40, 50)."""

_SHIFTED = """\
`DDIMScheduler` takes even steps; the run itself, which was trained with `family.shift = {shift:g}`, takes more of them
where there is much noise: here, take more steps."""

_CLIPS = """ Like the run, it keeps the data that it
predicts in their range (`clip_sample`), and `use_clipped_model_output` makes the noise agree with it."""


def readme(run: Run, label: Label | None, folder: str) -> str:
    """The text of README.md. folder: the name of the exported folder."""
    model: Any = run.model
    family: Any = run.experiment.family
    channels, height, width = model.space.shape
    clips = model.path.clips
    shift = model.path.shift if isinstance(model.path, Linear) else 1.0
    some: dict[str, Any] = {
        "folder": folder,
        "steps": _STEPS,
        "clipped": ", use_clipped_model_output=True" if clips else "",
        "channels": channels,
        "height": height,
        "width": width,
    }
    labels = ""
    if label:
        guidance: Any = run.sampler.settings()
        some |= {"any": len(label.classes), "guidance": guidance.guidance_scale, "field": next(iter(run.conditions))}
        labels = _LABELS.format(**some)
    text = _TEXT.format(
        name=run.name,
        what=run.encoding.describe(),
        version=__version__,
        code=(_GIVEN if label else _ALONE).format(**some),
        labels=labels,
        stops=_EVEN if shift == 1 else _SHIFTED.format(shift=shift),
        clips=_CLIPS if clips else "",
        channels={1: "grey", 3: "red, green, blue", 4: "red, green, blue, opacity"}[channels],
        path=family.path,
        prediction="epsilon" if family.path == "ddpm" else "v_prediction",
        weights=run.weights_hash,
        fingerprint=run.info.get("fingerprint", "unknown"),
    )
    header = ModelCardData(
        license="unknown",  # it depends on the data and is for the user to state
        library_name="diffusers",
        pipeline_tag="unconditional-image-generation",
        tags=["likewise", "unet", "generative"],
    ).to_yaml()
    return f"---\n{header}\n---\n\n{text}"
