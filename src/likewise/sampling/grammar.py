"""Constrained decoding of texts by a regular expression or a JSON schema, with `llguidance`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from likewise.errors import Message, Setting, UserError

#: at most one space between the parts of JSON; without a limit, a weak model could write spaces forever
_WHITESPACE = " ?"


class Grammar:
    """A regular expression or JSON schema, compiled for the tokens of a run."""

    def __init__(
        self,
        pieces: Sequence[bytes],
        tokenize: Callable[[str], list[int]],
        end: int,
        regex: str | None = None,
        json_schema: Any = None,
    ) -> None:
        """pieces: the bytes of each token, by number; empty for `end` and for tokens without text. tokenize: the run's
        tokenizer. end: the number of the end token.

        Raises UserError for an invalid pattern, or if llguidance is not installed.
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
    """The state of the grammar for each item of a batch. A matcher without any allowed token allows the end."""

    def __init__(self, grammar: Grammar, matchers: list[Any]) -> None:
        self._grammar, self._matchers = grammar, matchers
        self.seen = [0] * len(matchers)

    def take(self, i: int, token: int) -> None:
        self.seen[i] += 1
        self._matchers[i].consume_token(token)

    def mask(self, over: Sequence[bool]) -> Tensor:
        """True where a token is allowed next, shape (B, V). over: True for items that have ended."""
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
        """Whether item i matches the whole pattern, after `rest`, the tokens that were not taken yet."""
        matcher = self._matchers[i]
        for token in rest:
            if matcher.is_stopped():
                break
            self.take(i, token)
        return not matcher.is_error() and matcher.is_accepting()


class _Pieces:
    """A vocabulary in the form that llguidance needs; 0xFF, never part of UTF-8, marks tokens without text."""

    bos_token_id = None

    def __init__(self, pieces: Sequence[bytes], tokenize: Callable[[str], list[int]], end: int) -> None:
        self.tokens = [piece or b"\xff<%d>" % i for i, piece in enumerate(pieces)]
        self.eos_token_id = end
        self.special_token_ids = [i for i, piece in enumerate(pieces) if not piece]
        self._tokenize = tokenize

    def __call__(self, text: str | bytes) -> list[int]:
        """Tokenize text that the grammar forces; then only these tokens are allowed."""
        if isinstance(text, bytes):
            raise TypeError("text, not bytes")  # llguidance tries bytes once, to find out that text is expected
        return self._tokenize(text)


def _short(message: str) -> str:
    """The line of an error message that names the problem."""
    lines = [line.strip() for line in message.strip().splitlines()]
    return next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[0])


def read_schema(text: str, name: str) -> Any:
    """Parse a JSON schema. name: its file, for the error. Raises ValueError if it is not a JSON object."""
    try:
        schema = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name}: not JSON, line {error.lineno}: {error.msg}") from None
    if not isinstance(schema, dict):
        raise ValueError(f"{name}: a schema is a JSON object, and that is something else")
    return schema
