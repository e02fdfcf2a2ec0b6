"""Plots of lines and of bars as inline SVG, coloured by the page's style sheet. Knows nothing of benchmarks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 78, 16, 16, 50
LINE_COLOURS = 8
#: Of a line with more points each is not marked by itself: they could not be told apart.
MARKED_POINTS_MAX = 200
BARS_LEFT, BARS_RIGHT, BAR_STEP = 130, 120, 26
#: An axis whose largest value is this many times its smallest is drawn logarithmic.
LOG_FROM = 50.0


class Axis(NamedTuple):
    """Values from `low` to `high` on pixels from `start` to `end`."""

    low: float
    high: float
    log: bool
    start: float
    end: float

    def at(self, value: float) -> float:
        """Pixel of a value."""
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values within the axis."""
        if self.log:
            return [10.0**n for n in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)]
        step = _round_step((self.high - self.low) / 6)
        first = math.ceil(self.low / step)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def svg(lines: dict[str, list[tuple[float, float]]], *, title: str, x_label: str, y_label: str) -> str:
    """An `<svg>` element: lines with points, two axes, a legend where there are several lines.

    Colours are CSS variables `--ink`, `--grid` and `--line-0` ... of the page around it.
    """
    points = [point for line in lines.values() for point in line if all(map(math.isfinite, point))]
    if not points:
        return ""
    x_axis = _axis([x for x, _ in points], LEFT, WIDTH - RIGHT)
    y_axis = _axis([y for _, y in points], HEIGHT - BOTTOM, TOP)
    parts = [*_grid(x_axis, y_axis), *_labels(x_label, y_label)]
    for number, (name, line) in enumerate(lines.items()):
        parts += _line(name, line, f"var(--line-{number % LINE_COLOURS})", x_axis, y_axis)
    if len(lines) > 1:
        parts += _legend(lines)
    body = "\n".join(parts)
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">'
    return f"{head}\n{body}\n</svg>"


def bars_svg(values: dict[str, float], *, title: str, unit: str) -> str:
    """An `<svg>` element: a horizontal bar for each name, from zero, with its value beside it."""
    longest = max(values.values(), default=0.0)
    if not longest > 0:
        return ""
    height = BAR_STEP * len(values) + 8
    parts = []
    for number, (name, value) in enumerate(values.items()):
        y = BAR_STEP * number + 8
        length = (WIDTH - BARS_LEFT - BARS_RIGHT) * value / longest
        colour = f"var(--line-{min(number, 1)})"  # the first is ours, the others are what it is compared with
        parts.append(_text(BARS_LEFT - 8, y + 14, name, "end"))
        parts.append(f'<rect x="{BARS_LEFT}" y="{y}" width="{max(1.0, length):.1f}" height="18" fill="{colour}"/>')
        parts.append(_text(BARS_LEFT + length + 6, y + 14, f"{value:,.0f} {unit}", "start"))
    head = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title, quote=True)}">'
    return "\n".join([head, *parts, "</svg>"])


def _axis(values: list[float], start: float, end: float) -> Axis:
    low, high = min(values), max(values)
    if low > 0 and high / low >= LOG_FROM:
        return Axis(10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high)), True, start, end)
    low = min(0.0, low) if low < 0.5 * high else low
    if high == low:
        low, high = min(0.0, low), max(high, low + 1.0)
    step = _round_step((high - low) / 6)
    return Axis(math.floor(low / step) * step, math.ceil(high / step - 1e-9) * step, False, start, end)


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def _tick_text(value: float) -> str:
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:g}{letter}"
    return f"{value:.6g}"


def _grid(x_axis: Axis, y_axis: Axis) -> Iterable[str]:
    for value in x_axis.ticks():
        x = x_axis.at(value)
        yield f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="var(--grid)"/>'
        yield _text(x, HEIGHT - BOTTOM + 18, _tick_text(value), "middle")
    for value in y_axis.ticks():
        y = y_axis.at(value)
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="var(--grid)"/>'
        yield _text(LEFT - 8, y + 4, _tick_text(value), "end")


def _labels(x_label: str, y_label: str) -> Iterable[str]:
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_label, "middle")
    x, y = 16, (TOP + HEIGHT - BOTTOM) / 2
    yield f'<g transform="rotate(-90 {x} {y})">{_text(x, y, y_label, "middle")}</g>'


def _line(name: str, line: list[tuple[float, float]], colour: str, x_axis: Axis, y_axis: Axis) -> Iterable[str]:
    pixels = [(x_axis.at(x), y_axis.at(y)) for x, y in line if math.isfinite(x) and math.isfinite(y)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in pixels)
    if len(pixels) > MARKED_POINTS_MAX:
        yield f'<polyline points="{path}" fill="none" stroke="{colour}"/>'
        return
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for (x, y), (x_value, y_value) in zip(pixels, line, strict=False):
        tip = f"<title>{escape(name)}: {x_value:g}, {y_value:g}</title>"
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}">{tip}</circle>'


def _legend(lines: dict[str, list[tuple[float, float]]]) -> Iterable[str]:
    for number, name in enumerate(lines):
        y = TOP + 14 + 16 * number
        yield f'<rect x="{LEFT + 10}" y="{y - 9}" width="10" height="10" fill="var(--line-{number % LINE_COLOURS})"/>'
        yield _text(LEFT + 26, y, name, "start")


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="var(--ink)">{escape(text)}</text>'
