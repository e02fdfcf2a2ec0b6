"""Who is liquidated: by a shard behind our oracle, by one that believes other prices, and by rights. No Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from benchmarks.forged import Forged
from benchmarks.population import Population, marks, shard_of
from benchmarks.venues import DOLLARS_ONLY, SYMBOL, Moment
from schemas.journal import PRICE_STATES, Block
from streams.engine.shard import Shard
from streams.oracle.marks import MarksUpdate, SymbolMark
from streams.oracle.partition import OraclePartition

#: Honest venues differ by as much in a crash: accounts this near to their line are nobody's fault.
TOLERANCE = 0.0025

#: The prices that an engine believes after a moment's quotes.
Believes = Callable[[Moment], Mapping[str, float]]


class Engine:
    """A shard, and when each of its accounts was closed out, by name: entered liquidation, or where a step of the price
    took it past that, was bankrupt."""

    def __init__(self, population: Population, first: Moment) -> None:
        self._population, self._offset = population, 0
        self._shard: Shard = shard_of(population, first.true, first.time)
        self.liquidated: dict[str, int] = {}
        self.tell(first.true, first.time)

    def tell(self, prices: Mapping[str, float], time: int) -> None:
        """Judge all at these prices, which are trusted."""
        listed = self._population.universe
        self._fold(marks(prices, dict.fromkeys(listed.instruments, 0.0), listed, time), time)

    def update(self, update: MarksUpdate) -> None:
        """Judge all as the oracle says."""
        names, columns, extra = update.block()
        self._fold(Block(kind="marks", names=names, columns=columns, extra=extra), update.time)

    def _fold(self, block: Block, time: int) -> None:
        self._offset += 1
        for one in self._shard.apply(self._offset, block.encode()):
            if one.topic == "liquidations":
                record = orjson.loads(one.value)
                if record["kind"] in ("liquidation", "bankrupt"):
                    self.liquidated.setdefault(record["account"], time)


class Oracled:
    """An engine behind our oracle, and what that told of bitcoin: states, reasons, and how far the index was off.

    `states` are (since when, state), `reasons` when each was first told, `errors` (when, basis points). Both oracle and
    engine are asked at every `look_ms` of the `every_ms` between two moments.
    """

    def __init__(
        self, population: Population, first: Moment, records: Mapping[str, Any], *, look_ms: int, every_ms: int
    ) -> None:
        self._oracle = OraclePartition(0, 1, heartbeat_ms=1_000, quote_age_ms_max=10_000, max_source_skew_ms=2_000)
        self._oracle.rules(records.get)
        self._oracle.terms((name, item.underlying) for name, item in population.universe.instruments.items())
        self._every_ms, self._look_ms = every_ms, look_ms
        self._index: float | None = None
        self.engine = Engine(population, first)
        self.states: list[tuple[int, str]] = []
        self.reasons: dict[str, int] = {}
        self.errors: list[tuple[int, float]] = []

    @property
    def refused(self) -> int:
        """Quotes that were not taken."""
        return sum(self._oracle.refused.values())

    def take(self, moment: Moment) -> None:
        """A moment's quotes, and the time until the next."""
        self._oracle.quotes(moment.quotes)
        for time in range(moment.time, moment.time + self._every_ms, self._look_ms):
            update = self._oracle.due(time, None)
            if update is not None and update.rows:
                self.engine.update(update)
                for row in update.rows:
                    if row.symbol == SYMBOL:
                        self._heard(row, time)
            if time == moment.time and self._index is not None:
                self.errors.append((time, (self._index / moment.true[SYMBOL] - 1) * 1e4))

    def _heard(self, row: SymbolMark, time: int) -> None:
        self._index, state = row.index_price, PRICE_STATES[row.state]
        if not self.states or self.states[-1][1] != state:
            self.states.append((time, state))
        for reason in row.reasons:
            self.reasons.setdefault(reason, time)


def liquidated(moments: Iterable[Moment], population: Population, first: Moment, believes: Believes) -> dict[str, int]:
    """Who is liquidated when, by an engine that trusts what it believes."""
    engine, last = Engine(population, first), first.true
    for moment in moments:
        prices = believes(moment)
        if prices != last:
            engine.tell(prices, moment.time)
            last = prices
    return engine.liquidated


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is played: moments, to accounts, under rules; the fault begins at `since`.

    `checked` are the moments as ingest lets them through, where quotes are signed.
    """

    name: str
    moments: list[Moment]
    population: Population
    records: Mapping[str, Any]
    since: int
    look_ms: int
    every_ms: int
    believers: Mapping[str, Believes]
    checked: Forged | None = None


@dataclass(frozen=True, kw_only=True)
class Right:
    """Accounts that an engine liquidates at true prices: `must` at those up to TOLERANCE up and down, `may` at any."""

    must: set[str]
    may: set[str]


def right(case: Case, honest: Callable[[], Believes] | None = None) -> Right:
    """Who is to be liquidated; between `must` and `may` are those whom the choice among honest prices decides.

    Parameters
    ----------
    honest : makes the prices anew; those that are true where it is not given
    """
    found = []
    for rate in (1.0 - TOLERANCE, 1.0, 1.0 + TOLERANCE):
        believes = _off(honest() if honest else _true, rate)
        found.append(set(liquidated(case.moments, case.population, case.moments[0], believes)))
    return Right(must=set.intersection(*found), may=set.union(*found))


def _true(moment: Moment) -> Mapping[str, float]:
    return moment.true


def _off(believes: Believes, rate: float) -> Believes:
    def off(moment: Moment) -> Mapping[str, float]:
        prices = believes(moment)
        return {**prices, SYMBOL: prices[SYMBOL] * rate}

    return off


def in_dollars(moment: Moment) -> Mapping[str, float]:
    """Bitcoin's price by the one honest venue that no other price is in."""
    return {**moment.true, SYMBOL: moment.honest[DOLLARS_ONLY]}


def middle() -> Believes:
    """The median of the last quotes of all sources: what most of them have shown, whatever came between."""
    last: dict[str, float] = {}

    def believed(moment: Moment) -> Mapping[str, float]:
        last.update((quote.source, quote.price) for quote in moment.quotes)
        return {**moment.true, SYMBOL: float(np.median(list(last.values())))}

    return believed


def one_source(source: str, *, at_one: bool = False) -> Believes:
    """The last price that this source sent, whatever its time.

    A price in another asset is converted at that one's true price; or taken for dollars, and that asset for a dollar.
    """
    last: dict[str, float] = {}

    def believed(moment: Moment) -> Mapping[str, float]:
        for quote in moment.quotes:
            if quote.source == source and quote.symbol == SYMBOL:
                last[SYMBOL] = quote.price
                if quote.quote_asset and at_one:
                    last[quote.quote_asset] = 1.0
                elif quote.quote_asset:
                    last[SYMBOL] *= moment.true[quote.quote_asset]
        return {**moment.true, **last}

    return believed
