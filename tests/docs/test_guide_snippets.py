"""The snippets of the guide and of the README run, on tiny data and for a few steps.

Every block of commands or Python has a mark in front of it that its raw Markdown shows: `<!-- run -->`, or
`<!-- not run: REASON -->`. The blocks of a page that are run are run in order, in one folder that holds the data they
name. What is changed for them is in `_SMALLER` and `_COMMAND`: trainings of 2 steps instead of minutes, small networks,
few samples.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image as PILImage

from commands import likewise

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
_BLOCK = re.compile(r"^(?:<!-- (run|not run: [^>\n]+) -->\n)?```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: of a verb: what is appended to its command
_SMALLER = {
    "train": "--steps 2 --set training.batch=8 --set backbone.width=8 --set training.threads=1",
    "look": "--steps 2 --set training.batch=8 --set backbone.width=8 --set training.threads=1",
    "evaluate": "-n 8",
}
#: what is replaced in a command, and in Python
_COMMAND = ((r"--minutes [\d.]+", ""), (r"-n \d{2,}", "-n 2"))
_PYTHON = (
    (r"minutes=\d+", "steps=2, set_={'backbone.width': 8, 'training.batch': 8, 'training.threads': 1}"),
    (r"sample\(\d+", "sample(2"),
)


def blocks(page: Path) -> list[tuple[str | None, str, str]]:
    """The mark, language and text of each block of a page."""
    return [match.groups() for match in _BLOCK.finditer(page.read_text(encoding="utf-8"))]  # pyright: ignore


def runnable(page: Path) -> list[tuple[str, str]]:
    return [(language, text) for mark, language, text in blocks(page) if mark == "run"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_says_whether_it_is_run(page: Path) -> None:
    assert not [text for mark, _, text in blocks(page) if mark is None]


@pytest.mark.full
@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)], ids=lambda page: page.stem)
def test_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(tmp_path, page.read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    for language, text in runnable(page):
        if language == "sh":
            for line in text.strip().splitlines():
                run_command(line)
        else:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(replaced(text, _PYTHON), page.name, "exec"), {})


def replaced(text: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in pairs:
        text = re.sub(pattern, replacement, text)
    return text


def run_command(line: str) -> None:
    """A line of a shell: what is before a pipe as it is, `likewise` in this process."""
    before, _, command = line.rpartition(" | ")
    words = shlex.split(replaced(command, _COMMAND), comments=True)
    if not words:
        return
    if words[0] != "likewise":
        subprocess.run(line, shell=True, check=True)
        return
    smaller = _SMALLER.get(words[1], "") if "--resume" not in words else ""
    if "gaussian" in words:  # a baseline has no network
        smaller = smaller.replace("--set backbone.width=8", "")
    with pytest.MonkeyPatch.context() as patch:
        if before:
            said = subprocess.run(before, shell=True, check=True, capture_output=True, text=True).stdout
            patch.setattr(sys, "stdin", io.StringIO(said))
        likewise(*words[1:], *smaller.split())


def lay_out(folder: Path, text: str) -> None:
    """The data that the text names, a few items of each."""
    lines = "".join(f"In the beginning was line {i} of {i % 7}.\n" for i in range(120))
    texts = {
        "bible.txt": lines,
        "poems.txt": lines,
        "english.txt": "a cat 1\n\na dog 2\n",
        "en-de.tsv": "".join(f"a cat {i} is here\teine Katze {i} ist da\n" for i in range(120)),
        "census.csv": "age,sex,education,income\n"
        + "".join(f"{20 + i},{'mf'[i % 2]},{i % 3} years,{1000 + 7 * i}\n" for i in range(120)),
        "talks.jsonl": "".join(
            json.dumps({"messages": [{"role": r, "content": f"{r} says {i}"} for r in ("user", "assistant")]}) + "\n"
            for i in range(120)
        ),
    }
    for name, content in texts.items():
        if name in text:
            (folder / name).write_text(content, encoding="utf-8")
    for i in range(120):
        picture = PILImage.new("L", (8, 8), 2 * i)
        picture.putpixel((i % 8, i // 8 % 8), 255)
        for name in ("photos", "digits"):
            if f"{name}/" in text:
                path = folder / name / (str(i % 4) if name == "digits" else "") / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.convert("L" if name == "digits" else "RGB").save(path)
