"""Charts are well-formed, speak in words, and keep to their frame."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from likewise.report.charts import histogram, lines, number, strip, ticks


def test_numbers_for_readers() -> None:
    assert [number(v) for v in (0.034215, 1.7149, 1204.4, 0, None, float("nan"))] == [
        "0.0342", "1.71", "1,204", "0", "-", "-",
    ]  # fmt: skip
    assert [number(v, percent=True) for v in (0.61, 0.615, 0.003, 0.99996, 1.0)] == [
        "61%", "61.5%", "0.3%", ">99.9%", "100%",
    ]  # fmt: skip


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 1000) == [0, 250, 500, 750, 1000]
    assert all(0.13 <= tick <= 0.91 for tick in ticks(0.13, 0.91))
    assert ticks(2.0, 2.0) == [2.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_curves_stay_in_the_frame(bad: float) -> None:
    series = {
        "train": [(0.0, 1e9), (1.0, bad), *((float(i), 1 / i) for i in range(2, 900))],
        "val": [(500.0, 0.2)],
    }
    svg = str(lines("loss <b>", series))
    ElementTree.fromstring(svg)
    assert 'role="img"' in svg
    assert "<b>" not in svg
    points = [float(y) for part in re.findall(r'points="([^"]*)"', svg) for y in re.findall(r",([-\d.]+)", part)]
    assert points
    assert all(0 <= y <= 210 for y in points)
    assert len(points) < 400
    ElementTree.fromstring(str(lines("empty", {"train": []})))


def test_histogram_escapes_labels() -> None:
    svg = str(histogram("<col>", [("<script>", 0.5, 0.25), ("b & c", 0.5, 0.75)]))
    ElementTree.fromstring(svg)
    assert "<script>" not in svg
    ElementTree.fromstring(str(histogram("empty", [])))


@pytest.mark.parametrize(("floor", "baseline", "lower"), [(0.5, 0.99, True), (0.9, 0.1, False), (None, 0.7, True)])
def test_strip_puts_the_better_side_right(floor: float | None, baseline: float, lower: bool) -> None:
    better, worse = (str(strip((v, v, v), floor, baseline, lower)) for v in ((0.5, 0.99) if lower else (0.9, 0.1)))

    def place(svg: str) -> float:
        found = re.search(r'class="value" cx="([\d.]+)"', svg)
        assert found
        return float(found[1])

    assert place(better) > place(worse)
    ElementTree.fromstring(str(strip((float("nan"),) * 3, floor, baseline, lower)))
