"""Bars of prices and the walk through them: what the market quoted, in steps of event time. Pure.

A bar is walked open, nearer story first, close: low before high where it closed at or above its open, high
before low where it closed below (the shortest path that prints all four prices). Steps between those four
prices are interpolated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import NamedTuple

MINUTE_MS = 60_000
DAY_MS = 86_400_000
#: A bar has four prices to show, so it is never walked in fewer steps.
STEPS_MIN = 4


class Bar(NamedTuple):
    """Prices of one asset at one source, in the reporting currency, over one bar."""

    time: int  # opening time, epoch milliseconds
    asset: str
    source: str
    open: float
    high: float
    low: float
    close: float


class Step(NamedTuple):
    """What every source quotes at one moment of event time."""

    time: int  # epoch milliseconds
    quotes: dict[tuple[str, str], float]  # (asset, source) -> price

    def prices(self) -> dict[str, float]:
        """Per asset the middle quote of its sources (the lower one of two)."""
        by_asset: dict[str, list[float]] = {}
        for (asset, _), price in self.quotes.items():
            by_asset.setdefault(asset, []).append(price)
        return {asset: sorted(prices)[(len(prices) - 1) // 2] for asset, prices in by_asset.items()}


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Bars of one length, ordered by time.

    Parameters
    ----------
    length_ms : length of each bar in milliseconds, > 0
    bars : ordered by (time, asset, source)
    """

    length_ms: int
    bars: Sequence[Bar]

    @property
    def start(self) -> int:
        """Opening time of the first bar."""
        return self.bars[0].time

    @property
    def end(self) -> int:
        """Closing time of the last bar."""
        return self.bars[-1].time + self.length_ms

    def assets(self) -> list[str]:
        """Assets that have a bar at the very start, ordered by name."""
        return sorted({bar.asset for bar in self.bars if bar.time == self.start})

    def between(self, since: int, until: int) -> "Bars":
        """The bars that open in [since, until), of the assets that are there from its start."""
        inside = [bar for bar in self.bars if since <= bar.time < until]
        known = {bar.asset for bar in inside if bar.time == inside[0].time}
        return Bars(length_ms=self.length_ms, bars=[bar for bar in inside if bar.asset in known])

    def step_count(self, step_ms: int) -> int:
        """How many steps `steps` yields."""
        return len({bar.time for bar in self.bars}) * steps_per_bar(self.length_ms, step_ms)


def steps_per_bar(length_ms: int, step_ms: int) -> int:
    """The fewest steps, each at most `step_ms` long, that show all four prices of a bar.

    >>> steps_per_bar(60_000, 5_000), steps_per_bar(60_000, 7_000), steps_per_bar(1_000, 5_000)
    (12, 9, 4)
    """
    return max(STEPS_MIN, -(-length_ms // step_ms))


def walk(bar: Bar, count: int) -> list[float]:
    """The `count` >= 4 prices that a bar quotes: its own four, in order, and steps between them.

    >>> walk(Bar(0, "BTC", "x", 10.0, 14.0, 8.0, 12.0), 7)
    [10.0, 9.0, 8.0, 11.0, 14.0, 13.0, 12.0]
    """
    middle = (bar.low, bar.high) if bar.close >= bar.open else (bar.high, bar.low)
    anchors = (bar.open, *middle, bar.close)
    marks = [round(place * (count - 1) / 3) for place in range(4)]
    prices = []
    for (left, start), (right, stop) in zip(
        zip(anchors, marks, strict=True), zip(anchors[1:], marks[1:], strict=False), strict=False
    ):
        prices += [left + (right - left) * (at / (stop - start)) for at in range(stop - start)]
    return [*prices, bar.close]


def steps(bars: Bars, step_ms: int) -> Iterator[Step]:
    """Walk all bars together; one step at least every `step_ms` of event time while there are bars."""
    count = steps_per_bar(bars.length_ms, step_ms)
    for time, frame in groupby(bars.bars, key=lambda bar: bar.time):
        paths = {(bar.asset, bar.source): walk(bar, count) for bar in frame}
        for at in range(count):
            yield Step(
                time=time + at * bars.length_ms // count,
                quotes={key: path[at] for key, path in paths.items()},
            )


def price_text(price: float) -> str:
    """A price as a plain decimal string of at most nine significant digits.

    >>> price_text(43210.123456), price_text(0.00001234)
    ('43210.1235', '0.00001234')
    """
    text = f"{price:.9g}"
    return format(Decimal(text), "f") if "e" in text else text


def deepest_day(bars: Bars, asset: str) -> int:
    """Start of the UTC day in which `asset` fell most from a high to a later low, in epoch milliseconds."""
    falls: dict[int, float] = {}
    tops: dict[int, float] = {}
    for bar in bars.bars:
        if bar.asset == asset:
            day = bar.time - bar.time % DAY_MS
            for price in walk(bar, STEPS_MIN):
                tops[day] = max(tops.get(day, 0.0), price)
                falls[day] = min(falls.get(day, 0.0), price / tops[day] - 1.0)
    return min(falls, key=lambda day: (falls[day], day))
