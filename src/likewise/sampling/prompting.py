"""Prompting: sampled texts that begin with a prompt, end at stop texts, and match a grammar.

The last token of a prompt may be a prefix of a longer token (in "the beginning", the space after "the" may belong to
the token of the next word). It is therefore sampled again, among the tokens that begin with it (token healing, from the
library guidance by Lundberg et al., 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from likewise.errors import Message, Setting, UserError
from likewise.modalities.encoding import Encoding
from likewise.sampling.grammar import Grammar
from likewise.sampling.streaming import Live
from likewise.spaces import Tokens


@dataclass(frozen=True)
class Prompting:
    """Constraints on sampled texts. regex, json_schema: must match the text after the prompt; at most one is given."""

    prompt: str = ""
    stop: tuple[str, ...] = ()
    regex: str | None = None
    json_schema: Any = None

    def __post_init__(self) -> None:
        if self.regex is not None and self.json_schema is not None:
            raise UserError(Message(Setting("regex"), " and ", Setting("json_schema"), ": give one of them"))
        if "" in self.stop:
            raise UserError("an empty text would stop before anything", setting="stop", fix="give some text")

    @property
    def constrained(self) -> bool:
        return self.regex is not None or self.json_schema is not None

    def to_dict(self) -> dict[str, Any]:
        """The constraints that were given, for the provenance; {} if none."""
        asked = {"prompt": self.prompt, "stop": [*self.stop], "regex": self.regex, "json_schema": self.json_schema}
        return {name: value for name, value in asked.items() if value not in ("", [], None)}

    @classmethod
    def from_dict(cls, asked: Mapping[str, Any]) -> Prompting:
        return cls(**{**asked, "stop": tuple(asked.get("stop", ()))})

    def trim(self, text: str) -> str:
        """The text up to the first stop text after the prompt."""
        found = [at for stop in self.stop if (at := text.find(stop, len(self.prompt))) >= 0]
        return text[: min(found, default=len(text))]


class PromptedDecoding:
    """Prompting prepared for the tokens of a run: the tokens of the prompt, and the grammar."""

    def __init__(self, prompting: Prompting, encoding: Encoding, space: Tokens, longest: int) -> None:
        """longest: the largest number of tokens of a sample. Raises UserError if the prompt is too long."""
        assert space.end is not None
        self.prompting, self.end, self.vocabulary = prompting, space.end, space.vocabulary
        self.pieces, self.lead = encoding.token_bytes(), encoding.lead
        ids = encoding.tokens_of(prompting.prompt)
        if len(ids) >= longest:
            raise UserError(
                f"it has {len(ids)} tokens and the run's texts at most {longest}, so that nothing is left to draw",
                setting="prompt",
                fix="give a shorter one",
            )
        self.grammar = None
        if prompting.constrained:
            self.grammar = Grammar(self.pieces, encoding.tokens_of, self.end, prompting.regex, prompting.json_schema)
        self.healing: Tensor | None = None
        if ids and self.grammar is None:
            # No healing with a grammar: it constrains the bytes after the prompt, so no token may cross that border.
            last = self.pieces[ids.pop()]
            self.healing = torch.tensor([piece.startswith(last) for piece in self.pieces])
        self.ids = ids

    def batch(self, wanted: Sequence[bool], live: Callable[[str], None] | None = None) -> PromptedBatch:
        """The constraint of one batch. Rows that are not wanted end at once. live: receives the wanted row's text."""
        return PromptedBatch(self, wanted, live)


class PromptedBatch:
    """The constraint (`families.decoding.Constraint`) of one batch, and the other arguments of `Model.sample`."""

    def __init__(self, decoding: PromptedDecoding, wanted: Sequence[bool], live: Callable[[str], None] | None) -> None:
        self.decoding, self.wanted = decoding, wanted
        self._stops = [stop.encode() for stop in decoding.prompting.stop]
        self._texts = [bytearray() for _ in wanted]
        self._over = [not each for each in wanted]
        self._matching = None if decoding.grammar is None else decoding.grammar.start(len(wanted))
        self._live = None if live is None else Live(decoding.pieces, decoding.prompting, live, decoding.lead)
        self._only_end = torch.arange(decoding.vocabulary) == decoding.end

    def arguments(self, device: torch.device) -> dict[str, Any]:
        """Keyword arguments for `Model.sample` of a steerable model."""
        given: dict[str, Any] = {"constraint": self}
        if self.decoding.ids:
            given["prefix"] = torch.tensor(self.decoding.ids, device=device).repeat(len(self.wanted), 1)
        if self._live is not None:
            given["on_token"] = self._told
        return given

    def mask(self, x: Tensor) -> Tensor | None:
        decoding, position = self.decoding, x.shape[1]
        if position > 0:
            self._see(position - 1, x[:, -1].tolist())
        if position < len(decoding.ids):
            return None
        may = torch.ones(len(x), decoding.vocabulary, dtype=torch.bool)
        if decoding.healing is not None and position == len(decoding.ids):
            may &= decoding.healing
        if self._matching is not None:
            may &= self._matching.mask(self._over)
        may[torch.tensor(self._over)] = self._only_end
        return may

    def complete(self, x: Tensor) -> list[bool]:
        """Whether each row matches the whole grammar. x: the tokens, shape (B, length)."""
        if self._matching is None:
            return [True] * len(x)
        seen = self._matching.seen
        return [
            self._matching.complete(i, row[len(self.decoding.ids) + seen[i] :]) if self.wanted[i] else True
            for i, row in enumerate(x.tolist())
        ]

    def finish(self) -> None:
        if self._live is not None:
            self._live.finish()

    def _told(self, position: int, tokens: Tensor) -> None:
        assert self._live is not None
        token = int(tokens[self.wanted.index(True)])
        if token != self.decoding.end:
            self._live.token(token)

    def _see(self, position: int, tokens: list[int]) -> None:
        """Process the tokens of one position, and mark rows that have ended."""
        decoding = self.decoding
        for i, token in enumerate(tokens):
            if self._over[i]:
                continue
            if self._matching is not None and position >= len(decoding.ids):
                self._matching.take(i, token)
            if token == decoding.end:
                self._over[i] = True
                continue
            text = self._texts[i]
            new, start = len(text), len(decoding.prompting.prompt.encode())
            text += decoding.pieces[token] if text else decoding.pieces[token].removeprefix(decoding.lead)
            if any(text.find(stop, max(start, new - len(stop) + 1)) >= 0 for stop in self._stops):
                self._over[i] = True
