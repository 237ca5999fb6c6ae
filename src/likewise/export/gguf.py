"""A text model as a GGUF file for llama.cpp: architecture Qwen3 if queries and keys are normalised, else Llama."""

from __future__ import annotations

import json
from pathlib import Path

from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, GGUFWriter, TokenType, get_tensor_name_map
from torch import Tensor

from likewise.errors import Message, Setting, UserError
from likewise.export import layout, tokenizer
from likewise.modalities.text_tokens import TextTokens
from likewise.runs.run import Run


def write(run: Run, out: Path) -> Path:
    """Write the file `out`, in float32, with the tokenizer, which must be "bpe" for llama.cpp.

    Raises ValueError for a run that cannot be exported.
    """
    sizes, space, text = layout.check(run)
    if text.tokenizer.kind != "bpe":
        raise UserError(
            f"{run.path}: is text by {text.tokenizer.kind}",
            fix=Message("GGUF holds byte pairs (target.tokenizer=bpe), ", Setting("to", "hf"), " all"),
        )
    arch = MODEL_ARCH.QWEN3 if sizes.qk_norm else MODEL_ARCH.LLAMA
    weights, size = layout.tensors(run), sizes.width // sizes.head_count()
    file = GGUFWriter(out, MODEL_ARCH_NAMES[arch])
    file.add_name(run.name)
    file.add_context_length(space.length)
    file.add_embedding_length(sizes.width)
    file.add_block_count(sizes.depth)
    file.add_feed_forward_length(layout.hidden(weights))
    file.add_head_count(sizes.head_count())
    file.add_head_count_kv(sizes.head_count())
    file.add_key_length(size)
    file.add_value_length(size)
    file.add_rope_dimension_count(size)
    file.add_rope_freq_base(layout.BASE)
    file.add_layer_norm_rms_eps(layout.EPSILON)
    file.add_vocab_size(space.vocabulary + 1)
    _add_tokenizer(file, text)
    names = get_tensor_name_map(arch, sizes.depth)
    for name, tensor in weights.items():
        theirs = names.get_name(name, try_suffixes=(".weight",))
        assert theirs is not None
        turned = arch == MODEL_ARCH.LLAMA and name.endswith(("q_proj.weight", "k_proj.weight"))
        file.add_tensor(theirs, (_interleaved(tensor, sizes.head_count()) if turned else tensor).numpy())
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return out


def _interleaved(weight: Tensor, heads: int) -> Tensor:
    """Reorder the rows of query or key weights, shape (width, width), as llama.cpp's Llama requires.

    The two channels of each rotary pair are adjacent there; here, they are in the two halves of a head.
    """
    return weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape).contiguous()


def _add_tokenizer(file: GGUFWriter, text: TextTokens) -> None:
    made = tokenizer.build(text)
    ids = made.get_vocab()
    tokens = sorted(ids, key=ids.__getitem__)
    special = {tokenizer.START, tokenizer.END}
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("gpt-2")
    file.add_token_list(tokens)
    file.add_token_types([TokenType.CONTROL if t in special else TokenType.NORMAL for t in tokens])
    merges = json.loads(made.to_str())["model"]["merges"]
    file.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    file.add_bos_token_id(ids[tokenizer.START])
    file.add_eos_token_id(ids[tokenizer.END])
    file.add_pad_token_id(ids[tokenizer.END])
    file.add_add_bos_token(True)
    file.add_add_eos_token(False)
