"""Reads model folders in Hugging Face's layout: the config as backbone settings, the weights with our parameter names.

Reads config.json, tokenizer.json and safetensors, in one file or in shards, of any floating-point type; never pickles.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import safe_open
from torch import Tensor

from likewise.backbones.pretrained import Linear, Pretrained
from likewise.errors import Message, Setting, UserError
from likewise.modalities import pretrained_tokenizer
from likewise.spaces import Tokens
from likewise.training import checkpoint

#: by layout, the name of the architecture in config.json
ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
}
#: names of activations in config.json, and those of `Pretrained`
_ACTIVATIONS = {
    "silu": "silu", "swish": "silu", "gelu": "gelu", "relu": "relu", "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh",
}  # fmt: skip
#: stored tensors that are not weights and can be computed: masks, frequencies
_COMPUTED = re.compile(r".*\.(attn\.bias|attn\.masked_bias|rotary_emb\.inv_freq)")
#: files of the folder that a run stores besides the weights, if they exist
_KEPT = ("config.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json", "LICENSE")


def settings(folder: Path, lora: int | None = None) -> dict[str, Any]:
    """The settings of the backbone `pretrained` for the model in a folder.

    lora: the rank of low-rank updates to the frozen weights; None to train all weights. Raises ValueError if the folder
    is incomplete or the model is not supported.
    """
    if not folder.is_dir():
        raise UserError(
            "there is no such folder",
            setting="from_",
            value=folder,
            fix="nothing is downloaded, give one that is there",
        )
    if not (folder / "config.json").is_file():
        raise UserError(
            "it has no config.json", setting="from_", value=folder, fix="give a model's folder in Hugging Face's layout"
        )
    tokens = pretrained_tokenizer.read(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind = _kind(folder, config)
    _index(folder)
    if "quantization_config" in config:
        raise UserError("its weights are quantized", setting="from_", value=folder, fix="give those they were made of")
    try:
        found = _gpt2(config) if kind == "gpt2" else _llama(kind, config)
    except KeyError as missing:
        raise ValueError(f"{folder / 'config.json'}: it has no {missing}, which a {kind} has") from None
    activation = config.get("activation_function" if kind == "gpt2" else "hidden_act", "gelu_new")
    if activation not in _ACTIVATIONS:
        raise UserError(f"its activation {activation!r} is not known", setting="from_", value=folder)
    found |= {"kind": kind, "activation": _ACTIVATIONS[activation]}
    found |= {"start": tokens.start, "vocabulary": tokens.size, "lora": lora}
    if lora and tokens.added:
        raise UserError(
            "it has no token that ends a text, and what is frozen cannot learn a new one",
            setting="from_",
            value=folder,
            fix=Message("leave out ", Setting("lora")),
        )
    names = set(_index(folder))
    found["tied"] = "lm_head.weight" not in names or bool(config.get("tie_word_embeddings", kind == "gpt2"))
    try:
        return Pretrained(**found).model_dump(exclude_none=True)
    except (ValidationError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'config.json'}: {str(error).splitlines()[-1].strip()}") from None


def _kind(folder: Path, config: Mapping[str, Any]) -> str:
    named = config.get("architectures") or [config.get("model_type")]
    for kind, architecture in ARCHITECTURES.items():
        if named[0] in (kind, architecture):
            return kind
    raise UserError(
        f"a {named[0]}",
        setting="from_",
        value=folder,
        fix=f"what can be loaded are {', '.join(ARCHITECTURES.values())}",
    )


def _llama(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    rope = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    way = rope.get("rope_type", rope.get("type", "default"))
    if way not in ("default", "linear", "llama3") or rope.get("partial_rotary_factor", 1) != 1:
        raise ValueError(f"rope_scaling {way!r}: only default, linear and llama3 are known; without it, texts of the "
                         "original length are the same: take it out of config.json")  # fmt: skip
    scaling: dict[str, Any] | None = None
    if way == "linear":
        scaling = {"kind": way, "factor": rope["factor"]}
    elif way == "llama3":
        scaling = {
            "kind": way, "factor": rope["factor"], "low": rope["low_freq_factor"], "high": rope["high_freq_factor"],
            "original": rope["original_max_position_embeddings"],
        }  # fmt: skip
    # For texts within the window, sliding-window attention equals full attention, so the window limits the length.
    window = config.get("sliding_window") if config.get("use_sliding_window", kind == "mistral") else None
    places = config["max_position_embeddings"]
    bias = bool(config.get("attention_bias", False))
    heads = config["num_attention_heads"]
    return {
        "width": config["hidden_size"],
        "depth": config["num_hidden_layers"],
        "heads": heads,
        "groups": config.get("num_key_value_heads") or heads,
        "head_size": config.get("head_dim") or config["hidden_size"] // heads,
        "hidden": config["intermediate_size"],
        "epsilon": config.get("rms_norm_eps", 1e-6),
        "places": min(places, window) if window else places,
        "theta": rope.get("rope_theta", config.get("rope_theta", 10_000.0)),
        "scaling": scaling,
        "qkv_bias": bias or kind == "qwen2",
        "out_bias": bias and kind != "qwen2",
        "feed_bias": bool(config.get("mlp_bias", False)),
    }


def _gpt2(config: Mapping[str, Any]) -> dict[str, Any]:
    for name, usual in {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False}.items():
        if config.get(name, usual) != usual:
            raise ValueError(f"config.json: {name} = {config[name]} is not known")
    width = config["n_embd"]
    return {
        "width": width,
        "depth": config["n_layer"],
        "heads": config["n_head"],
        "head_size": width // config["n_head"],
        "hidden": config.get("n_inner") or 4 * width,
        "epsilon": config.get("layer_norm_epsilon", 1e-5),
        "places": config["n_positions"],
        "qkv_bias": True,
        "out_bias": True,
        "feed_bias": True,
    }


def _index(folder: Path) -> dict[str, Path]:
    """The file of each tensor, by full name such as "model.norm.weight" or "transformer.wte.weight"."""
    whole, shards = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        files = [whole]
    elif shards.is_file():
        named = set(json.loads(shards.read_text(encoding="utf-8"))["weight_map"].values())
        files = [folder / Path(name).name for name in sorted(named)]
    else:
        pickled = next((p.name for p in sorted(folder.glob("*.bin"))), None)
        why = f"its weights are pickled ({pickled}), and reading those can run any code" if pickled else "no weights"
        raise UserError(
            f"it has no model.safetensors: {why}",
            setting="from_",
            value=folder,
            fix="transformers writes safetensors: AutoModelForCausalLM.from_pretrained(...).save_pretrained(...)",
        )
    found: dict[str, Path] = {}
    for file in files:
        if not file.is_file():
            raise UserError(f"{file.name} is missing, and its index names it", setting="from_", value=folder)
        checkpoint.check_file(file)
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                found[_full(name)] = file
    return {name: file for name, file in found.items() if not _COMPUTED.fullmatch(name)}


def _full(name: str) -> str:
    """The name of a tensor in a model with an output layer; files of models without one omit the first part."""
    if name.startswith(("model.", "transformer.", "lm_head.")):
        return name
    return f"{'transformer' if name.startswith(('wte.', 'wpe.', 'h.', 'ln_f.')) else 'model'}.{name}"


#: (our name, their name, whether theirs is transposed, index of our third in their tensor or None for all of it)
_Entry = tuple[str, str, bool, int | None]


def names(sizes: Pretrained) -> list[_Entry]:
    """The tensors of a model, with our names and those of Hugging Face."""
    return _names_gpt2(sizes) if sizes.gpt2 else _names_llama(sizes)


def _names_llama(sizes: Pretrained) -> list[_Entry]:
    pairs = [("embed", "model.embed_tokens.weight"), ("norm.weight", "model.norm.weight")]
    pairs += [] if sizes.tied else [("head", "lm_head.weight")]
    parts = {
        "q": ("self_attn.q_proj", sizes.qkv_bias), "k": ("self_attn.k_proj", sizes.qkv_bias),
        "v": ("self_attn.v_proj", sizes.qkv_bias), "out": ("self_attn.o_proj", sizes.out_bias),
        "gate": ("mlp.gate_proj", sizes.feed_bias), "up": ("mlp.up_proj", sizes.feed_bias),
        "down": ("mlp.down_proj", sizes.feed_bias), "attention_norm": ("input_layernorm", False),
        "feed_norm": ("post_attention_layernorm", False),
    }  # fmt: skip
    if sizes.kind == "qwen3":
        parts |= {"q_norm": ("self_attn.q_norm", False), "k_norm": ("self_attn.k_norm", False)}
    for i in range(sizes.depth):
        for ours, (theirs, bias) in parts.items():
            kinds = ("weight", "bias") if bias else ("weight",)
            pairs += [(f"blocks.{i}.{ours}.{kind}", f"model.layers.{i}.{theirs}.{kind}") for kind in kinds]
    return [(ours, theirs, False, None) for ours, theirs in pairs]


def _names_gpt2(sizes: Pretrained) -> list[_Entry]:
    """As `names`, for GPT-2, which stores linear layers as (inputs, outputs), and queries, keys and values in one."""
    body = "transformer"
    found: list[_Entry] = [
        ("embed", f"{body}.wte.weight", False, None),
        ("embed_place", f"{body}.wpe.weight", False, None),
    ]
    found += [] if sizes.tied else [("head", "lm_head.weight", False, None)]
    parts: dict[str, tuple[str, bool, int | None]] = {
        "attention_norm": ("ln_1", False, None), "feed_norm": ("ln_2", False, None),
        "q": ("attn.c_attn", True, 0), "k": ("attn.c_attn", True, 1), "v": ("attn.c_attn", True, 2),
        "out": ("attn.c_proj", True, None), "up": ("mlp.c_fc", True, None), "down": ("mlp.c_proj", True, None),
    }  # fmt: skip
    for kind in ("weight", "bias"):
        found.append((f"norm.{kind}", f"{body}.ln_f.{kind}", False, None))
        for i in range(sizes.depth):
            for ours, (theirs, turned, part) in parts.items():
                turned = turned and kind == "weight"
                found.append((f"blocks.{i}.{ours}.{kind}", f"{body}.h.{i}.{theirs}.{kind}", turned, part))
    return found


def keep(folder: Path, sizes: Pretrained, out: Path) -> None:
    """Store a pretrained model in a run: its weights with our names, in their own type, and its small files.

    Raises UserError if the weights do not match config.json or tokenizer.json, or are quantised.
    """
    tokens = pretrained_tokenizer.read(folder)
    where = _index(folder)
    with torch.device("meta"):
        plain = sizes.model_copy(update={"lora": None, "places": max(sizes.places, 2)})
        expected = plain.predictor(Tokens(2, tokens.size, end=0), {}).state_dict()
    entries = names(sizes)
    foreign = sorted(set(where) - {theirs for _, theirs, _, _ in entries} - {"lm_head.weight"})
    missing = sorted({theirs for _, theirs, _, _ in entries} - set(where))
    if foreign or missing:
        what = f"{missing[0]} is missing" if missing else f"{foreign[0]} is in no {sizes.kind}"
        raise UserError(f"its weights are not those of its config.json: {what}", setting="from_", value=folder)
    tensors: dict[str, Tensor] = {}
    for ours, theirs, turned, part in entries:
        with safe_open(where[theirs], "pt") as opened:
            stored = next(n for n in opened.keys() if _full(n) == theirs)  # noqa: SIM118
            tensor = opened.get_tensor(stored)
        if not tensor.is_floating_point():
            raise UserError(
                f"{theirs} is {tensor.dtype}: quantized",
                setting="from_",
                value=folder,
                fix="give the weights it was made of",
            )
        tensor = tensor.T if turned else tensor
        tensor = tensor if part is None else tensor.chunk(3)[part]
        if ours in ("embed", "head"):
            tensor = _rows(folder, tensor, tokens)
        if tensor.shape != expected[ours].shape:
            shapes = f"{tuple(tensor.shape)}, and by its config.json {tuple(expected[ours].shape)}"
            raise UserError(f"{theirs} is {shapes}", setting="from_", value=folder)
        tensors[f"predictor.{ours}"] = tensor
    out.mkdir(parents=True)
    checkpoint.put(out, "weights", tensors)
    for name in _KEPT:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    (out / "tokenizer.json").write_text(tokens.json, encoding="utf-8")


def _rows(folder: Path, table: Tensor, tokens: pretrained_tokenizer.Borrowed) -> Tensor:
    """The rows of an embedding table, shape (rows, width), that belong to tokens; unused rows are dropped.

    An end token added by this project gets the mean of all rows.
    """
    own = tokens.size - tokens.added
    if len(table) < own:
        raise UserError(
            f"its tokenizer.json has {own:,} tokens and its embedding {len(table):,} rows",
            setting="from_",
            value=folder,
            fix="they are of two models",
        )
    table = table[:own]
    return torch.cat((table, table.float().mean(0, keepdim=True).to(table.dtype))) if tokens.added else table


def tensors(sizes: Pretrained, net: torch.nn.Module) -> dict[str, Tensor]:
    """The weights of a network with Hugging Face's names, in float32, with low-rank updates merged: inverts `keep`."""
    own = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    own |= {f"{name}.weight": m.merged() for name, m in net.named_modules() if isinstance(m, Linear)}
    parts: dict[str, list[Tensor]] = {}
    turned: dict[str, bool] = {}
    for ours, theirs, way, _ in names(sizes):
        parts.setdefault(theirs, []).append(own[ours].detach().float().cpu())
        turned[theirs] = way
    whole = {name: torch.cat(found) for name, found in parts.items()}
    return {name: (t.T if turned[name] else t).contiguous().clone() for name, t in whole.items()}
