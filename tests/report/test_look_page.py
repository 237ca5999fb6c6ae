"""The bars of the look page are well-formed and speak in words."""

from __future__ import annotations

from xml.etree import ElementTree

from likewise.report.charts import bars


def test_bars_escape_names_and_say_counts() -> None:
    svg = str(bars("kinds", [("<b>", 30), ("a name that is longer than its place", 3), ("none", 0)]))
    ElementTree.fromstring(svg)
    assert "<b>" not in svg
    assert "a name that is longer than its place 3" in svg
    ElementTree.fromstring(str(bars("empty", [])))
