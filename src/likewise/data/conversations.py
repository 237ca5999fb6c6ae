"""Recognises rows that are conversations and converts them to lists of messages with roles."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from likewise.data.tables import read_text

#: the roles, in the order of their tokens in the chat template
ROLES = ("system", "user", "assistant")
#: names of columns that hold a question and its reply
_PAIRS = (("question", "answer"), ("prompt", "response"), ("input", "output"), ("user", "assistant"))

Message = dict[str, str]


def messages(value: Any) -> list[Message]:
    """Check a list of {"role", "content"}; a string becomes one message of the user. Raises ValueError."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"messages are {type(value).__name__}; give a list of objects with role and content")
    out = []
    for number, each in enumerate(value, 1):
        if not isinstance(each, dict):
            raise ValueError(f"message {number} is {type(each).__name__}; give an object with role and content")
        role, content = each.get("role"), each.get("content")
        if role not in ROLES:
            raise ValueError(f"message {number} has the role {role!r}; give {', '.join(ROLES[:-1])} or {ROLES[-1]}")
        if not isinstance(content, str):
            kind = "no content" if content is None else f"a content that is {type(content).__name__}"
            raise ValueError(f"message {number} has {kind}; give a string")
        out.append({"role": role, "content": content})
    return out


def sides(names: Sequence[str]) -> tuple[str, str] | None:
    """The names of the question column and the reply column, if there are two with known names; else None."""
    known = {name.strip().lower(): name for name in names}
    found = next((pair for pair in _PAIRS if set(pair) == set(known)), None)
    return (known[found[0]], known[found[1]]) if found and len(names) == 2 else None


def of_rows(
    path: Path, rows: Sequence[dict[str, Any]], lines: Sequence[int] | None = None
) -> list[list[Message]] | None:
    """The rows of a table as conversations; None if they are not conversations. Raises ValueError with the line.

    lines: the line number of each row, if the file format does not determine it.
    """

    def where(index: int) -> str:
        return f"{path}, line {lines[index]}" if lines else _where(path, index)

    if isinstance(rows[0].get("messages"), list):
        return [_checked(where, i, row.get("messages")) for i, row in enumerate(rows)]
    pair = sides(list(dict.fromkeys(k for row in rows for k in row)))
    if pair is None:
        return None
    cells = [v for row in rows for v in row.values() if v is not None]
    # Columns with these names may hold numbers or labels, which are not conversations.
    if not all(isinstance(v, str) for v in cells) or not any(" " in v for v in cells):
        return None
    for i, row in enumerate(rows):
        for name in pair:
            if row.get(name) is None:
                raise ValueError(f"{where(i)}: no {name}; fill it in, or remove the row")
    return [_talk([row[name] for name in pair]) for row in rows]


def of_yaml(path: Path) -> list[list[Message]]:
    """Read a YAML list of pairs or of `messages`, or a mapping whose `conversations` are lists of alternate turns."""
    import yaml

    text = read_text(path)[0]
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # scalars stay strings: the answer "yes" is not a boolean
    try:
        tree, found = yaml.compose(text, loader), yaml.load(text, loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path}{line}: not YAML ({getattr(error, 'problem', None) or 'it cannot be read'})") from None
    if isinstance(found, dict) and tree is not None:
        tree = next((v for k, v in tree.value if k.value == "conversations"), None)
        found = found.get("conversations")
    if tree is None or not isinstance(found, list) or not found:
        raise ValueError(f"{path}: no conversations; give a list of question and answer, or `conversations:` of lists")
    lines = [node.start_mark.line + 1 for node in tree.value]
    if all(isinstance(row, dict) for row in found):
        talks = of_rows(path, found, lines)
        if talks is None:
            names = " or ".join("/".join(pair) for pair in _PAIRS)
            raise ValueError(f"{path}: its mappings are no conversations; call their keys {names}, or messages")
        return talks
    for line, row in zip(lines, found, strict=True):
        if not isinstance(row, list) or len(row) < 2 or not all(isinstance(v, str) for v in row):
            raise ValueError(f"{path}, line {line}: expected a list of two or more strings, what is said in turn")
    return [_talk(row) for row in found]


def replies(talks: Sequence[list[Message]]) -> tuple[list[list[Message]], list[str], list[str]]:
    """For each reply of the assistant: the messages before it, the reply, and its whole conversation as JSON."""
    history, reply, talk = [], [], []
    for each in talks:
        name = json.dumps(each, ensure_ascii=False)
        for i, message in enumerate(each):
            if message["role"] == "assistant":
                history.append(each[:i])
                reply.append(message["content"])
                talk.append(name)
    return history, reply, talk


def _talk(said: Sequence[str]) -> list[Message]:
    return [{"role": ROLES[1 + i % 2], "content": text} for i, text in enumerate(said)]


def _checked(where: Callable[[int], str], index: int, value: Any) -> list[Message]:
    try:
        if not isinstance(value, list):
            raise ValueError("no list of messages; every row needs one")
        found = messages(value)
        if not any(m["role"] == "assistant" for m in found):
            raise ValueError("no message of the assistant; add a reply, or remove the conversation")
    except ValueError as error:
        raise ValueError(f"{where(index)}: {error}") from None
    return found


def _where(path: Path, index: int) -> str:
    """The location of row `index` in errors: its line in a .jsonl file, else its row number."""
    if path.suffix.lower() != ".jsonl":
        return f"{path}, row {index + 1}"
    lines = [i for i, line in enumerate(read_text(path)[0].split("\n"), 1) if line.strip()]
    return f"{path}, line {lines[index]}"
