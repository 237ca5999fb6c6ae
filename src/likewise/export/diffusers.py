"""A flow of pictures with the backbone `unet` as a folder for `diffusers`: UNet2DModel and DDIMScheduler.

For data of unit scale, x_t on every probability path, scaled to unit variance (`Path.input_scale`), is
cos a data + sin a noise, a variance-preserving process in the terms of diffusers. This is the input of the network. On
the path "ddpm", the network predicts the noise ("epsilon" in diffusers); on other paths, sin a data - cos a noise (the
negated "v_prediction"; see `Path.target`). The paths differ in their angles a only, which are exported as
`trained_betas`. The steps of DDIM are Euler steps.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from likewise.backbones.unet import EPSILON, LEVELS, UNet
from likewise.errors import Message, Setting, UserError
from likewise.export.diffusers_readme import readme
from likewise.families.flow import MARGIN, FlowModel
from likewise.modalities.image_pixels import ImagePixels
from likewise.modalities.label import Label, LabelIndex
from likewise.runs.run import Run

#: the oldest version of diffusers that reads these files
_VERSION = "0.30.0"
_CAN = Message(
    "what ", Setting("to", "diffusers"), " exports is a flow of pictures on the backbone unet; ", Setting("to", "onnx"),
    " exports any flow",
)  # fmt: skip
#: squared share of the data in pure noise: the value that diffusers uses for zero, as some schedulers divide by it
_LEAST = 2.0**-24
#: patterns of our parameter names, and their replacement in diffusers; the first match applies
_PARTS = {
    r"^embed\.": "conv_in.",
    r"^norm\.": "conv_norm_out.",
    r"^head\.": "conv_out.",
    r"^time\.hidden\.": "time_embedding.linear_1.",
    r"^time\.out\.": "time_embedding.linear_2.",
    r"^context\.fields\.0\.embed\.": "class_embedding.",
    r"^down\.(\d+)\.change\.": r"down_blocks.\1.downsamplers.0.conv.",
    r"^up\.(\d+)\.change\.": r"up_blocks.\1.upsamplers.0.conv.",
    r"^(down|up)\.": r"\1_blocks.",
    r"^middle\.": "mid_block.",
}
_IN_STAGES = {
    "blocks": "resnets",
    "looks": "attentions",
    "norm_in": "norm1",
    "conv_in": "conv1",
    "steer": "time_emb_proj",
    "norm_out": "norm2",
    "conv_out": "conv2",
    "skip": "conv_shortcut",
    "norm": "group_norm",
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "out": "to_out.0",
}


def check(run: Run) -> tuple[UNet, FlowModel, Label | None]:
    """The backbone, the model and the label (None if unconditional) of a run that diffusers can represent.

    Raises UserError for any other run.
    """
    plan, backbone = run.experiment.to_dict(), run.experiment.backbone
    if plan["family"]["name"] != "flow":
        raise UserError(f"{run.path}: is of family {plan['family']['name']}", fix=_CAN)
    if not isinstance(backbone, UNet):
        raise UserError(f"{run.path}: has the backbone {plan['backbone']['name']}", fix=_CAN)
    if run.autoencoder is not None:
        raise UserError(f"{run.path}: draws latents that {run.autoencoder.path} decodes", fix=_CAN)
    if not isinstance(run.encoding, ImagePixels):
        raise UserError(f"{run.path}: makes {run.modality.name}", fix=_CAN)
    given = [*run.conditions.values()]
    if len(given) > 1 or not all(isinstance(encoding, LabelIndex) for encoding in given):
        raise UserError(f"{run.path}: is given {', '.join(run.conditions)}, and UNet2DModel takes one label", fix=_CAN)
    model = run.model
    assert isinstance(model, FlowModel)
    if model.shortcut is not None:
        raise UserError(f"{run.path}: learned to jump (few_step), which no scheduler of diffusers does", fix=_CAN)
    if model.path.data_scale != 1:
        raise UserError(
            f"{run.path}: has family.data_scale {model.path.data_scale:g}, and pipelines of diffusers "
            "take the data to have 1",
            fix=Message("train with ", Setting("family.data_scale", "1"), ", or take ", Setting("to", "onnx")),
        )
    return backbone, model, next((encoding.modality for encoding in given if isinstance(encoding, LabelIndex)), None)


def write(run: Run, out: Path) -> Path:
    """Write the folder `out`, without using diffusers. Raises UserError for a run that diffusers cannot represent."""
    _, model, label = check(run)
    files = {
        "model_index": {
            "_class_name": "DDIMPipeline",
            "_diffusers_version": _VERSION,
            "scheduler": ["diffusers", "DDIMScheduler"],
            "unet": ["diffusers", "UNet2DModel"],
        },
        "unet/config": unet_config(run),
        "scheduler/scheduler_config": scheduler_config(model),
        **({"labels": dict(enumerate([*label.classes, "(any)"]))} if label else {}),
    }
    for name, content in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (out / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    about = {"format": "pt", "experiment": json.dumps(run.experiment.to_dict()), "made_by": "likewise"}
    save_file(tensors(model), out / "unet" / "diffusion_pytorch_model.safetensors", about)
    (out / "README.md").write_text(readme(run, label, out.name), encoding="utf-8")
    return out


def tensors(model: FlowModel) -> dict[str, Tensor]:
    """The weights of the network in float32, with the names of `UNet2DModel`."""
    # The network predicts the negative of v_prediction, except on the path "ddpm", where it predicts the noise.
    sign = 1.0 if model.settings.path == "ddpm" else -1.0
    found = {}
    for name, value in model.network.state_dict().items():
        value = value.float() * sign if name.startswith("head.") else value.float()
        found[_theirs(name)] = value.cpu().contiguous().clone()
    return found


def _theirs(name: str) -> str:
    """The name of a weight in `UNet2DModel`."""
    pattern = next(p for p in _PARTS if re.match(p, name))
    name = re.sub(pattern, _PARTS[pattern], name)
    if not name.startswith(("down_blocks", "up_blocks", "mid_block")):
        return name
    return ".".join(_IN_STAGES.get(part, part) for part in name.split("."))


def unet_config(run: Run) -> dict[str, Any]:
    """The settings of `UNet2DModel`, including the defaults that the network depends on."""
    sizes, model, label = check(run)
    space, scales = model.space, len(sizes.multipliers)
    plain = scales - sizes.attention
    return {
        "_class_name": "UNet2DModel",
        "_diffusers_version": _VERSION,
        "sample_size": space.positions[0] if len({*space.positions}) == 1 else list(space.positions),
        "in_channels": space.channels,
        "out_channels": space.channels,
        "center_input_sample": False,
        "time_embedding_type": "positional",
        "freq_shift": 0,
        "flip_sin_to_cos": False,
        "block_out_channels": sizes.widths(),
        "down_block_types": ["DownBlock2D"] * plain + ["AttnDownBlock2D"] * sizes.attention,
        "up_block_types": ["AttnUpBlock2D"] * sizes.attention + ["UpBlock2D"] * plain,
        "layers_per_block": sizes.blocks,
        "add_attention": sizes.attention > 0,
        "attention_head_dim": sizes.head,
        "norm_num_groups": sizes.groups,
        "norm_eps": EPSILON,
        "dropout": sizes.dropout,
        "act_fn": "silu",
        "downsample_padding": 1,
        "resnet_time_scale_shift": "default",
        "class_embed_type": None,
        "num_class_embeds": len(label.classes) + 1 if label else None,
    }


def scheduler_config(model: FlowModel) -> dict[str, Any]:
    """The settings of `DDIMScheduler`: the angles of the path at levels 0 to 999; level 999 is time 0, pure noise."""
    times = 1 - torch.arange(LEVELS + 1, dtype=torch.float64) / LEVELS
    alpha, sigma = model.path.alpha_sigma(times)
    kept = (alpha * model.path.input_scale(alpha, sigma)).square()  # cos^2 a, from data (level -1) to noise
    kept.clamp_(min=_LEAST)
    kept[0] = 1  # also for edm, whose data keep noise of scale 0.002
    betas = (1 - kept[1:] / kept[:-1]).clamp(0, 1)
    clips = model.path.clips
    return {
        "_class_name": "DDIMScheduler",
        "_diffusers_version": _VERSION,
        "num_train_timesteps": LEVELS,
        "trained_betas": betas.tolist(),
        "prediction_type": "epsilon" if model.settings.path == "ddpm" else "v_prediction",
        "timestep_spacing": "trailing",
        "steps_offset": 0,
        "set_alpha_to_one": True,
        "clip_sample": clips,
        "clip_sample_range": 1 + MARGIN,
        "thresholding": False,
        "rescale_betas_zero_snr": False,
    }
