"""Constrained decoding of texts by a regular expression or a JSON schema, with `llguidance`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from likewise.errors import Message, Setting, UserError

#: between the parts of JSON at most one space: with no bound, a model that knows no JSON would write spaces only
_WHITESPACE = " ?"


class Grammar:
    """A pattern over a run's tokens."""

    def __init__(
        self,
        pieces: Sequence[bytes],
        tokenize: Callable[[str], list[int]],
        end: int,
        regex: str | None = None,
        json_schema: Any = None,
    ) -> None:
        """pieces: what each token writes, by number; nothing, if it is `end` or no text. tokenize: as the run does.

        Raises ValueError for a pattern that is none.
        """
        try:
            from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
        except ImportError:
            raise UserError(
                Message(
                    Setting("regex"),
                    " and ",
                    Setting("json_schema"),
                    " need llguidance: pip install 'likewise[constrain]'",
                )
            ) from None
        self.vocabulary, self.end = len(pieces), end
        self._tokenizer = LLTokenizer(TokenizerWrapper(_Pieces(pieces, tokenize, end)))
        if regex is not None:
            setting, self._grammar = "regex", LLMatcher.grammar_from_regex(regex)
        else:
            setting, self._grammar = (
                "json_schema",
                LLMatcher.grammar_from_json_schema(json_schema, overrides={"whitespace_pattern": _WHITESPACE}),
            )
        if wrong := LLMatcher.validate_grammar(self._grammar, self._tokenizer):
            raise UserError(_short(wrong), setting=setting)
        self._first = LLMatcher(self._tokenizer, self._grammar, log_level=0)

    def start(self, batch: int) -> Matching:
        return Matching(self, [self._first.deep_copy() for _ in range(batch)])


class Matching:
    """How far the items of one batch have come. A matcher that cannot go on allows the end only."""

    def __init__(self, grammar: Grammar, matchers: list[Any]) -> None:
        self._grammar, self._matchers = grammar, matchers
        self.seen = [0] * len(matchers)

    def take(self, i: int, token: int) -> None:
        self.seen[i] += 1
        self._matchers[i].consume_token(token)

    def mask(self, over: Sequence[bool]) -> Tensor:
        """True where a token may come next, shape (B, V). over: which items nobody asks about any more."""
        from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

        size = self._grammar.vocabulary
        packed = allocate_token_bitmask(len(over), size)
        for i, matcher in enumerate(self._matchers):
            if not over[i]:
                fill_next_token_bitmask(matcher, packed, i)
        may = np.unpackbits(packed.view(np.uint8), axis=1, bitorder="little")[:, :size].astype(bool)
        may[~may.any(1), self._grammar.end] = True
        return torch.from_numpy(may)

    def complete(self, i: int, rest: Sequence[int]) -> bool:
        """Whether item i is all that is asked for, after the tokens that were not taken yet."""
        matcher = self._matchers[i]
        for token in rest:
            if matcher.is_stopped():
                break
            self.take(i, token)
        return not matcher.is_error() and matcher.is_accepting()


class _Pieces:
    """A vocabulary as llguidance asks for it; 0xFF, which is in no UTF-8, marks what is no text."""

    bos_token_id = None

    def __init__(self, pieces: Sequence[bytes], tokenize: Callable[[str], list[int]], end: int) -> None:
        self.tokens = [piece or b"\xff<%d>" % i for i, piece in enumerate(pieces)]
        self.eos_token_id = end
        self.special_token_ids = [i for i, piece in enumerate(pieces) if not piece]
        self._tokenize = tokenize

    def __call__(self, text: str | bytes) -> list[int]:
        """Where the grammar leaves no choice of text, its own tokens are the only ones that may come."""
        if isinstance(text, bytes):
            raise TypeError("text, not bytes")  # asked once, to learn that it is so
        return self._tokenize(text)


def _short(message: str) -> str:
    """The line of an error that says what is wrong."""
    lines = [line.strip() for line in message.strip().splitlines()]
    return next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[0])


def read_schema(text: str, name: str) -> Any:
    """The JSON schema in a file's text. Raises ValueError."""
    try:
        schema = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name}: not JSON, line {error.lineno}: {error.msg}") from None
    if not isinstance(schema, dict):
        raise ValueError(f"{name}: a schema is a JSON object, and that is something else")
    return schema
