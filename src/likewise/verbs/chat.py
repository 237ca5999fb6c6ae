"""Chat with a run that was trained on conversations. Each reply is a sample conditioned on the messages so far."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from likewise.data.conversations import Message
from likewise.runs.run import Run

_COMMANDS = "/reset, /seed N and /exit"


class Chat:
    """The run that replies, and the messages so far. Equal messages, seed and settings give equal replies."""

    def __init__(self, run: Run, seed: int = 0, settings: dict[str, Any] | None = None, system: str = "") -> None:
        """Raises ValueError if the run does not generate text from a dialogue, or for wrong settings."""
        field = next((name for name, e in run.conditions.items() if "messages" in e.modality.forms), None)
        if field is None or "text" not in run.modality.forms:
            raise ValueError(
                f"{run.path}: not a run to chat with, as it does not make text given a dialogue; train one on "
                "conversations: likewise train FILE.jsonl with rows of messages"
            )
        run.sampler.settings(settings)  # raises an error for wrong settings
        self.run, self.field, self.seed, self.settings, self.system = run, field, seed, settings, system
        self.reset()

    def reset(self) -> None:
        """Clear the history except for the system message."""
        self.history: list[Message] = [{"role": "system", "content": self.system}] if self.system else []

    def reply(self, said: str) -> str:
        """The model's reply to a user message. Reply n of a chat (from 0) is sample n of the seed, drawn alone."""
        self.history.append({"role": "user", "content": said})
        turn = sum(m["role"] == "assistant" for m in self.history)
        drawn = self.run.sample(1, self.seed, {self.field: self.history}, turn, self.settings, block=1)
        self.history.append({"role": "assistant", "content": drawn.values[0]})
        return drawn.values[0]

    def command(self, line: str) -> str:
        """Execute a command, a line that begins with a slash; returns a message for the user."""
        name, _, rest = line.partition(" ")
        if name == "/reset":
            self.reset()
            return "forgotten"
        if name == "/seed" and rest.strip().isdecimal():
            self.seed = int(rest)
            return f"seed {self.seed}"
        return f"{line}: the commands are {_COMMANDS}"


def typed() -> Iterator[str]:
    """The lines of standard input; on a terminal each after a prompt."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    while True:
        try:
            yield input("> ")
        except EOFError:
            print(file=sys.stderr)
            return


def chat(talk: Chat, lines: Iterable[str], say: Callable[[str], None], note: Callable[[str], None]) -> None:
    """Reply to each line until the end of the input or /exit. say: receives replies. note: other messages."""
    for line in lines:
        line = line.strip()
        if line == "/exit":
            return
        if line.startswith("/"):
            note(talk.command(line))
        elif line:
            say(talk.reply(line))
