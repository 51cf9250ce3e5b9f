"""Charts as SVG, on logarithmic scales: as much as a page of the docs needs."""

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10
from typing import Final, NamedTuple

_WIDTH: Final = 420
_HEIGHT: Final = 300
_LEFT: Final = 52
_TOP: Final = 56
_BOTTOM: Final = 40
_COLOURS: Final = ("#c0392b", "#1f6fb2", "#8e8e8e", "#222222")


class Line(NamedTuple):
    """A curve through points of positive numbers."""

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


class Chart(NamedTuple):
    """Curves over the same two scales."""

    title: str
    across: str
    lines: Sequence[Line]


class _Scale(NamedTuple):
    """Powers of ten, and the pixels of the first and the last."""

    low: int
    high: int
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value is."""
        part = (log10(value) - self.low) / (self.high - self.low)
        return round(self.start + part * (self.end - self.start), 1)


def drawing(title: str, charts: Sequence[Chart]) -> str:
    """Charts beside each other, with one legend."""
    width = _WIDTH * len(charts)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}"',
        ' font-family="sans-serif" font-size="11" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="12" y="18" font-size="13" font-weight="bold">{escape(title)}</text>',
    ]
    names = {line.name: line for chart in charts for line in chart.lines}
    colours = dict(zip(names, _COLOURS, strict=False))
    for place, (name, line) in enumerate(names.items()):
        x = 12 + 180 * place
        parts.append(f'<path d="M{x} 34h22" {_stroke(colours[name], dashed=line.dashed)}/>')
        parts.append(f'<text x="{x + 28}" y="38">{escape(name)}</text>')
    for place, chart in enumerate(charts):
        parts += _chart(chart, place * _WIDTH, colours)
    return "\n".join([*parts, "</svg>", ""])


def _chart(chart: Chart, left: int, colours: dict[str, str]) -> list[str]:
    points = [point for line in chart.lines for point in line.points if point[1] > 0]
    x = _scale([across for across, _ in points], left + _LEFT, left + _WIDTH - 16)
    y = _scale([up for _, up in points], _HEIGHT - _BOTTOM, _TOP + 14)
    parts = [f'<text x="{left + 12}" y="{_TOP + 4}">{escape(chart.title)}</text>']
    for power in range(x.low, x.high + 1):
        at = x.at(10.0**power)
        parts.append(f'<path d="M{at} {y.start}V{y.end}" stroke="#e3e3e3"/>')
        parts.append(f'<text x="{at}" y="{y.start + 14}" text-anchor="middle">{10**power:,}</text>')
    for power in range(y.low, y.high + 1):
        at = y.at(10.0**power)
        parts.append(f'<path d="M{x.start} {at}H{x.end}" stroke="#e3e3e3"/>')
        label = f"{10.0**power:,g}"
        parts.append(f'<text x="{x.start - 5}" y="{at + 4}" text-anchor="end">{label}</text>')
    parts.append(f'<text x="{x.end}" y="{_HEIGHT - 8}" text-anchor="end">{chart.across}</text>')
    for line in chart.lines:
        path = " ".join(f"{x.at(a)},{y.at(b)}" for a, b in line.points if b > 0)
        stroke = _stroke(colours[line.name], dashed=line.dashed)
        parts.append(f'<polyline points="{path}" {stroke}/>')
    return parts


def _scale(values: Sequence[float], start: float, end: float) -> _Scale:
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    return _Scale(low, max(high, low + 1), start, end)


def _stroke(colour: str, *, dashed: bool) -> str:
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return f'fill="none" stroke="{colour}" stroke-width="1.8"{dashes}'
