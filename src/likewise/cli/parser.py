"""The parser of all verbs, and flags that several verbs share. It imports no heavy modules."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, NoReturn

from likewise import catalog


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line with the nearest flag. No abbreviations: they would break as flags are added."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, extra = super().parse_known_args(args, namespace)
        wrong = next((word for word in extra if word.startswith("-")), None)
        if wrong:
            nearest = get_close_matches(wrong.partition("=")[0], list(self._option_string_actions), 1)
            self.error(
                f"unknown flag {wrong}" + (f"; did you mean {nearest[0]}?" if nearest else f"; see {self.prog} --help")
            )
        return found, extra

    def error(self, message: str) -> NoReturn:
        print(f"likewise: {message}", file=sys.stderr)
        raise SystemExit(2)


class Verbs:
    """The verbs of a parser."""

    def __init__(self, top: Parser) -> None:
        self._verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Parser)

    def add(
        self, name: str, run: Callable[[argparse.Namespace], None], what: str, *examples: str
    ) -> argparse.ArgumentParser:
        """Add a verb. run: the function that executes it. what: its line of help. examples: arguments for its help."""
        shown = "examples:\n" + "\n".join(f"  likewise {name} {e}".rstrip() for e in examples)
        parser = self._verbs.add_parser(name, help=what, description=what[:1].upper() + what[1:] + ".", epilog=shown)
        parser.set_defaults(run_verb=run)
        return parser


def parts(kind: str) -> str:
    """The parts of a kind with their summaries, as help text."""
    listed = "; ".join(f"{name} ({summary})" for name, summary in catalog.summaries(kind).items())
    return listed.replace("%", "%%")


def set_flag(p: argparse.ArgumentParser, what: str) -> None:
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=what)


def given_flag(p: argparse.ArgumentParser) -> None:
    p.add_argument("--given", action="append", default=[], metavar="FIELD=VALUE", help="what to draw for; repeatable")


def pairs(items: list[str], flag: str) -> dict[str, Any]:
    """KEY=VALUE items as a mapping: the values of `--given` are text, those of `--set` are TOML values."""
    from likewise.config import parse_value

    out = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"{flag} {item}: expected key=value")
        out[key] = value if flag == "--given" else parse_value(value)
    return out
