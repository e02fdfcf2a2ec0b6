"""Means of a symbol's index over the settlement windows of its options, each price holding until the next is told.

Sums are exact, so a mean depends on what was told and when, never on how often it was asked for. Only time under a
trusted price counts: a price that is suspect, stale or halted, or that outlived its quotes while the oracle was away,
leaves a hole. A mean with more hole than price settles nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

#: Least part of a window that prices must have covered for its mean to settle.
COVERED_LEAST = Fraction(1, 2)


class Window(NamedTuple):
    """The `length_ms` up to `expiry`, epoch ms."""

    expiry: int
    length_ms: int


class Mean(NamedTuple):
    """Sum of price x ms, and over how many ms."""

    total: Fraction = Fraction(0)
    covered_ms: int = 0

    @property
    def price(self) -> float | None:
        """The mean so far, None where nothing is covered.

        Examples
        --------
        >>> Mean(Fraction(100) * 20 + Fraction(103) * 10, 30).price
        101.0
        """
        return float(self.total / self.covered_ms) if self.covered_ms else None

    def settles(self, window: Window) -> float | None:
        """The settlement price once the window is over; None where prices have covered too little of it."""
        return self.price if self.covered_ms >= COVERED_LEAST * window.length_ms else None


class Held(NamedTuple):
    """The price told last: it counts from `since_ms` to `until_ms`, epoch ms, not at all where that is not later."""

    price: float
    since_ms: int
    until_ms: int

    def counted(self, mean: Mean, window: Window, now_ms: int) -> Mean:
        """The mean with what this price has added to it by now."""
        start = max(self.since_ms, window.expiry - window.length_ms)
        length_ms = min(self.until_ms, window.expiry, now_ms) - start
        if length_ms <= 0:
            return mean
        return Mean(mean.total + Fraction(repr(self.price)) * length_ms, mean.covered_ms + length_ms)


@dataclass(slots=True)
class SettlementMeans:
    """The means of one symbol up to the price told last, which is `held`; None before the first with a window known."""

    closed: dict[Window, Mean] = field(default_factory=dict)
    held: Held | None = None

    def at(self, window: Window, now_ms: int) -> Mean:
        """The mean of a window as of now."""
        mean = self.closed.get(window, Mean())
        return mean if self.held is None else self.held.counted(mean, window, now_ms)

    def tell(self, price: float, until_ms: int, now_ms: int, windows: Iterable[Window]) -> None:
        """From now on this price holds, and counts up to `until_ms`; `windows` are those to keep a mean of."""
        self.closed = {window: self.at(window, now_ms) for window in sorted(windows)}
        self.held = Held(price, now_ms, until_ms) if self.closed else None

    def record(self) -> list[Any]:
        """For the changelog."""
        means = [[*window, str(mean.total), mean.covered_ms] for window, mean in self.closed.items()]
        return [means, self.held]

    @classmethod
    def restored(cls, record: list[Any]) -> "SettlementMeans":
        """The means whose record it is."""
        means, held = record
        closed = {Window(expiry, length): Mean(Fraction(total), ms) for expiry, length, total, ms in means}
        return cls(closed, None if held is None else Held(*held))
