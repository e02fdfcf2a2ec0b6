"""Closes of units at the ends of equal periods, kept as returns: the history that risk parameters are made of.

A period ends at each multiple of its length in epoch time. Its close is the last trusted price before; a unit
without a new one keeps its close, and the move falls into the period in which it is seen.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
#: A period's price counts as so many times its close at most, and as so many parts of it at least: what is made of
#: returns stays finite, whatever a source says.
LEAP_MAX = 1e6


@dataclass
class Closes:
    """Returns of every unit over its last `window` periods, as far as it has so many.

    Attributes
    ----------
    period : the one that is open, time // period_ms; None before the first price
    close : of each unit, at the end of the last period that it was there for
    last : newest trusted price of each unit
    returns : of each unit, oldest first; the last is of the period before `period`
    """

    period_ms: int
    window: int
    period: int | None = None
    close: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    returns: dict[str, list[float]] = field(default_factory=dict)

    def take(self, time_ms: int, prices: Mapping[str, float]) -> int:
        """Take trusted prices of a time, and return how many periods ended before it.

        A time of a period that has ended already changes nothing.

        Raises
        ------
        ValueError
            where a price is not finite and > 0.
        """
        for unit, price in prices.items():
            if not 0.0 < price < math.inf:
                raise ValueError(f"a price must be finite and > 0, found {price} of {unit} at {time_ms}")
        period = time_ms // self.period_ms
        if self.period is None:
            self.period = period
        ended = max(period - self.period, 0)
        for _ in range(min(ended, self.window)):
            self._end()
        if period >= self.period:
            self.period = period
            self.last.update(prices)
        return ended

    def ended(self, period: int) -> bool:
        """Whether a period has ended."""
        return self.period is not None and period < self.period

    def load(self, unit: str, period: int, prices: list[float]) -> bool:
        """Put known closes before what is there of a unit; whether they were wanted.

        They are while a period is open, and the unit's own returns do not fill the window. Returns of its own of all
        periods since `period` stay; else it did not move in them, until its next price.

        Parameters
        ----------
        period : the period of the last of the closes
        prices : oldest first, finite and > 0; those of periods that have not ended are passed over
        """
        own = self.returns.get(unit, [])
        if self.period is None or len(own) == self.window:
            return False
        since = self.period - 1 - period
        known = prices[:since] if since < 0 else prices
        if not known:
            return False
        since = max(since, 0)
        returns = [_return(before, after) for before, after in pairwise(known)]
        if since and len(own) >= since:
            returns += own[-since:]
        else:
            returns += [0.0] * since
            self.close[unit] = known[-1]
        self.returns[unit] = returns[-self.window :]
        self.last.setdefault(unit, known[-1])
        return True

    def trim(self) -> set[str]:
        """Forget what is older than the window; the units that had more."""
        longer = {unit for unit, returns in self.returns.items() if len(returns) > self.window}
        for unit in longer:
            del self.returns[unit][: -self.window]
        return longer

    @property
    def units(self) -> set[str]:
        """All units of which something is known."""
        return self.close.keys() | self.last.keys()

    def forget(self, units: Collection[str]) -> None:
        """Know nothing of these units any more."""
        for held in (self.close, self.last, self.returns):
            for unit in held.keys() & units:
                del held[unit]

    def whole(self, most: int) -> tuple[list[str], F64]:
        """The first units by name, at most so many, of those with a whole window, and their returns, oldest first;
        shape (window, n_units)."""
        units = sorted(unit for unit, returns in self.returns.items() if len(returns) == self.window)[:most]
        columns = [self.returns[unit] for unit in units]
        return units, np.array(columns, dtype=np.float64).reshape(len(units), self.window).T.copy()

    def _end(self) -> None:
        for unit, price in self.last.items():
            if unit in self.close:
                returns = self.returns.setdefault(unit, [])
                returns.append(_return(self.close[unit], price))
                del returns[: -self.window]
            self.close[unit] = price


def _return(close: float, price: float) -> float:
    """Simple return from a close to a price, within LEAP_MAX.

    >>> _return(100.0, 110.0) == 110.0 / 100.0 - 1.0, _return(1e-300, 1e300), _return(1e300, 1e-300) > -1.0
    (True, 999999.0, True)
    """
    return min(max(price / close, 1.0 / LEAP_MAX), LEAP_MAX) - 1.0
