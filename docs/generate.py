"""Fills the generated parts of the documentation: `python docs/generate.py`, or with `--check` says which are stale.

A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`, in any page of docs/ and in README.md.
NAME is a key of `PARTS`, followed by an argument where the part takes one. The texts come from the catalog, the
settings classes, the parser of the command line and the list of metrics: change them there.
"""

from __future__ import annotations

import argparse
import re
import sys
import types
from collections.abc import Callable, Iterator
from importlib.resources import files
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from likewise import catalog
from likewise.cli.entry import build_parser
from likewise.config import Experiment
from likewise.metrics.catalog import MEASURES

ROOT = Path(__file__).parents[1]
_PART = re.compile(r"(<!-- generated: (\S+)(?: (\S+))? -->\n).*?(<!-- end -->)", re.DOTALL)


def parts(kind: str) -> str:
    """The parts of a kind that likewise has itself: name and summary."""
    rows = [(f"`{name}`", text) for name, text in catalog.summaries(kind).items() if catalog.part(kind, name).own]
    return _table(("name", kind), rows)


def names() -> str:
    """The names of likewise's own parts, a line a kind."""
    kinds = {"modality": "modalities", "backbone": "backbones", "family": "families"}
    own = {kind: [f"`{name}`" for name in catalog.names(kind) if catalog.part(kind, name).own] for kind in kinds}
    return "\n".join(f"- {title}: {', '.join(own[kind])}" for kind, title in kinds.items())


def settings(kind: str) -> str:
    """For each part of a kind, a table of its settings with defaults."""
    sections = []
    for name, text in catalog.summaries(kind).items():
        if not catalog.part(kind, name).own:
            continue
        cls = catalog.find(kind, name)
        rows = list(_rows(cls.Settings if kind == "modality" else cls, "", {"name", "modality"}))
        table = _table(("setting", "values", "default", "meaning"), rows) if rows else "It has no settings.\n"
        sections.append(f"## {name}\n\n{text[:1].upper()}{text[1:]}.\n\n{table}")
    return "\n".join(sections)


def experiment(key: str) -> str:
    """The settings of one table of `experiment.toml`: `data` or `training`."""
    return _table(("setting", "values", "default", "meaning"), _rows(type(Experiment.model_fields[key].default), ""))


def presets() -> str:
    """The shipped presets, with the first comment of each file."""
    rows = []
    for file in sorted(files("likewise.presets").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            lines = takewhile(lambda line: line.startswith("#"), file.read_text(encoding="utf-8").splitlines())
            rows.append((f"`{file.name[:-5]}`", " ".join(line.lstrip("# ") for line in lines)))
    return _table(("preset", "for"), rows)


def command_line() -> str:
    """Every verb with its arguments and examples, from the parser."""
    top = build_parser()
    verbs = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    return "\n".join(_verb(name, verb) for name, verb in verbs.choices.items())


def _verb(name: str, verb: argparse.ArgumentParser) -> str:
    rows = [
        (_flag(action), _choices(action) + (action.help or ""))
        for action in verb._actions
        if not isinstance(action, argparse._HelpAction) and action.help != argparse.SUPPRESS
    ]
    examples = "\n".join(line.strip() for line in (verb.epilog or "").splitlines()[1:])
    return f"## {name}\n\n{verb.description}\n\n{_table(('argument', 'meaning'), rows)}\n```sh\n{examples}\n```\n"


def _flag(action: argparse.Action) -> str:
    shown = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    if not action.option_strings:
        return f"`{str(shown).upper()}`"
    value = f" {shown}" if shown and action.nargs != 0 and action.choices is None else ""
    return ", ".join(f"`{flag}{value}`" for flag in action.option_strings)


def _choices(action: argparse.Action) -> str:
    return f"{', '.join(f'`{choice}`' for choice in action.choices)}: " if action.choices else ""


def measures() -> str:
    """Every number that a report can hold: those of the metrics of the catalog, then those of other sections."""
    own = {
        name: catalog.find("metric", name).measures
        for name in catalog.names("metric")
        if catalog.part("metric", name).own
    }
    found = {name: each for measures in own.values() for name, each in measures.items()} | MEASURES
    better = {"higher": "higher", "lower": "lower", "real": "as real data"}
    rows = [(m.title, f"`{name}`", better[m.better], m.meaning) for name, m in found.items()]
    return _table(("measure", "name in report.json", "better", "meaning"), rows)


def _rows(
    cls: type[BaseModel], prefix: str, without: frozenset[str] | set[str] = frozenset()
) -> Iterator[tuple[str, ...]]:
    for name, field in cls.model_fields.items():
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from _rows(type(default), f"{prefix}{name}.")
        elif name not in without:
            yield f"`{prefix}{name}`", _values(field), _default(default), field.description or ""


def _values(field: FieldInfo) -> str:
    return _bounds(_type(field.annotation), field.metadata)


def _type(hint: Any) -> str:
    """A type in words: `int` as "whole number", a Literal as its values."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is Annotated:
        return _bounds(_type(arguments[0]), [m for a in arguments[1:] for m in getattr(a, "metadata", [a])])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(each) for each in arguments if each is not type(None)))
    if origin is tuple:
        return "list of " + _type(arguments[0]).replace("number", "numbers", 1)
    plain = {int: "whole number", float: "number", bool: "`true`, `false`", str: "text"}
    return plain.get(hint, "table")


def _bounds(words: str, metadata: list[Any]) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    found = [f"{sign} {getattr(each, key):g}" for each in metadata for key, sign in signs.items() if hasattr(each, key)]
    return " ".join([words, *found[:1], *(f"and {bound}" for bound in found[1:])])


def _default(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return f"`{value}`" if value != "" else ""


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row).replace("  ", " ") + " |\n" for row in lines
    )


PARTS: dict[str, Callable[..., str]] = {
    "parts": parts,
    "names": names,
    "settings": settings,
    "experiment": experiment,
    "presets": presets,
    "command-line": command_line,
    "measures": measures,
}


def filled(text: str) -> str:
    """A page with its generated parts made anew. Raises KeyError for a part that nothing makes."""

    def make(found: re.Match[str]) -> str:
        opening, name, argument, closing = found.groups()
        return opening + "\n" + PARTS[name](*([argument] if argument else [])).strip("\n") + "\n\n" + closing

    return _PART.sub(make, text)


def stale() -> Iterator[tuple[Path, str]]:
    """The pages whose generated parts are not what they would be now, with what they should hold."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        if (new := filled(text)) != text:
            yield page, new


def main() -> None:
    found = list(stale())
    for page, new in found:
        print(page.relative_to(ROOT))
        if "--check" not in sys.argv:
            page.write_text(new, encoding="utf-8")
    raise SystemExit(1 if found and "--check" in sys.argv else 0)


if __name__ == "__main__":
    main()
