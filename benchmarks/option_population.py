"""Accounts on portfolio margin, drawn from a seed over an option chain, in a shard of their own; and its marks blocks.

Ten legs each: nine options, most of them about as much sold as bought at strikes around the money, and the perpetual
that takes most of their delta away. Money beside them is drawn so that adjusted equity is 1.3 times maintenance margin
or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmarks.option_chain import YEAR_MS, Chain, Option, Quote, chain_file, read_chains
from benchmarks.population import name_of
from schemas.instruments import Asset, Instrument
from schemas.journal import Block
from schemas.risk_terms import RiskUnit
from streams.engine.columns import Balances, Positions
from streams.engine.judge import numbers_of
from streams.engine.shard import Shard
from streams.ingest.term_rules import normalised
from streams.margin.black76 import values
from streams.margin.parameters import F64, I64

LEGS = 10
COIN, CASH, PERPETUAL = "BTC", "USD", "BTC-PERP"
#: Nine steps of price, each with three volatilities; four tails; two that skew the smile.
UNIT = RiskUnit(id=f"~risk_unit:{COIN}", tails=("-0.66", "-0.33", "0.5", "5"))
SCENARIOS = 33
#: Adjusted equity / maintenance margin - RATIO_LEAST: lognormal of this median and standard deviation.
RATIO_LEAST, RATIO_MEDIAN, RATIO_SPREAD = 1.3, 0.7, 0.8
#: How near the money options are chosen, in standard deviations; how many lots (0.1 coins) a leg has at the median.
NEARNESS, LOTS = 1.0, 10.0


class Market(NamedTuple):
    """One moment: prices by instrument (the perpetual first, then the options), and what those of options come from."""

    time: int
    index_price: float
    mark: F64
    volatility: F64
    forward: F64


@dataclass(frozen=True, kw_only=True)
class Listed:
    """Options of a chain in a fixed order, with their columns."""

    options: Sequence[Option]
    right: F64
    strike: F64
    expiry: I64

    def market(self, time: int, index_price: float, volatility: F64, basis: F64) -> Market:
        """A moment at which forwards are index x basis."""
        forward = index_price * basis
        minutes = np.maximum((self.expiry - time) // 60_000, 0)
        years = minutes * 60_000 / YEAR_MS
        worth = values(self.right, forward, self.strike, years, volatility, np.ones(len(forward)))
        return Market(time, index_price, np.concatenate(([index_price], np.maximum(worth, 1e-8))), volatility, forward)


def seeded_chain() -> Chain:
    """Where there is no file: six expiries of 41 strikes around 60,000, with a smile."""
    time, index_price = 1_700_000_000_000, 60_000.0
    quotes: dict[Option, Quote] = {}
    forwards = {}
    for days in (2, 7, 14, 30, 60, 90):
        expiry = time + days * 86_400_000
        forwards[expiry] = index_price * (1.0 + 0.05 * days / 365)
        for strike in range(40_000, 81_000, 1_000):
            smile = 0.5 + 0.4 * np.log(strike / index_price) ** 2
            for right in (1, -1):
                quotes[Option(right, float(strike), expiry)] = Quote(float(smile), 0.0)
    return Chain(time, quotes, forwards, index_price)


def chains() -> list[Chain]:
    """The hours of the file; else one seeded."""
    path = chain_file()
    return [seeded_chain()] if path is None else read_chains(path)


def listed(hours: Sequence[Chain], count_max: int) -> Listed:
    """Options quoted in all hours, those nearest the money first."""
    first = hours[0]
    options = [o for o in first.quotes if o.expiry in first.forwards and all(o in hour.quotes for hour in hours)]
    options = [o for o in options if all(o.expiry in hour.forwards for hour in hours)]
    options.sort(key=lambda o: (abs(np.log(o.strike / first.forwards[o.expiry])), o))
    kept = sorted(options[:count_max], key=lambda o: (o.expiry, o.strike, -o.right))
    columns = (np.array([float(getattr(o, name)) for o in kept]) for name in ("right", "strike"))
    right, strike = columns
    return Listed(options=kept, right=right, strike=strike, expiry=np.array([o.expiry for o in kept], dtype=np.int64))


def quoted(listing: Listed, hour: Chain) -> tuple[F64, F64]:
    """Volatilities of an hour, and forwards / index."""
    volatility = np.array([hour.quotes[o].volatility for o in listing.options])
    return volatility, np.array([hour.forwards[o.expiry] for o in listing.options]) / hour.index_price


def block(listing: Listed, market: Market, mode: str = "live") -> bytes:
    """A marks block."""
    nothing, count = np.full(1, np.nan), len(listing.options) + 1
    columns: dict[str, Any] = {
        "symbol": np.arange(1),
        "index": np.array([market.index_price]),
        "confidence": np.zeros(1),
        "check": nothing,
        "symbol_state": np.zeros(1),
        "widening": np.zeros(1),
        "quote_time": np.full(1, market.time),
        "instrument": np.arange(count),
        "mark": market.mark,
        "mark_state": np.zeros(count),
        "instrument_volatility": np.concatenate((nothing, market.volatility)),
        "instrument_forward": np.concatenate((nothing, market.forward)),
        "instrument_discount": np.concatenate((nothing, np.ones(count - 1))),
    }
    names = {"symbols": [COIN], "instruments": [PERPETUAL, *map(_name, listing.options)]}
    extra = {"time": market.time, "oracle": {"partition": 0, "of": 1, "mode": mode}}
    return Block(kind="marks", names=names, columns=columns, extra=extra).encode()


def shard_of(listing: Listed, market: Market, accounts: int, seed: int) -> Shard:
    """A live shard that holds them at these marks, having judged none; nobody's turn for a summary ever comes."""
    shard = Shard(0)
    rules = {"id": "~engine", "kind": "engine", "version": 1, "summary_interval_ms": 1 << 50}
    rules["reporting_currency"] = CASH
    assets = Asset(id=CASH, precision=6), Asset(id=COIN, precision=8)
    instruments = _perpetual(), *map(_instrument, listing.options)
    records = [*map(normalised, assets), *map(normalised, instruments), normalised(UNIT)]
    terms = [{**record, "version": 1} for record in records]
    shard.apply(0, Block(kind="terms", terms=[rules, *terms]).encode())
    shard.ledger.numbers([name_of(number) for number in range(accounts)])
    shard.grow()
    instrument, lots = _draw(listing, market, accounts, seed)
    index = np.array([shard.terms.instrument_index[name] for name in (PERPETUAL, *map(_name, listing.options))])
    key = index[instrument]
    order = np.argsort(shard.posting.instrument_rank[key], axis=1)
    key, lots = np.take_along_axis(key, order, 1).ravel(), np.take_along_axis(lots, order, 1).ravel()
    paid = np.empty(len(index))
    paid[index] = market.mark
    cost = np.round(paid[key] * lots * 10.0**5).astype(np.int64)  # tenths of a coin, in minor units
    start = np.arange(accounts) * LEGS
    size = np.full(accounts, LEGS, dtype=np.int32)
    top = np.array([accounts * LEGS])
    shard.ledger.positions = Positions(
        start, size, size, top, key.astype(np.int32), lots, cost, np.zeros(len(key), dtype=np.int64)
    )
    one, cash = np.ones(accounts, dtype=np.int32), shard.terms.asset_index[CASH]
    money = np.full(accounts, 10**12, dtype=np.int64)
    own = np.full(accounts, cash, dtype=np.int32)
    shard.ledger.balances = Balances(np.arange(accounts), one, one, np.array([accounts]), own, money)
    for book in range(accounts):
        shard.portfolio.set(book, True)
    shard.apply(1, block(listing, market, "catching_up"))
    required = numbers_of(shard, np.arange(accounts)).maintenance
    rng = np.random.default_rng((seed, accounts, 2))
    ratio = RATIO_LEAST + RATIO_MEDIAN * rng.lognormal(0.0, RATIO_SPREAD, accounts)
    money[:] = np.round(required * ratio * 1e6)  # positions are worth what was paid
    return shard


def _draw(listing: Listed, market: Market, accounts: int, seed: int) -> tuple[I64, I64]:
    """Instruments (0 the perpetual, then the options) and lots, shape (accounts, LEGS); nine different options each."""
    rng = np.random.default_rng((seed, accounts))
    years = np.maximum(listing.expiry - market.time, 60_000) / YEAR_MS
    far = np.log(listing.strike / market.forward) / (market.volatility * np.sqrt(years))
    weight = np.exp(-0.5 * (far / NEARNESS) ** 2) + 1e-6
    # the largest of Gumbel variables: a draw without putting back
    chosen = np.empty((accounts, LEGS - 1), dtype=np.int64)
    for begin in range(0, accounts, 4096):
        some = slice(begin, min(begin + 4096, accounts))
        drawn = np.log(weight) + rng.gumbel(size=(some.stop - begin, len(weight)))
        chosen[some] = np.argpartition(-drawn, LEGS - 1, axis=1)[:, : LEGS - 1]
    size = np.ceil(LOTS * rng.lognormal(0.0, 0.5, accounts))[:, None] * np.ones(LEGS - 1)
    side = np.where(np.arange(LEGS - 1) % 2 == 0, 1.0, -1.0)  # five bought, four sold
    lots = np.sign(rng.random((accounts, 1)) - 0.3) * side * size
    delta = np.where(listing.right > 0, 0.5, -0.5) - 0.35 * far  # near enough
    hedge = -(lots * delta[chosen]).sum(axis=1) * rng.uniform(0.7, 1.0, accounts)
    hedge = np.where(np.abs(hedge) < 1.0, 1.0, hedge)
    instrument = np.concatenate((np.zeros((accounts, 1), dtype=np.int64), chosen + 1), axis=1)
    return instrument, np.concatenate((hedge[:, None], lots), axis=1).astype(np.int64)


def _name(option: Option) -> str:
    return f"BTC-{option.expiry}-{option.strike:.0f}-{'C' if option.right > 0 else 'P'}"


def _perpetual() -> Instrument:
    return Instrument(
        id=PERPETUAL,
        type="perpetual",
        underlying=COIN,
        settlement=CASH,
        price_precision=1,
        quantity_precision=1,
        initial_margin="0.1",
        maintenance_margin="0.05",
    )


def _instrument(option: Option) -> Instrument:
    return Instrument(
        id=_name(option),
        type="option",
        underlying=COIN,
        settlement=CASH,
        price_precision=1,
        quantity_precision=1,
        option_type="call" if option.right > 0 else "put",
        strike=f"{option.strike:.0f}",
        expiry=option.expiry,
    )
