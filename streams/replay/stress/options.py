"""Options under a shock: valued anew at the forward that moves with their underlying, at the volatility of before."""

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
    """

    names: list[str]
    underlying: list[str]
    right: F64
    strike: F64
    in_coins: F64
    expiry: F64
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
        return cls(
            names,
            [str(record["underlying"]) for record in records],
            np.array([1.0 if record["option_type"] == "call" else -1.0 for record in records]),
            np.array([float(record["strike"]) for record in records]),
            np.array([float(record["settlement"] == record["underlying"]) for record in records]),
            np.array([float(record["expiry"]) for record in records]),
            prices.volatility[at],
            prices.forward[at],
            prices.discount[at],
        )

    def moved(self, factors: Mapping[str, float], time_ms: int) -> tuple[dict[str, float], dict[str, float]]:
        """Marks and forwards by instrument where underlyings have moved by `factors`, at a shard time."""
        forward = self.forward * np.array([factors[name] for name in self.underlying])
        years = np.maximum(self.expiry - (time_ms - time_ms % STEP_MS), 0.0) / YEAR_MS
        worth = values(self.right, forward, self.strike, years, self.volatility, self.discount)
        marks = np.maximum(np.where(self.in_coins > 0.0, worth / forward, worth), PRICE_MIN)
        return dict(zip(self.names, marks.tolist(), strict=True)), dict(zip(self.names, forward.tolist(), strict=True))
