"""Small runs of texts by every tokenizer, and the command line called in the same process."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from unittest import mock

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


def likewise(*words: object, code: int = 0, cwd: Path | None = None) -> str:
    """What the command prints, run in this process, or with a `code` what it says on stderr: for any fixture's scope.

    A process of its own takes seconds to import torch: `test_journey` starts some where it is what is tested.
    """
    out, err, ended = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["likewise", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.chdir(cwd or "."),
    ):
        try:
            main()
        except SystemExit as end:
            ended = end.code or 0
    assert ended == code, out.getvalue() + err.getvalue()
    return err.getvalue() if code else out.getvalue()
