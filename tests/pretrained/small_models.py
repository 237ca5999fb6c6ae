"""Small models in Hugging Face's layout, written by `transformers` with random weights, and texts for them."""

from __future__ import annotations

import json
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

LINES = [line.strip()[:80] for text in topics.values() for line in text.splitlines() if len(line) > 30]
STRANGE = "Ünïcode 東京 🙂  two  spaces\tand <|endoftext|> </s> <0x41>…\n"
_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_LLAMA = {**_SIZES, "num_key_value_heads": 2, "max_position_embeddings": 128}
_ROPE3 = {
    "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_theta": 5e5,
    "original_max_position_embeddings": 32,
}  # fmt: skip
#: by name: the model's class, its config's, how it is set, and its tokenizer
MODELS: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "llama": (LlamaForCausalLM, LlamaConfig, {**_LLAMA, "attention_bias": True, "mlp_bias": True}, "sentencepiece"),
    "llama3": (LlamaForCausalLM, LlamaConfig, {**_LLAMA, "rope_parameters": _ROPE3, "head_dim": 12}, "bytelevel"),
    "mistral": (MistralForCausalLM, MistralConfig, {**_LLAMA, "sliding_window": 64}, "sentencepiece"),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {**_LLAMA, "tie_word_embeddings": True}, "bytelevel"),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {**_LLAMA, "head_dim": 16}, "bytelevel"),
    "gpt2": (GPT2LMHeadModel, GPT2Config, {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}, "bytelevel"),
}


def bytelevel(size: int = 400) -> Tokenizer:
    """Byte pairs over bytes, as of GPT-2, with one special token."""
    made: Any = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    made.decoder = decoders.ByteLevel()  # pyright: ignore
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>"]
    made.train_from_iterator(
        LINES,
        trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, special_tokens=special, show_progress=False),
    )
    return made


def sentencepiece(size: int = 400) -> Tokenizer:
    """Byte pairs over characters, bytes to fall back on, and spaces in the token of their word, as of Llama 2."""
    made: Any = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(parts)
    special = ["<unk>", "<s>", "</s>"]
    fallback = [f"<0x{i:02X}>" for i in range(256)]
    made.train_from_iterator(
        LINES, trainers.BpeTrainer(vocab_size=size + 256, special_tokens=special + fallback, show_progress=False)
    )
    plan = json.loads(made.to_str())
    plan["added_tokens"] = plan["added_tokens"][: len(special)]  # the bytes are tokens like others
    return Tokenizer.from_str(json.dumps(plan))


def small_model(
    folder: Path, name: str, *, dtype: torch.dtype = torch.float32, shards: str = "5GB", **more: Any
) -> Any:
    """Write a model, with a few rows that no token has, and return it as `transformers` has it."""
    kind, config, settings, tokens = MODELS[name]
    made = bytelevel() if tokens == "bytelevel" else sentencepiece()
    ends = {"eos_token": "<|endoftext|>"} if tokens == "bytelevel" else {"eos_token": "</s>", "bos_token": "<s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, **ends)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    rows = made.get_vocab_size() + 5
    numbers = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    model = kind(config(vocab_size=rows, **numbers, **{**settings, **more}))
    with torch.no_grad():
        for parameter in model.parameters():  # biases and gains, which begin at 0 and 1, are to be seen too
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.to(dtype).save_pretrained(folder, max_shard_size=shards)
    return kind.from_pretrained(folder, dtype=torch.float32).eval()


def write_lines(folder: Path, count: int = 120) -> Path:
    file = folder / "lines.txt"
    file.write_text("\n".join(dict.fromkeys(LINES[:count])), encoding="utf-8")
    return file
