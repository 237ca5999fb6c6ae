"""The layout of Llama for a run's Transformer: checks the run, and names its tensors as `transformers` does."""

from __future__ import annotations

import torch
from torch import Tensor

from likewise.backbones.transformer import Transformer
from likewise.modalities.text_tokens import TextTokens
from likewise.runs.run import Run
from likewise.spaces import Tokens
from likewise.training import checkpoint

#: epsilon of all norms, that of `rms_norm`
EPSILON = 1e-6
#: base of the rotary positions, that of `rotation`
BASE = 10_000.0
_CAN = "what can be exported is unconditional text, family autoregressive, backbone transformer with ffn swiglu"


def check(run: Run) -> tuple[Transformer, Tokens, TextTokens]:
    """The backbone, space and encoding of a run that fits the layout of Llama. Raises ValueError for any other run."""
    plan, backbone, text = run.experiment.to_dict(), run.experiment.backbone, run.encoding
    if not isinstance(text, TextTokens):
        raise ValueError(f"{run.path}: makes {run.modality.name} by its {text.name}; {_CAN}")
    if run.conditions:
        raise ValueError(f"{run.path}: is given {', '.join(run.conditions)}; {_CAN}")
    if plan["family"]["name"] != "autoregressive":
        raise ValueError(f"{run.path}: is of family {plan['family']['name']}; {_CAN}")
    if not isinstance(backbone, Transformer):
        raise ValueError(f"{run.path}: has the backbone {plan['backbone']['name']}; {_CAN}")
    if backbone.ffn != "swiglu":
        raise ValueError(f"{run.path}: has ffn {backbone.ffn}; {_CAN}")
    return backbone, text.space, text


def start_token(space: Tokens) -> int:
    """The id of the added start token; its embedding is the learned start embedding."""
    return space.vocabulary


def hidden(weights: dict[str, Tensor]) -> int:
    """The hidden width of the feed-forward layers in `tensors`."""
    return len(weights["model.layers.0.mlp.gate_proj.weight"])


def tensors(run: Run) -> dict[str, Tensor]:
    """The weights for sampling in float32, with the names of Llama and Qwen3 in `transformers`.

    Norms get gains of 1. The start token is an additional row of the embedding. The output layer has no bias that could
    exclude it, so its row there is the mean of all others: its logit is the mean logit, and never the largest.
    """
    sizes, space, _ = check(run)
    weights = checkpoint.load(run.checkpoint())[0]
    own = {k.removeprefix("predictor."): v.float() for k, v in weights.items() if k.startswith("predictor.")}
    width = sizes.width
    ones = torch.ones(width)
    embed, head = own["embed.weight"], own["head.weight"]
    # A tied embedding has different scales as input and as output layer, so it is written as two tensors.
    scale = width**0.5 if sizes.tie_embeddings else 1.0
    out = {
        "model.embed_tokens.weight": torch.cat((embed * scale, own["embed_start"][None])),
        "model.norm.weight": ones,
        "lm_head.weight": torch.cat((head, head.mean(0, keepdim=True))),
    }
    assert len(head) == space.vocabulary
    for i in range(sizes.depth):
        mine, theirs = f"blocks.{i}.", f"model.layers.{i}."
        q, k, v = own[f"{mine}attention.qkv.weight"].chunk(3)
        gate, up = own[f"{mine}feed_forward.up.weight"].chunk(2)
        out |= {
            f"{theirs}input_layernorm.weight": ones,
            f"{theirs}self_attn.q_proj.weight": q,
            f"{theirs}self_attn.k_proj.weight": k,
            f"{theirs}self_attn.v_proj.weight": v,
            f"{theirs}self_attn.o_proj.weight": own[f"{mine}attention.out.weight"],
            f"{theirs}post_attention_layernorm.weight": ones,
            f"{theirs}mlp.gate_proj.weight": gate,
            f"{theirs}mlp.up_proj.weight": up,
            f"{theirs}mlp.down_proj.weight": own[f"{mine}feed_forward.out.weight"],
        }
        if sizes.qk_norm:
            gain_q, gain_k = own[f"{mine}attention.qk_gain"].flatten(1)
            out |= {f"{theirs}self_attn.q_norm.weight": gain_q, f"{theirs}self_attn.k_norm.weight": gain_k}
    return {name: tensor.contiguous().clone() for name, tensor in out.items()}
