"""The pages in a real browser: at the width of a phone and of a desk, in light and dark. Needs Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny import KINDS, make_run

from likewise.verbs.compare import compare
from likewise.verbs.evaluate import evaluate

pytestmark = pytest.mark.browser
#: the quickest that fits
FAMILIES = {
    "picture": "gan",
    "captioned": "gan",
    "clip": "vae",
    "text": "autoregressive",
    "translation": "vae",
    "dialogue": "autoregressive",
    "table": "vae",
}
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, f"none of {', '.join(NAMES)} is installed: apt-get install chromium"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of each kind of data, and comparisons of pictures and of texts."""
    folder = tmp_path_factory.mktemp("pages")
    runs = {kind: make_run(kind, folder, FAMILIES[kind]) for kind in KINDS}
    for run in runs.values():
        evaluate(run, n=24)
    found = {kind: run.path / "report" / "index.html" for kind, run in runs.items()}
    for one, other in (("picture", "captioned"), ("text", "translation")):
        found[f"compare-{one}"] = compare([runs[one], runs[other]], out=folder / f"{one}.html").page
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("name", [*KINDS, "compare-picture", "compare-text"])
def test_it_opens_without_a_complaint(browser: Any, pages: dict[str, Path], name: str, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(pages[name].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert not said
    assert all(url.startswith(("file:", "data:")) for url in asked)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.compatMode") == "CSS1Compat"
    pictures = page.evaluate("[...document.images].map(i => [i.alt, i.complete && i.naturalWidth])")
    assert all(alt and wide for alt, wide in pictures)
    assert bool(pictures) == (name in ("picture", "captioned", "clip", "compare-picture"))
    for svg in page.query_selector_all("svg:not([aria-hidden])"):
        assert svg.get_attribute("aria-label")
    ink, paper = page.evaluate("(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))")
    assert _contrast(ink, paper) > 7
    assert (_light(paper) < 0.2) == (scheme == "dark")
    small = page.query_selector(".hint")  # soft ink
    assert _contrast(small.evaluate("e => getComputedStyle(e).color"), paper) > 4.5  # WCAG 2.2, level AA
    context.close()


def _light(colour: str) -> float:
    """The relative luminance of "rgb(1, 2, 3)", in [0, 1] (WCAG 2.2)."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def _contrast(a: str, b: str) -> float:
    dark, light = sorted((_light(a), _light(b)))
    return (light + 0.05) / (dark + 0.05)
