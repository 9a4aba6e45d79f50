"""Line and dot charts as SVG text: no script, no network, colours from the page's own CSS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 16, 48
COLOURS = 6  # the page defines --c0 … --c5
ROUNDING = 1e-6  # of the values: by less they do not differ


@dataclass(frozen=True)
class Mark:
    """A dot, with what a reader sees when pointing at it, and a bar from low to high if given."""

    x: float
    y: float
    label: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """Dots that belong together, joined by a line if they are several."""

    name: str
    marks: Sequence[Mark]


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        step = _nice((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def chart(series: Sequence[Series], x_title: str, y_title: str) -> str:
    """One chart of all series, each in its own colour and named under it."""
    marks = [mark for one in series for mark in one.marks]
    ys = [y for m in marks for y in (m.y, m.low, m.high) if y is not None]
    x_axis = _axis([0.0, *(m.x for m in marks)], LEFT, WIDTH - RIGHT)
    y_axis = _axis(ys, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y_title)} against '
        f'{escape(x_title)}">',
        *_grid(x_axis, y_axis, x_title, y_title),
        *(part for i, one in enumerate(series) for part in _drawn(one, i, x_axis, y_axis)),
        "</svg>",
    ]
    keys = "".join(
        f'<li style="--c:var(--c{i % COLOURS})">{escape(one.name)}</li>'
        for i, one in enumerate(series)
    )
    return "\n".join(parts) + (f'\n<ul class="key">{keys}</ul>' if len(series) > 1 else "")


def _grid(x_axis: _Axis, y_axis: _Axis, x_title: str, y_title: str) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for value in y_axis.ticks():
        y = y_axis(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{value:g}</text>')
    for value in x_axis.ticks():
        x = x_axis(value)
        parts.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{value:g}</text>')
    middle_x, middle_y = (LEFT + right) / 2, (TOP + bottom) / 2
    parts.append(
        f'<text x="{middle_x}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_title)}</text>'
    )
    parts.append(
        f'<text transform="translate(14 {middle_y}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_title)}</text>"
    )
    return parts


def _drawn(series: Series, index: int, x_axis: _Axis, y_axis: _Axis) -> list[str]:
    colour = f"var(--c{index % COLOURS})"
    path = " ".join(f"{x_axis(m.x)},{y_axis(m.y)}" for m in series.marks)
    parts = [f'<polyline points="{path}" style="stroke:{colour}"/>']
    for mark in series.marks:
        x, y = x_axis(mark.x), y_axis(mark.y)
        if mark.low is not None and mark.high is not None:
            low, high = y_axis(mark.low), y_axis(mark.high)
            parts.append(
                f'<line x1="{x}" x2="{x}" y1="{low}" y2="{high}" style="stroke:{colour}"/>'
            )
        parts.append(
            f'<circle cx="{x}" cy="{y}" r="4" style="fill:{colour}">'
            f"<title>{escape(mark.label)}</title></circle>"
        )
    return parts


def _axis(values: Sequence[float], start: float, end: float) -> _Axis:
    low, high = min(values), max(values)
    most = max(abs(low), abs(high))
    same = high - low <= ROUNDING * most
    step = _nice(((most or 1.0) if same else high - low) / 5)
    return _Axis(math.floor(low / step) * step, (math.floor(high / step) + 1) * step, start, end)


def _nice(step: float) -> float:
    """The nearest of 1, 2, 5 times a power of ten that is not smaller."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(nice * power for nice in (1, 2, 5, 10) if nice * power >= step * 0.999)
