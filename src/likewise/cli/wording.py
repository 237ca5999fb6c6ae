"""The spelling of messages on the command line: settings as flags, calls as commands."""

from __future__ import annotations

import shlex

from likewise.errors import Command, Setting, UserError, worded

#: flags with another name than their setting
_FLAGS = {"n": "-n", "set_": "--set", "as_": "--as", "from_": "--from"}
#: prefix of sampling settings, which `sample --set` omits
_SAMPLING = "sampling."


def flag(setting: Setting) -> str:
    """A setting as it is typed: `--given label`, `-n 4`, `--tile`, `--set training.lr=0.001`."""
    name, value = setting.name, setting.value
    if "." in name:
        return f"--set {name.removeprefix(_SAMPLING)}=" + ("..." if value is None else _shown(value))
    spelt = _FLAGS.get(name, "--" + name.replace("_", "-"))
    return spelt if value is None or value is True else f"{spelt} {_shown(value)}"


def command(call: Command) -> str:
    """A call as it is typed: `likewise train PATH --through runs/a`."""
    verb, arguments, settings = call.verb, list(call.arguments), list(call.settings)
    if verb == "resume":
        verb, arguments, settings = "train", [], [Setting("resume", call.arguments[0]), *settings]
    words = ["likewise", verb, *[_shown(a) for a in arguments], *[flag(setting) for setting in settings]]
    return " ".join(words)


def wording(part: Setting | Command) -> str:
    return flag(part) if isinstance(part, Setting) else command(part)


def say(text: str) -> str:
    """A text in the spelling of the command line."""
    return worded(text, wording)


def one_line(error: BaseException) -> str:
    """An error as one line for the terminal."""
    text = say(error.message) if isinstance(error, UserError) else str(error)
    return " ".join(text.split("\n"))


def _shown(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(_shown, value))
    return shlex.quote(str(value)) if " " in str(value) else str(value)
