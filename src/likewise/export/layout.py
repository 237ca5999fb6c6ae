"""A run's Transformer as Llama's layout has it: which runs fit, and their tensors by the names of `transformers`."""

from __future__ import annotations

import torch
from torch import Tensor

from likewise.backbones.transformer import Transformer
from likewise.modalities.text_tokens import TextTokens
from likewise.runs.run import Run
from likewise.spaces import Tokens
from likewise.training import checkpoint

#: of every norm here, as `rms_norm` has it
EPSILON = 1e-6
#: of the rotary positions, as `rotation` has it
BASE = 10_000.0
_CAN = "what can be exported is unconditional text, family autoregressive, backbone transformer with ffn swiglu"


def check(run: Run) -> tuple[Transformer, Tokens, TextTokens]:
    """The sizes, space and text of a run that Llama's layout can hold. Raises ValueError for any other."""
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
    """The id of the added token whose embedding is the learned start."""
    return space.vocabulary


def hidden(weights: dict[str, Tensor]) -> int:
    """The channels of the feed-forward layers among `tensors`."""
    return len(weights["model.layers.0.mlp.gate_proj.weight"])


def tensors(run: Run) -> dict[str, Tensor]:
    """The weights that sample, by the names of `transformers`' Llama and Qwen3, in float32.

    Norms get gains of 1. The start is one more row of the embedding. The head has no bias to rule it out with: its row
    there is the mean of all others, so that it is never the likeliest, nor likelier than the average token.
    """
    sizes, space, _ = check(run)
    weights = checkpoint.load(run.checkpoint())[0]
    own = {k.removeprefix("predictor."): v.float() for k, v in weights.items() if k.startswith("predictor.")}
    width = sizes.width
    ones = torch.ones(width)
    embed, head = own["embed.weight"], own["head.weight"]
    # A tied table is read at another scale than it predicts with, so the two are written as two tables.
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
