"""Reads the tokenizer of a pretrained model from a folder: tokenizer.json, and its start and end tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: the token that is added if a model has no end token
END = "<|end|>"


@dataclass(frozen=True)
class Borrowed:
    """A tokenizer with `size` tokens, and the numbers of its start and end tokens.

    added: whether the end token is `END`, which the model was not trained on. most: the model's maximum context length
    in tokens.
    """

    json: str
    size: int
    start: int
    end: int
    added: bool
    most: int

    @property
    def known(self) -> dict[str, Any]:
        """The part that is stored with a run's tokenizer."""
        return {"json": self.json, "end": self.end, "most": self.most}


def read(folder: str | Path) -> Borrowed:
    """The tokenizer of the model in a folder. Raises ValueError with a message of one line."""
    folder = Path(folder)
    file = folder / "tokenizer.json"
    config, about = _json(folder, "config.json"), _json(folder, "tokenizer_config.json")
    if not file.is_file():
        raise ValueError(
            f"{folder}: it has no tokenizer.json; transformers writes one: "
            f"AutoTokenizer.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"
        )
    text = file.read_text(encoding="utf-8")
    try:
        made = tokenizer(text)
    except Exception as error:  # tokenizers raises plain Exception
        raise ValueError(f"{file}: not a tokenizer: {str(error).splitlines()[0][:200]}") from None
    most = config.get("max_position_embeddings") or config.get("n_positions")
    if not isinstance(most, int) or most < 2:
        raise ValueError(
            f"{folder / 'config.json'}: max_position_embeddings: expected a number of places, got {most!r}"
        )
    end, added = _token(made, "eos", config, about), False
    if end is None:
        made.add_special_tokens([END])
        end, added, text = made.token_to_id(END), True, made.to_str()
    start = _token(made, "bos", config, about)
    return Borrowed(text, size(made), end if start is None else start, end, added, most)


def tokenizer(text: str) -> Any:
    """The tokenizer of a tokenizer.json, without truncation and padding; special tokens in texts are plain text."""
    from tokenizers import Tokenizer

    made = Tokenizer.from_str(text)
    made.no_truncation()
    made.no_padding()
    made.encode_special_tokens = True
    return made


def size(made: Any) -> int:
    """One more than the largest token number; some smaller numbers may be unused."""
    return max(made.get_vocab(with_added_tokens=True).values()) + 1


def bytes_each(made: Any) -> list[bytes]:
    """The UTF-8 bytes of each token, by token number; empty for special tokens.

    Raises ValueError for a tokenizer that is neither byte-level (GPT-2) nor has byte fallback (Llama 2).
    """
    plan = json.loads(made.to_str())
    kinds = {part["type"] for part in _parts(plan.get("decoder"))}
    found = [b""] * size(made)
    if "ByteLevel" in kinds:
        written = {letter: byte for byte, letter in enumerate(byte_letters())}
        for token, i in made.get_vocab(with_added_tokens=False).items():
            found[i] = bytes(written[c] for c in token) if all(c in written for c in token) else token.encode()
    elif plan["model"].get("byte_fallback"):
        for token, i in made.get_vocab(with_added_tokens=False).items():
            byte = token.startswith("<0x") and token.endswith(">") and len(token) == 6
            found[i] = bytes([int(token[3:5], 16)]) if byte else token.replace("\u2581", " ").encode()
    else:
        raise ValueError(
            "what each token of this pretrained model writes is not known, which prompts, stops, streams and patterns "
            "need; it is for byte-level byte pairs (GPT-2, Llama 3, Qwen) and for bytes to fall back on (Llama 2)"
        )
    for i, token in made.get_added_tokens_decoder().items():
        found[i] = b"" if token.special else token.content.encode()
    return found


def byte_letters() -> list[str]:
    """The character of each byte in byte-level vocabularies (GPT-2): printable Latin-1 as is, others from U+0100."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in own]
    return [chr(b) if b in own else chr(256 + others.index(b)) for b in range(256)]


def lead(made: Any) -> bytes:
    """The prefix of a text's first token that the decoder removes: a space or nothing."""
    for token, i in made.get_vocab(with_added_tokens=False).items():
        if token.startswith("\u2581") and token[1:2] not in ("", "\u2581"):
            return b"" if made.decode([i]).startswith(" ") else b" "
    return b""


def _parts(part: Any) -> list[dict[str, Any]]:
    """A decoder in tokenizer.json as a list; a Sequence is flattened."""
    if not part:
        return []
    return [inner for each in part["decoders"] for inner in _parts(each)] if part["type"] == "Sequence" else [part]


def _json(folder: Path, name: str) -> dict[str, Any]:
    file = folder / name
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError(f"{file}: not JSON") from None
    if not isinstance(found, dict):
        raise ValueError(f"{file}: expected an object of JSON")
    return found


def _token(made: Any, kind: str, config: dict[str, Any], about: dict[str, Any]) -> int | None:
    """The number of the "bos" or "eos" token, from the tokenizer's settings, else from the model's settings."""
    named = about.get(f"{kind}_token")
    named = named.get("content") if isinstance(named, dict) else named
    if isinstance(named, str) and (found := made.token_to_id(named)) is not None:
        return found
    number = config.get(f"{kind}_token_id")
    number = number[0] if isinstance(number, list) and number else number
    return number if isinstance(number, int) and made.id_to_token(number) is not None else None
