"""The tokenizer of a text in the format of the `tokenizers` package: the same ids, and a start and an end token."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from likewise.modalities.text_tokens import TextTokens
from likewise.modalities.tokenizer import byte_letters

START, END = "<|start|>", "<|end|>"


def build(text: TextTokens) -> Tokenizer:
    """A tokenizer that encodes and decodes like the run, and puts a start token first.

    The end token and the start token have the last two ids. Raises ValueError if the vocabulary already contains one.
    """
    made: Any  # the stubs of tokenizers declare its parts as read-only
    if text.tokenizer.kind == "bpe":
        made = Tokenizer.from_str(text.tokenizer.known)
    elif text.tokenizer.kind == "bytes":
        made = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(byte_letters())}, merges=[]))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        made.decoder = decoders.ByteLevel()
    else:
        vocabulary = {f"<0x{i:02X}>": i for i in range(256)} | {c: 256 + i for i, c in enumerate(text.tokenizer.known)}
        made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
        made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens([AddedToken(END, special=True), AddedToken(START, special=True)])
    start = made.token_to_id(START)
    if (made.token_to_id(END), start) != (text.end, text.end + 1):
        raise ValueError(f"the text's vocabulary has a token {END} or {START} already; only others can be exported")
    made.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", pair=f"{START} $A $B", special_tokens=[(START, start)]
    )
    return made
