"""Hourly option chains of one underlying from a file: implied volatilities, and the forwards that the deltas imply.

The file (columns ts, type, strike, expiry_date, mark_iv, delta and others) names no price. The delta of a call is
N(d1), so each option near the money tells its forward: F = K exp(d1 v - v^2 / 2), v = volatility x sqrt(years).
"""

from __future__ import annotations

import csv
import gzip
import os
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from streams.margin.black76 import option_value
from streams.margin.elementary import exp, normal_quantile

ROOT = Path(__file__).parents[1]
YEAR_MS = 365 * 86_400_000
#: Options of the exchange expire at 08:00 UTC.
EXPIRY_HOUR = 8
#: Deltas of the calls that a forward is taken from.
NEAR_THE_MONEY = (0.2, 0.8)


class Option(NamedTuple):
    """An option: `right` +1 call, -1 put; `expiry` epoch ms."""

    right: int
    strike: float
    expiry: int


class Quote(NamedTuple):
    """An option's implied volatility, and its delta to the forward."""

    volatility: float
    delta: float


class Chain(NamedTuple):
    """One hour: quotes by option, forwards by expiry, and the index, which is the forward of the first expiry that is
    at least a day away."""

    time: int
    quotes: dict[Option, Quote]
    forwards: dict[int, float]
    index_price: float

    def value(self, option: Option) -> float:
        """Value of one option by its implied volatility, in the currency of the forward."""
        years = max(option.expiry - self.time, 0) / YEAR_MS
        volatility = self.quotes[option].volatility
        forward = self.forwards[option.expiry]
        return float(option_value(float(option.right), forward, option.strike, volatility * np.sqrt(years), 1.0))


def chain_file() -> Path | None:
    """The file in the folder that CROSSMARGIN_PRICES names, or in a `data` folder beside the project; None: nowhere."""
    folder = os.environ.get("CROSSMARGIN_PRICES")
    pattern = "deribit_btc_option_chain_1h_*.csv*"
    found = Path(folder).glob(pattern) if folder else ROOT.parent.glob(f"*/data/{pattern}")
    return next(iter(sorted(found)), None)


def read_chains(path: Path) -> list[Chain]:
    """The chains of a file, in the order of time."""
    hours: dict[int, dict[Option, Quote]] = {}
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as lines:
        for row in csv.DictReader(lines):
            day = datetime.fromisoformat(row["expiry_date"]).replace(hour=EXPIRY_HOUR, tzinfo=UTC)
            option = Option(1 if row["type"] == "call" else -1, float(row["strike"]), _ms(day))
            quote = Quote(float(row["mark_iv"]) / 100.0, float(row["delta"]))
            hours.setdefault(_ms(datetime.fromisoformat(row["ts"])), {})[option] = quote
    return [_chain(time, hours[time]) for time in sorted(hours)]


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _chain(time: int, quotes: dict[Option, Quote]) -> Chain:
    implied: dict[int, list[float]] = {}
    for option, quote in quotes.items():
        call_delta = quote.delta if option.right > 0 else 1.0 + quote.delta
        if option.expiry > time and NEAR_THE_MONEY[0] < call_delta < NEAR_THE_MONEY[1]:
            deviation = quote.volatility * np.sqrt((option.expiry - time) / YEAR_MS)
            moneyness = normal_quantile(call_delta) * deviation - deviation * deviation / 2.0
            implied.setdefault(option.expiry, []).append(option.strike * exp(moneyness))
    forwards = {expiry: median(found) for expiry, found in sorted(implied.items())}
    day_away = [expiry for expiry in forwards if expiry - time >= YEAR_MS / 365]
    return Chain(time, quotes, forwards, forwards[day_away[0]])
