"""`--quick`: what a change is first tried with, without the tests that are marked `full`."""

from __future__ import annotations

from pathlib import Path

import pytest

#: a line of a file that is full as a whole, so that it need not even be imported
WHOLE_FILE = "\npytestmark = pytest.mark.full\n"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="leave out what is marked full: whole runs, processes")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if not config.getoption("quick") or not collection_path.name.startswith("test_"):
        return None
    return True if WHOLE_FILE in collection_path.read_text(encoding="utf-8") else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("quick"):
        return
    full = [item for item in items if item.get_closest_marker("full")]
    config.hook.pytest_deselected(items=full)
    items[:] = [item for item in items if item not in set(full)]
