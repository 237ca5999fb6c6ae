"""A text model as a folder for `transformers`: architecture Qwen3 if queries and keys are normalised, else Llama.

A run that started from a pretrained model is exported in the layout of that model.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from likewise.backbones.pretrained import Pretrained
from likewise.export import layout, tokenizer
from likewise.families.autoregressive import AutoregressiveModel, AutoregressiveSampling
from likewise.modalities.text_tokens import TextTokens
from likewise.planning import huggingface
from likewise.runs.run import PRETRAINED, Run


def write(run: Run, out: Path) -> Path:
    """Write the folder `out`, without using transformers. Raises ValueError for a run that cannot be exported."""
    if isinstance(run.experiment.backbone, Pretrained):
        return _as_it_came(run, run.experiment.backbone, out)
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


def _as_it_came(run: Run, sizes: Pretrained, out: Path) -> Path:
    """Write the folder of the pretrained model with the weights of the run; low-rank updates are merged."""
    if run.conditions:
        raise ValueError(f"{run.path}: is given {', '.join(run.conditions)}; what can be exported is given nothing")
    text, model = run.encoding, run.model
    assert isinstance(text, TextTokens)
    assert isinstance(model, AutoregressiveModel)
    weights = huggingface.tensors(sizes, model.predictor)
    out.mkdir(parents=True)
    save_file(weights, out / "model.safetensors", {"format": "pt", "made_by": "likewise"})
    for file in (run.path / PRETRAINED).parent.iterdir():
        if file.name != PRETRAINED.name:
            shutil.copyfile(file, out / file.name)
    ends = {"eos_token_id": text.end, "bos_token_id": sizes.start}
    changed = {"vocab_size": sizes.vocabulary, "tie_word_embeddings": sizes.tied, "dtype": "float32", **ends}
    changed["architectures"] = [huggingface.ARCHITECTURES[sizes.kind]]
    _change(out / "config.json", changed, "torch_dtype")
    _change(out / "generation_config.json", ends)
    return out


def _change(file: Path, values: dict[str, Any], *gone: str) -> None:
    """Set values in a JSON file, and remove the keys `gone`."""
    old = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    new = {**{k: v for k, v in old.items() if k not in gone}, **values}
    file.write_text(json.dumps(new, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


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
    """The sampling settings of the run; the start token is suppressed."""
    drawn = run.sampler.settings()
    assert isinstance(drawn, AutoregressiveSampling)
    start = _special(run)["bos_token_id"]
    found = {"suppress_tokens": [start], "max_length": layout.check(run)[1].length + 1, **_special(run)}
    if drawn.repetition_penalty != 1:
        found["repetition_penalty"] = drawn.repetition_penalty
    if drawn.temperature == 0:
        return {"do_sample": False, **found}
    # top_k 0 and top_p 1 mean all tokens; without top_k, transformers would use 50.
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
