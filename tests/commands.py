"""Small runs of texts by every tokenizer, and the command line called in the same process."""

from __future__ import annotations

import sys

import pytest

from likewise.cli import main

SMALL = {"backbone.width": 16, "backbone.depth": 1, "training.threads": 1, "training.batch": 16}
KINDS = ("bpe", "characters", "bytes")


def command(monkeypatch, capsys, *words, code=0, error=False):
    """What it prints, or with a code or `error` what it says on stderr."""
    monkeypatch.setattr(sys, "argv", ["likewise", *map(str, words)])
    if code:
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
    else:
        main()
    said = capsys.readouterr()
    return said.err if code or error else said.out
