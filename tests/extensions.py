"""The package of docs/extending.md, put on the path as an installer would put it."""

import re
import tomllib
from pathlib import Path

import numpy as np

from likewise.catalog import GROUP

PAGE = Path(__file__).parent.parent / "docs" / "extending.md"


def files() -> dict[str, str]:
    """The code blocks of the page that begin with a file's name, by that name."""
    blocks = re.findall(r"^```\w+\n# (\S+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return dict(blocks)


def install(folder: Path) -> None:
    """Write the page's package to a folder, with what an installer says of it."""
    found = files()
    about = tomllib.loads(found["pyproject.toml"])["project"]
    for name, text in found.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    info = folder / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n")
    points = "".join(f"{name} = {value}\n" for name, value in about["entry-points"][GROUP].items())
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{points}")


def bearings(path: Path) -> Path:
    """A text file of bearings, most of them near north."""
    degrees = np.random.default_rng(0).normal(0, 40, 120) % 360
    path.write_text("".join(f"{each:.1f}\n" for each in degrees))
    return path
