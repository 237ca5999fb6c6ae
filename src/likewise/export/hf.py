"""A text model as a folder that `transformers` loads: Qwen3 where queries and keys are normalised, else Llama."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from likewise.export import layout, tokenizer
from likewise.families.autoregressive import AutoregressiveSampling
from likewise.run import Run


def write(run: Run, out: Path) -> Path:
    """Write the folder `out`; config.json and the like are plain JSON, so that transformers is not needed for it."""
    text = layout.check(run)[2]
    weights = layout.tensors(run)
    files = {
        "config": _config(run, weights),
        "generation_config": _generation(run),
        "tokenizer_config": _tokenizer(run),
    }
    made = tokenizer.build(text)
    out.mkdir(parents=True)
    save_file(weights, out / "model.safetensors", {"format": "pt", "made_by": "likewise"})
    made.save(str(out / "tokenizer.json"))
    for name, content in files.items():
        (out / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return out


def _config(run: Run, weights: dict[str, Tensor]) -> dict[str, Any]:
    sizes, space, _ = layout.check(run)
    kind = "qwen3" if sizes.qk_norm else "llama"
    return {
        "architectures": ["Qwen3ForCausalLM" if sizes.qk_norm else "LlamaForCausalLM"],
        "model_type": kind,
        "hidden_size": sizes.width,
        "intermediate_size": layout.hidden(weights),
        "num_hidden_layers": sizes.depth,
        "num_attention_heads": sizes.head_count(),
        "num_key_value_heads": sizes.head_count(),
        "head_dim": sizes.width // sizes.head_count(),
        "hidden_act": "silu",
        "rms_norm_eps": layout.EPSILON,
        "rope_theta": layout.BASE,
        "rope_parameters": {"rope_type": "default", "rope_theta": layout.BASE},
        "attention_bias": False,
        "attention_dropout": 0.0,
        "max_position_embeddings": space.length,
        "vocab_size": space.vocabulary + 1,
        "tie_word_embeddings": False,
        "use_cache": True,
        "dtype": "float32",
        **_special(run),
    }


def _generation(run: Run) -> dict[str, Any]:
    """How the run itself draws; the start is never drawn."""
    drawn = run.sampling()
    assert isinstance(drawn, AutoregressiveSampling)
    start = _special(run)["bos_token_id"]
    found = {"suppress_tokens": [start], "max_length": layout.check(run)[1].length + 1, **_special(run)}
    if drawn.repetition_penalty != 1:
        found["repetition_penalty"] = drawn.repetition_penalty
    if drawn.temperature == 0:
        return {"do_sample": False, **found}
    # 0 and 1 mean all tokens; left out, top_k would be 50.
    found |= {"do_sample": True, "temperature": drawn.temperature, "top_k": drawn.top_k or 0, "top_p": drawn.top_p}
    return {**found, "min_p": drawn.min_p} if drawn.min_p else found


def _tokenizer(run: Run) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokenizer.START,
        "eos_token": tokenizer.END,
        "pad_token": tokenizer.END,
        "clean_up_tokenization_spaces": False,
        "model_max_length": layout.check(run)[1].length,
    }


def _special(run: Run) -> dict[str, int]:
    space = layout.check(run)[1]
    assert space.end is not None
    return {"bos_token_id": layout.start_token(space), "eos_token_id": space.end, "pad_token_id": space.end}
