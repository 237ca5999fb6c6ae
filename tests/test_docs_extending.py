"""docs/extending.md: its package works, and what it says of touched files is so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import extensions
import likewise
from likewise import catalog

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extending")
    extensions.install(folder)
    extensions.bearings(folder / "wind.deg")
    extensions.bearings(folder / "bearings.txt")
    return folder


def test_the_page_has_a_part_of_every_kind():
    about = extensions.files()["pyproject.toml"]
    for kind in catalog.kinds():
        assert f'"{kind}.' in about


def test_the_python_example_runs(place):
    done = subprocess.run(
        [sys.executable, "-W", "error", "use.py"],
        cwd=place, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(place), *sys.path])},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1].startswith("[")


def test_only_the_catalog_knows_these_parts():
    """Files beside the catalog that would have to be edited for parts like these: none names one of them."""
    parts = (
        "metrics.frechet",
        "metrics.motion",
        "metrics.quality",
        "backbones.dcgan",
        "backbones.style",
        "families.gan",
    )
    known = []
    for path in Path(next(iter(likewise.__path__))).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name != "catalog.py":
            known += [f"{path}: {part}" for part in parts if f"likewise.{part} " in text or f"likewise.{part}:" in text]
    assert not known
