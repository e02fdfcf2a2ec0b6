"""Options under a shock: valued anew at the forward that moves with their underlying, at the volatility of before.

Of options that settle at a mean, what is settled when the shock begins stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from streams.engine.shard import Shard
from streams.margin.black76 import values
from streams.margin.parameters import F64
from streams.oracle.legs import PRICE_MIN
from streams.oracle.options import STEP_MS
from streams.oracle.volatilities import YEAR_MS


class Options(NamedTuple):
    """The options of a shard whose marks are known, in columns, and what their marks were made of before the shock.

    Attributes
    ----------
    right : 1 call, -1 put
    in_coins : whether the mark is in coins of the underlying
    expiry : epoch ms
    window : ms before expiry over whose mean it settles; 0: at one price
    rest : the part of the window that was to come before the shock; 1 where it had not begun
    fixed : the part of the forward that is settled and moves no more
    """

    names: list[str]
    underlying: list[str]
    right: F64
    strike: F64
    in_coins: F64
    expiry: F64
    window: F64
    rest: F64
    fixed: F64
    volatility: F64
    forward: F64
    discount: F64

    @classmethod
    def of(cls, shard: Shard) -> Options:
        """Those of a shard, by name."""
        prices, index = shard.prices, shard.terms.instrument_index
        names = sorted(name for name in prices.mark if not np.isnan(prices.volatility[index[name]]))
        records = [shard.terms.records[name] for name in names]
        at = np.array([index[name] for name in names], dtype=np.int64)
        underlying = [str(record["underlying"]) for record in records]
        expiry = np.array([float(record["expiry"]) for record in records])
        window = np.array([float(record.get("settlement_window_ms", 0)) for record in records])
        window[expiry <= prices.time] = 0.0  # no mean has settled it
        rest = _rest(expiry, window, prices.time)
        spot = np.array([prices.index[name] for name in underlying])
        moving = np.where(rest < 1.0, np.minimum(rest * spot, prices.forward[at]), prices.forward[at])
        return cls(
            names,
            underlying,
            np.array([1.0 if record["option_type"] == "call" else -1.0 for record in records]),
            np.array([float(record["strike"]) for record in records]),
            np.array([float(record["settlement"] == record["underlying"]) for record in records]),
            expiry,
            window,
            rest,
            prices.forward[at] - moving,
            prices.volatility[at],
            prices.forward[at],
            prices.discount[at],
        )

    def moved(self, factors: Mapping[str, float], time_ms: int) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Marks by instrument where underlyings have moved by `factors`, at a shard time; and what they were made of,
        by its name in the journal and by instrument.

        One that has expired and settles at a mean has a volatility of 0, which says that its forward is the mean.
        """
        moving = (self.forward - self.fixed) * np.array([factors[name] for name in self.underlying])
        forward = self.fixed + moving
        years = np.maximum(self.expiry - (time_ms - time_ms % STEP_MS), 0.0) / YEAR_MS
        length, rest = self.window / YEAR_MS, _rest(self.expiry, self.window, time_ms)
        share = rest / self.rest * moving / forward
        years = np.where(rest < 1.0, years / 3.0 * share * share, years - length * 2.0 / 3.0)
        volatility = np.where((self.window > 0.0) & (self.expiry <= time_ms), 0.0, self.volatility)
        worth = values(self.right, forward, self.strike, years, volatility, self.discount)
        marks = np.maximum(np.where(self.in_coins > 0.0, worth / forward, worth), PRICE_MIN)
        made_of = {"volatility": volatility, "forward": forward, "discount": self.discount}
        named = {what: dict(zip(self.names, told.tolist(), strict=True)) for what, told in made_of.items()}
        return dict(zip(self.names, marks.tolist(), strict=True)), named


def _rest(expiry: F64, window: F64, time_ms: int) -> F64:
    """The part of each settlement window that is to come, in whole minutes begun; 1 before it, and of none."""
    left = np.maximum(expiry - (time_ms - time_ms % STEP_MS), 0.0)
    return np.where(window > 0.0, np.minimum(left / np.maximum(window, 1.0), 1.0), 1.0)
