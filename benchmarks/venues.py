"""Quotes of many sources out of recorded prices, and what can go wrong with a source. Pure; a seed makes all noise."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from streams.oracle.quotes import Quote

SYMBOL = "BTC"
SOURCES = ("a", "b", "c", "d", "e")
#: Of an honest source: standard deviation of its own gap, which halves in a minute; how late it may be; confidence.
GAP, GAP_KEPT, LATE, CONFIDENCE = 0.0003, 0.5 ** (1 / 60), 3, 0.0001


class Moment(NamedTuple):
    """What is quoted at one moment, in order of arrival, and what is true: price by symbol.

    `honest` are bitcoin's prices in dollars at those venues that true is made of, where there are several.
    """

    time: int
    quotes: list[Quote]
    true: Mapping[str, float]
    honest: Mapping[str, float] = MappingProxyType({})


#: What becomes of a source's quote, from its quote when the fault began, and the seconds since.
Bend = Callable[[Quote, Quote, int], list[Quote]]


class Fault(NamedTuple):
    """`bend` is done to the first `sources` sources."""

    name: str
    sources: int
    bend: Bend


def _off(rate: float) -> Bend:
    return lambda quote, _first, _second: [quote._replace(price=quote.price * rate)]


def _by_clock(ms: int) -> Bend:
    return lambda quote, _first, _second: [quote._replace(time=quote.time + ms)]


def _unnumbered(quote: Quote) -> Quote:
    return quote._replace(sequence=None)


FAULTS = (
    Fault("no fault", 0, _off(1.0)),
    Fault("frozen", 1, lambda quote, first, _: [quote._replace(price=first.price)]),
    Fault("1,000 times", 1, _off(1_000.0)),
    Fault("10 % low", 1, _off(0.9)),
    Fault("flapping", 1, lambda quote, _, second: [quote] if second % 15 < 5 else []),
    Fault("gone", 1, lambda *_: []),
    Fault("two of five collude, 5 % low", 2, _off(0.95)),
    Fault("clock 10 s fast", 1, _by_clock(10_000)),
    Fault("clock 10 s slow", 1, _by_clock(-10_000)),
    Fault("every quote twice", 1, lambda quote, *_: [quote, quote]),
    Fault("first quote replayed after each", 1, lambda quote, first, _: [quote, first]),
    Fault(
        "the same, without sequences", 1, lambda quote, first, _: [_unnumbered(quote), _unnumbered(first)]
    ),
)  # fmt: skip
#: For long runs: a second is too short for it.
DRIFT = Fault("5 bp more each hour", 1, lambda quote, _, second: [
    quote._replace(price=quote.price * math.exp(0.0005 * second / 3_600))
])  # fmt: skip


def crash(path: Sequence[tuple[int, float]], fault: Fault, *, since: int, seed: int, each: int = 1) -> Iterator[Moment]:
    """Five sources that follow one recorded price, each a little late and off; from `since` (epoch ms) on with a fault.

    Parameters
    ----------
    path : (epoch ms, price), ascending, in equal steps
    each : a source quotes at each so many steps, every one at its own moment of them
    """
    rng = np.random.default_rng(seed)
    step_s = (path[1][0] - path[0][0]) / 1_000
    kept = GAP_KEPT**step_s
    gaps = np.zeros(len(SOURCES))
    first: dict[str, Quote] = {}
    for number, (time, price) in enumerate(path):
        gaps = gaps * kept + GAP * math.sqrt(1 - kept * kept) * rng.standard_normal(len(SOURCES))
        late = rng.integers(0, max(1, round(LATE / step_s)), len(SOURCES))
        quotes = []
        for at, source in enumerate(SOURCES):
            if (number + at * each // len(SOURCES)) % each:
                continue
            seen = path[max(0, number - int(late[at]))][1] * math.exp(float(gaps[at]))
            quote = Quote(SYMBOL, source, seen, seen * CONFIDENCE, time, number)
            if time < since or at >= fault.sources:
                quotes.append(quote)
                continue
            first.setdefault(source, quote)
            quotes += fault.bend(quote, first[source], (time - since) // 1_000)
        yield Moment(time, quotes, {SYMBOL: price})


#: The honest book of the depeg file that is in dollars itself.
DOLLARS_ONLY = "Binance.US BTC/USD"
#: Columns of the depeg file by source: (venue, asset, quote) -> (symbol, source, quote asset).
BOOKS = {
    ("binance_us", "BTC", "USD"): ("BTC", "binance_us_usd", None),
    ("binance_us", "BTC", "USDT"): ("BTC", "binance_us_usdt", "USDT"),
    ("binance_us", "BTC", "USDC"): ("BTC", "binance_us_usdc", "USDC"),
    ("kraken", "BTC", "USDC"): ("BTC", "kraken_usdc", "USDC"),
    ("kucoin", "BTC", "USDT"): ("BTC", "kucoin_usdt", "USDT"),
    ("kucoin", "USDC", "USDT"): ("USDC", "kucoin_usdt", "USDT"),
}


def depeg(file: Path, since: str, until: str) -> Iterator[Moment]:
    """The days on which USDC lost its peg, by the minute: each bar's close as a quote at the bar's end.

    USDT in dollars is what Binance.US pays for a bitcoin in dollars over what it pays in USDT: no other book of the
    file says it. True is the median of three honest books: Binance.US in dollars, KuCoin over USDT, Kraken over USDC.
    So two of the three lean on the same USDT as the oracle does; DOLLARS_ONLY is the one that leans on nothing.
    """
    rows: dict[str, dict[tuple[str, str, str], float]] = {}
    with gzip.open(file, "rt") as lines:
        for row in csv.DictReader(lines):
            if since <= row["ts"] < until:
                rows.setdefault(row["ts"], {})[row["venue"], row["asset"], row["quote"]] = float(row["close"])
    honest: dict[str, float] = {}
    for number, (ts, closes) in enumerate(sorted(rows.items())):
        time = round(datetime.fromisoformat(ts).replace(tzinfo=UTC).timestamp() * 1_000) + 60_000
        usdt = closes["binance_us", "BTC", "USD"] / closes["binance_us", "BTC", "USDT"]
        quotes = [Quote("USDT", "binance_us", usdt, 0.0, time, number)]
        for book, (symbol, source, quote_asset) in BOOKS.items():
            if book in closes:
                quotes.append(Quote(symbol, source, closes[book], 0.0, time, number, quote_asset))
        usdc = closes["kucoin", "USDC", "USDT"] * usdt
        honest[DOLLARS_ONLY] = closes["binance_us", "BTC", "USD"]
        honest["KuCoin BTC/USDT"] = closes["kucoin", "BTC", "USDT"] * usdt
        if ("kraken", "BTC", "USDC") in closes:
            honest["Kraken BTC/USDC"] = closes["kraken", "BTC", "USDC"] * usdc
        true = sorted(honest.values())[(len(honest) - 1) // 2]
        yield Moment(time, quotes, {"BTC": true, "USDC": usdc, "USDT": usdt}, dict(honest))
