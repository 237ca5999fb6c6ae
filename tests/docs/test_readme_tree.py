"""The tree printed in README.md is the tree: what it names exists, and it names every folder of the package."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "likewise"


def test_the_readme_names_what_is_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.search(r"## The tree\n\n```\n(.*?)```", text, re.DOTALL)
    assert lines
    named = {
        PACKAGE / line.split()[0] if line.startswith("  ") else ROOT / line.split()[0] for line in lines[1].splitlines()
    }
    assert not [str(path) for path in named if not path.exists()]
    folders = {path.parent for path in PACKAGE.glob("*/*") if path.suffix in (".py", ".toml")}
    assert not [str(folder.relative_to(PACKAGE)) for folder in folders - named]
    assert not [line for line in lines[1].splitlines()[1:] if len(line.split()) < 3]
