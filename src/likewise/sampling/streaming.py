"""Streaming of a text while it is drawn: complete characters only, and no text that a stop may remove."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from typing import Protocol


class Asked(Protocol):
    """The part of `prompting.Prompting` that streaming needs."""

    @property
    def prompt(self) -> str: ...

    @property
    def stop(self) -> tuple[str, ...]: ...

    def trim(self, text: str) -> str: ...


class Live:
    """Receives tokens and emits text; after `finish`, the emitted text equals the text of the sample."""

    def __init__(self, pieces: Sequence[bytes], asked: Asked, say: Callable[[str], None], lead: bytes = b"") -> None:
        """pieces: the bytes of each token. say: receives the text. lead: bytes removed from the start of the text."""
        self._pieces, self._asked, self._say, self._lead = pieces, asked, say, lead
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._text, self._said = "", 0

    def token(self, token: int) -> None:
        piece = self._pieces[token]
        self._text += self._decoder.decode(piece if self._text else piece.removeprefix(self._lead))
        self._tell(len(self._text) - self._held())

    def finish(self) -> None:
        self._text += self._decoder.decode(b"", final=True)
        self._tell(len(self._text))

    def _held(self) -> int:
        """The number of characters at the end of the text that may begin a stop text."""
        behind = len(self._text) - len(self._asked.prompt)
        return max(
            (
                n
                for stop in self._asked.stop
                for n in range(1, min(len(stop) - 1, behind) + 1)
                if self._text.endswith(stop[:n])
            ),
            default=0,
        )

    def _tell(self, until: int) -> None:
        new = self._asked.trim(self._text)[self._said : until]
        self._said += len(new)
        if new:
            self._say(new)
