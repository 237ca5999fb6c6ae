"""Charts as inline SVG: lines, histograms, bars, and a strip that shows a value between its two references.

Colours are CSS variables of the page, which support light and dark mode; each chart has a text alternative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, isfinite, log10

from markupsafe import Markup, escape

Points = Sequence[tuple[float, float]]


def number(value: float | None, percent: bool = False) -> str:
    """A number for a reader: 61%, 0.0342, 1.71, 1,204."""
    if value is None or not isfinite(value):
        return "-"
    if percent:
        share = 100 * value
        if 99.95 <= share < 100:
            return ">99.9%"
        return f"{share:.0f}%" if abs(share) >= 10 and abs(share - round(share)) < 0.05 else f"{share:.1f}%"
    if value == 0:
        return "0"
    size = floor(log10(abs(value)))
    if size >= 3:
        return f"{value:,.0f}"
    if size < -5:
        return f"{value:.1e}"
    return f"{value:.{max(0, 2 - size)}f}"


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers in [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** floor(log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw)
    first = -floor(-low / step)
    return [round((first + i) * step, 12) for i in range(int((high - first * step) / step + 1e-9) + 1)]


def lines(title: str, series: Mapping[str, Points], width: int = 420, height: int = 210, by: str = "step") -> Markup:
    """Curves by name over a common x axis labelled `by`; the y axis is cut if a few values are much larger than the
    rest."""
    left, right, top, bottom = 46, 10, 10, 24
    points = [p for each in series.values() for p in each if isfinite(p[1])]
    x_high = max((x for x, _ in points), default=1.0) or 1.0
    low, high = _range([y for _, y in points])

    def place(x: float, y: float) -> tuple[float, float]:
        share = (min(max(y, low), high) - low) / (high - low)
        return left + x / x_high * (width - left - right), height - bottom - share * (height - top - bottom)

    parts = []
    for y in ticks(low, high):
        _, at = place(0, y)
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 6}" y="{at + 3.5:.1f}" text-anchor="end">{_tick(y)}</text>')
    for x in ticks(0, x_high):
        at, _ = place(x, low)
        parts.append(f'<text class="tick" x="{at:.1f}" y="{height - 6}" text-anchor="middle">{_tick(x)}</text>')
    for name, each in series.items():
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*p) for p in _thin(each)))
        parts.append(f'<polyline class="curve {escape(_css(name))}" points="{path}"/>')
    last = ", ".join(f"{name.replace('_', '-')} ends at {number(each[-1][1])}" for name, each in series.items() if each)
    return _svg(width, height, f"{title} by {by}: {last}", parts)


def histogram(title: str, bins: Sequence[tuple[str, float, float]], width: int = 260, height: int = 92) -> Markup:
    """Shares of real items (filled) and of fakes (outlined) for each (label, real, fake) of `bins`."""
    top, bottom = 4, 4
    peak = max((max(real, fake) for _, real, fake in bins), default=0.0) or 1.0
    step = width / max(1, len(bins))
    parts = []
    outline = []
    for i, (label, real, fake) in enumerate(bins):
        scale = (height - top - bottom) / peak
        x, gap = i * step, min(2.0, step * 0.15)
        parts.append(
            f'<rect class="real" x="{x + gap / 2:.1f}" y="{height - bottom - real * scale:.1f}" '
            f'width="{step - gap:.1f}" height="{real * scale:.1f}">'
            f"<title>{escape(label)}: real {100 * real:.1f}%, samples {100 * fake:.1f}%</title></rect>"
        )
        y = height - bottom - fake * scale
        outline += [f"{x:.1f},{y:.1f}", f"{x + step:.1f},{y:.1f}"]
    parts.append(f'<polyline class="curve fake" points="{" ".join(outline)}"/>')
    return _svg(width, height, f"{title}: shares of real data and samples", parts)


def bars(title: str, counts: Sequence[tuple[str, float]], width: int = 420) -> Markup:
    """A horizontal bar for each (name, count >= 0), with both as text."""
    row, left, right = 17, 120, 46
    peak = max((count for _, count in counts), default=0.0) or 1.0
    parts = []
    for i, (name, count) in enumerate(counts):
        y, length = i * row, count / peak * (width - left - right)
        short = name if len(name) <= 20 else name[:19] + "\u2026"
        parts.append(
            f'<text class="tick" x="{left - 6}" y="{y + 12}" text-anchor="end">{escape(short)}'
            f"<title>{escape(name)}</title></text>"
            f'<rect class="real" x="{left}" y="{y + 3}" width="{max(length, 1):.1f}" height="{row - 6}"/>'
            f'<text class="tick" x="{left + max(length, 1) + 5:.1f}" y="{y + 12}">{number(count)}</text>'
        )
    text = ", ".join(f"{name} {number(count)}" for name, count in counts)
    return _svg(width, max(row, row * len(counts)), f"{title}: {text}", parts)


def strip(
    value: tuple[float, float, float], floor_value: float | None, baseline: float | None, lower: bool, width: int = 190
) -> Markup:
    """The position of (value, low, high) between the trivial baseline (hollow circle) and real data (vertical line).

    The better side is on the right: that of real data, or if there is none, the lower one if `lower`.
    """
    marks = [m for m in (*value, floor_value, baseline) if m is not None and isfinite(m)]
    low, high = min(marks), max(marks)
    span = (high - low) or 1.0
    turned = floor_value < baseline if floor_value is not None and baseline is not None else lower

    def place(y: float) -> float:
        share = (y - low) / span
        return 8 + (1 - share if turned else share) * (width - 16)

    parts = [f'<line class="grid" x1="4" x2="{width - 4}" y1="11" y2="11"/>']
    if baseline is not None:
        parts.append(f'<circle class="baseline" cx="{place(baseline):.1f}" cy="11" r="4"/>')
    if floor_value is not None:
        at = place(floor_value)
        parts.append(f'<line class="floor" x1="{at:.1f}" x2="{at:.1f}" y1="3" y2="19"/>')
    if isfinite(value[1]) and isfinite(value[2]):
        ends = place(value[1]), place(value[2])
        parts.append(f'<line class="interval" x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="11" y2="11"/>')
    parts.append(f'<circle class="value" cx="{place(value[0]):.1f}" cy="11" r="4.5"/>')
    return Markup(f'<svg class="strip" viewBox="0 0 {width} 22" aria-hidden="true">{"".join(parts)}</svg>')


def _svg(width: int, height: int, label: str, parts: Sequence[str]) -> Markup:
    inside = "".join(parts)
    return Markup(f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{inside}</svg>')


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The range of the values, without the largest 5% if they are much larger than the rest (early training steps)."""
    ordered = sorted(values)
    if not ordered:
        return 0.0, 1.0
    low, high = ordered[0], ordered[-1]
    usual = ordered[int(0.95 * (len(ordered) - 1))]
    if high - low > 3 * (usual - low) > 0:
        high = low + 1.5 * (usual - low)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _thin(points: Points, most: int = 300) -> list[tuple[float, float]]:
    """At most about `most` points, each the mean of a chunk of neighbouring points."""
    points = [p for p in points if isfinite(p[1])]
    each = -(-len(points) // most)
    if each <= 1:
        return list(points)
    chunks = [points[i : i + each] for i in range(0, len(points), each)]
    return [(sum(x for x, _ in c) / len(c), sum(y for _, y in c) / len(c)) for c in chunks]


def _tick(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:g}"


def _css(name: str) -> str:
    return {"train": "train", "val": "held-out"}.get(name, "other")
