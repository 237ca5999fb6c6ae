"""Errors that name settings and commands as objects, so that each interface spells them in its own way.

Python spells a setting `given="label"`, the command line `--given label`; code outside `cli/` uses
`Setting("given", "label")`. `str` of each class gives the Python spelling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """A setting that a message names.

    name: its name in Python ("given", "from_image"), with a dot for settings of a part ("training.lr"). value: its
    value or a placeholder ("FILE"); None if the message names the setting only.
    """

    name: str
    value: object = None

    def __str__(self) -> str:
        return f"{self.name}=" if self.value is None else f"{self.name}={self.value}"


class Command:
    """A call that a message recommends: a verb, its arguments, and its settings in order."""

    def __init__(self, verb: str, *arguments: object, **settings: object) -> None:
        self.verb, self.arguments = verb, arguments
        self.settings = [Setting(name, value) for name, value in settings.items()]

    def __str__(self) -> str:
        words = [repr(str(a)) for a in self.arguments] + [f"{s.name}={s.value!r}" for s in self.settings]
        return f"likewise.{self.verb}({', '.join(words)})"


Part = str | Setting | Command
#: a function that spells a setting or a command for one interface
Wording = Callable[[Setting | Command], str]


class Message(str):
    """Text for a user, made of parts. As a `str` it has Python's spelling; `worded` gives another interface's."""

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


def listed(names: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def joined(separator: str, texts: Iterable[str]) -> Message:
    """Like `separator.join(texts)`, but keeps the parts of messages."""
    parts: list[Part] = []
    for text in texts:
        parts += [separator, text] if parts else [text]
    return Message(*parts)


def message_of(error: BaseException) -> str:
    """The message of an error; a `Message` for a UserError."""
    return error.message if isinstance(error, UserError) else str(error)


def worded(text: str, wording: Wording) -> str:
    """The text in the spelling of an interface; plain text is unchanged."""
    return text.worded(wording) if isinstance(text, Message) else str(text)


class UserError(ValueError):
    """A request that cannot be met. One line: the setting, what is wrong with it, and the fix.

    what: the problem, such as "at least one sample". setting: the setting at fault; None if there is no single one.
    fix: the remedy. str(error) is in Python's spelling; `error.message` can be worded for another interface.
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
