"""Closes of units at the ends of equal periods, kept as returns: the history that risk parameters are made of.

A period ends at each multiple of its length in epoch time. Its close is the last trusted price before; a unit
without a new one keeps its close, and the move falls into the period in which it is seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


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

    def load(self, period: int, closes: Mapping[str, list[float]]) -> None:
        """Begin with known closes, the newest of which is of the period before `period`; what was there is forgotten.

        Raises
        ------
        ValueError
            where a unit has no close, or one that is not finite and > 0.
        """
        for unit, prices in closes.items():
            if not prices or not all(0.0 < price < math.inf for price in prices):
                raise ValueError(f"closes of {unit} must be finite, > 0 and one at least")
        self.period = period
        self.last = {unit: prices[-1] for unit, prices in closes.items()}
        self.close = dict(self.last)
        self.returns = {
            unit: [after / before - 1.0 for before, after in pairwise(prices)][-self.window :]
            for unit, prices in closes.items()
        }

    def whole(self) -> tuple[list[str], F64]:
        """Units with a whole window, by name, and their returns, oldest first; shape (window, n_units)."""
        units = sorted(unit for unit, returns in self.returns.items() if len(returns) == self.window)
        columns = [self.returns[unit] for unit in units]
        return units, np.array(columns, dtype=np.float64).reshape(len(units), self.window).T.copy()

    def _end(self) -> None:
        for unit, price in self.last.items():
            if unit in self.close:
                returns = self.returns.setdefault(unit, [])
                returns.append(price / self.close[unit] - 1.0)
                del returns[: -self.window]
            self.close[unit] = price
