"""Errors that name settings and commands as objects, so that each interface spells them in its own way.

Python says `given="label"`, the command line `--given label`: the code below `cli/` says `Setting("given", "label")`.
As plain text, which is all that a Python user sees, everything here reads as Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """A setting that a message names.

    name: as Python spells it ("given", "from_image"), with a dot where it is of a part ("training.lr"). value: what it
    is, or a word for what it may be ("FILE"); None for the setting as such.
    """

    name: str
    value: object = None

    def __str__(self) -> str:
        return f"{self.name}=" if self.value is None else f"{self.name}={self.value}"


class Command:
    """A call that a message advises: a verb, what it is given, and its settings, in their order."""

    def __init__(self, verb: str, *arguments: object, **settings: object) -> None:
        self.verb, self.arguments = verb, arguments
        self.settings = [Setting(name, value) for name, value in settings.items()]

    def __str__(self) -> str:
        words = [repr(str(a)) for a in self.arguments] + [f"{s.name}={s.value!r}" for s in self.settings]
        return f"likewise.{self.verb}({', '.join(words)})"


Part = str | Setting | Command
#: how an interface spells a setting or a command
Wording = Callable[[Setting | Command], str]


class Message(str):
    """Text for a user, in parts. As a `str` it has Python's wording; `worded` gives another interface's."""

    parts: tuple[Part, ...]

    def __new__(cls, *parts: Part) -> Message:
        self = super().__new__(cls, "".join(map(str, parts)))
        self.parts = tuple(inner for part in parts for inner in (part.parts if isinstance(part, Message) else (part,)))
        return self

    def __add__(self, other: str) -> Message:
        return Message(self, other)

    def __radd__(self, other: str) -> Message:
        return Message(other, self)

    def worded(self, wording: Wording) -> str:
        return "".join(part if isinstance(part, str) else wording(part) for part in self.parts)


def joined(separator: str, texts: Iterable[str]) -> Message:
    """What `separator.join` gives, with the parts of messages kept."""
    parts: list[Part] = []
    for text in texts:
        parts += [separator, text] if parts else [text]
    return Message(*parts)


def message_of(error: BaseException) -> str:
    """What an error says, with its parts where it has any."""
    return error.message if isinstance(error, UserError) else str(error)


def worded(text: str, wording: Wording) -> str:
    """A text in an interface's wording; plain text is as it is."""
    return text.worded(wording) if isinstance(text, Message) else str(text)


class UserError(ValueError):
    """A request that cannot be met. One line: the setting, what is wrong with it, and the fix.

    what: "at least one sample". setting: its name and value; None where no one setting is at fault. fix: what to do
    instead. str(error) has Python's wording; `error.message` can be worded otherwise.
    """

    def __init__(self, what: str, *, setting: str | Setting | None = None, value: object = None, fix: str = "") -> None:
        if isinstance(setting, str):
            setting = Setting(setting, value)
        self.what, self.setting, self.fix = what, setting, fix
        head: tuple[Part, ...] = () if setting is None else (setting, ": ")
        self.message = Message(*head, what, *(("; ", fix) if fix else ()))
        super().__init__(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.what, self.setting, self.fix)


def _again(kind: type[UserError], what: str, setting: Setting | None, fix: str) -> UserError:
    return kind(what, setting=setting, fix=fix)
