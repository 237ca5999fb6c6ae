"""The tokens of a pretrained model, as a folder has them: tokenizer.json, and which of them start and end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: what is added where a model has no token that ends a text
END = "<|end|>"


@dataclass(frozen=True)
class Borrowed:
    """A tokenizer, and of its `size` tokens the one before a text, and the one that ends it.

    added: whether the end is a token of ours, which the model never saw. most: tokens that the model has places for.
    """

    json: str
    size: int
    start: int
    end: int
    added: bool
    most: int

    @property
    def known(self) -> dict[str, Any]:
        """What a run's tokenizer keeps of it."""
        return {"json": self.json, "end": self.end, "most": self.most}


def read(folder: str | Path) -> Borrowed:
    """The tokenizer of the model in a folder. Raises ValueError of one line."""
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
    except Exception as error:  # tokenizers raises nothing more special
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
    """The tokenizer of a tokenizer.json. Nothing is cut or padded, and no text is taken for a special token."""
    from tokenizers import Tokenizer

    made = Tokenizer.from_str(text)
    made.no_truncation()
    made.no_padding()
    made.encode_special_tokens = True
    return made


def size(made: Any) -> int:
    """One more than the last of its tokens; there may be gaps below."""
    return max(made.get_vocab(with_added_tokens=True).values()) + 1


def bytes_each(made: Any) -> list[bytes]:
    """What each token writes, in UTF-8, by number; nothing, if it is special.

    Raises ValueError for a tokenizer that is neither byte-level (GPT-2) nor has bytes to fall back on (Llama 2).
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
    """The letter of each byte in byte-level vocabularies (GPT-2): printable Latin-1 itself, the others by turns."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in own]
    return [chr(b) if b in own else chr(256 + others.index(b)) for b in range(256)]


def lead(made: Any) -> bytes:
    """What the first token of a text writes and its decoder takes away: a space or nothing."""
    for token, i in made.get_vocab(with_added_tokens=False).items():
        if token.startswith("\u2581") and token[1:2] not in ("", "\u2581"):
            return b"" if made.decode([i]).startswith(" ") else b" "
    return b""


def _parts(part: Any) -> list[dict[str, Any]]:
    """A part of a tokenizer.json, or those of a sequence of them."""
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
    """The number of a "bos" or "eos" token, as the tokenizer's settings name it, else as the model's number it."""
    named = about.get(f"{kind}_token")
    named = named.get("content") if isinstance(named, dict) else named
    if isinstance(named, str) and (found := made.token_to_id(named)) is not None:
        return found
    number = config.get(f"{kind}_token_id")
    number = number[0] if isinstance(number, list) and number else number
    return number if isinstance(number, int) and made.id_to_token(number) is not None else None
