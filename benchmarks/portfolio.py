"""Portfolio margin at speed: the kernel against the BLAS and against reading its bytes; marks blocks with and without
the slack index; and what many options cost a tick, in the oracle and in a shard.

100,000 accounts x 10 legs x 33 scenarios on one thread. `matmul` is numpy's product of shape (accounts, legs) by (legs,
scenarios), the same multiplications as if all accounts held the same ten instruments; it nets no expiry, takes no
worst scenario and charges nothing. Blocks: a calm minute; the 37 hours of the chain file at steps of a minute,
volatilities and forwards between the hours on a line and the index on a seeded path between them; and the worst hours
of 2021-05-19 on that chain. Each block is folded by a shard with the index and by one that margins every book, and both
must say the same. Nobody fills liquidations.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from benchmarks.option_chain import Chain
from benchmarks.option_population import (
    COIN,
    LEGS,
    SCENARIOS,
    Listed,
    Market,
    block,
    chains,
    listed,
    quoted,
    shard_of,
)
from benchmarks.report import Report
from benchmarks.revaluation import best, read, whole_words
from benchmarks.slack_days import MAKING, Counting, Everything, day_of, ticks_of
from streams.engine import state
from streams.engine.risk_model import RiskMarket
from streams.engine.shard import Shard
from streams.engine.state import state_hash
from streams.engine.warmup import warm_up
from streams.margin.portfolio import portfolio_risks, room_for
from streams.oracle.options import Listed as Told
from streams.oracle.options import OptionDesk
from streams.oracle.volatilities import Volatility
from streams.replay.bars import Bars

ACCOUNTS, QUICK_ACCOUNTS = 100_000, 2_000
RACERS, CRASHED = 20_000, 400
OPTIONS = 400
#: Standard deviations of index, and of each volatility as a part of it, a second; ticks of the calm minute.
CALM, SMILE, TICKS = 0.0003, 0.001, 60
MINUTE_MS, MINUTES = 60_000, 60
#: Standard deviation of the index a minute, where hours are joined.
ROUGH = 0.001
#: A crash: its day, which hours of it, and the power of the index that volatilities move by.
CRASH, CRASH_FROM_MS, CRASH_MS, CRASH_STEP_MS, SKEW = "2021-05-19", 12 * 3_600_000, 2 * 3_600_000, 15_000, -2.0


def run(report: Report, *, quick: bool) -> None:
    """Kernel, a calm minute, the hours of the chain, and what options cost a tick."""
    MAKING.watch()
    warm_up()
    hours = chains()
    if len(hours) == 1:
        report.note("no option chain: a seeded one, and a seeded path of hours")
        hours = hours * (3 if quick else 13)
    elif quick:
        hours = hours[:3]
    listing = listed(hours, OPTIONS)
    first = listing.market(hours[0].time, hours[0].index_price, *quoted(listing, hours[0]))
    accounts = QUICK_ACCOUNTS if quick else ACCOUNTS
    shard = shard_of(listing, first, accounts, seed=1)
    _kernel(report, shard)
    _calm(report, shard, listing, first)
    calm, rough = (500, 50) if quick else (RACERS, CRASHED)
    _race(report, listing, first, path(listing, hours), calm, f"hours, index +-{ROUGH:.1%} a minute")
    bars = day_of(CRASH)
    if bars is None:
        report.note("no price file: no crash")
    else:
        _race(report, listing, first, crash(listing, hours, bars), rough, f"{CRASH} 12:00 to 14:00, 15 s a block")
    _many_options(report, shard, listing, first)


def _kernel(report: Report, shard: Shard) -> None:
    """The kernel alone, on legs in the order that it takes them in."""
    accounts, positions, model = shard.ledger.books, shard.ledger.positions, shard.portfolio.model
    assert model is not None
    table = shard.portfolio.table(shard)
    key = positions.key[: accounts * LEGS].reshape(accounts, LEGS)
    order = np.argsort(table.line[key], axis=1, kind="stable")
    quantity = (positions.lots[: accounts * LEGS] / shard.parameters.lot_scale[key.ravel()]).reshape(key.shape)
    instrument = np.take_along_axis(key, order, 1).ravel()
    quantity = np.take_along_axis(quantity, order, 1)
    start, found, room = np.arange(accounts + 1) * LEGS, np.empty((accounts, 2)), room_for(model.units)
    held = start, instrument, quantity.ravel(), np.zeros(accounts), room, found

    def margin() -> None:
        portfolio_risks(table, model.units, model.correlations, *held)

    margin()
    gains = np.ascontiguousarray(table.values[key[0], :SCENARIOS])
    product = np.empty((accounts, SCENARIOS))
    words = [whole_words(column) for column in (instrument, quantity.ravel(), found.ravel())]
    read(words[0][:1])
    seconds = best(margin)
    multiplied = _least(lambda: np.matmul(quantity, gains, out=product))
    reading = best(lambda: [read(column) for column in words])
    work = accounts * LEGS * SCENARIOS
    under = f"{accounts:,} accounts x {LEGS} legs x {SCENARIOS} scenarios, one thread"
    report.add("kernel, full requirement", seconds * 1e3, "ms", under)
    report.add("kernel, accounts x legs x scenarios", work / seconds / 1e6, "million/s", under)
    report.add("matmul of the same shape", multiplied * 1e3, "ms", under)
    report.add("matmul, accounts x legs x scenarios", work / multiplied / 1e6, "million/s", under)
    report.add("legs and results read once", reading * 1e3, "ms", under)
    report.ratio(f"kernel to matmul, {under}", seconds, multiplied)
    report.ratio(f"kernel to reading, {under}", seconds, reading)


def _least(work: Callable[[], object]) -> float:
    """Least seconds of the clock in a few rounds; the BLAS may use threads of its own."""
    took = []
    for _ in range(9):
        began = clock.perf_counter()
        work()
        took.append(clock.perf_counter() - began)
    return min(took)


def _calm(report: Report, shard: Shard, listing: Listed, first: Market) -> None:
    """A minute of small moves with the index, then margining every book."""
    shard.slack = counting = Counting()
    rng, seconds = np.random.default_rng(3), []
    now = first
    for _ in range(TICKS + 1):
        moved = now.index_price * (1.0 + CALM * float(rng.standard_normal()))
        volatility = now.volatility * (1.0 + SMILE * rng.standard_normal(len(now.volatility)))
        now = listing.market(now.time + 1_000, moved, volatility, first.forward / first.index_price)
        seconds.append(_folded(shard, block(listing, now)))
    shard.slack = Everything()
    whole = []
    for at in range(1, 4):
        moved = now.index_price * (1.0 + CALM * at)
        later = listing.market(now.time + at, moved, now.volatility, first.forward / first.index_price)
        whole.append(_folded(shard, block(listing, later)))
    accounts = shard.ledger.books
    under = f"{accounts:,} accounts x {LEGS} legs x {SCENARIOS} scenarios, {len(listing.options)} options"
    indexed = np.array(seconds[1:])
    report.add("marks block, all margined", min(whole) * 1e3, "ms", under)
    report.add("marks block with the index, median", float(np.median(indexed)) * 1e3, "ms", under)
    report.add("marks block with the index, p99", float(np.quantile(indexed, 0.99)) * 1e3, "ms", under)
    report.add("first block: margining and anchoring all", seconds[0] * 1e3, "ms", under)
    report.add("share of books margined, mean", float(np.mean(counting.counts)) / accounts * 100, "%", under)
    report.ratio(f"median marks block, {under}", min(whole), float(np.median(indexed)))


def _folded(shard: Shard, data: bytes) -> float:
    """Seconds of the thread that folding the block takes, but for what decisions and summaries do."""
    began, making = clock.thread_time(), MAKING.seconds
    shard.apply(shard.next_offset, data)
    return clock.thread_time() - began - (MAKING.seconds - making)


def _race(report: Report, listing: Listed, first: Market, markets: Iterable[Market], accounts: int, what: str) -> None:
    """The moments on two shards, each block compared."""
    swift, plain = (shard_of(listing, first, accounts, seed=2) for _ in range(2))
    swift.slack = counting = Counting()
    plain.slack = Everything()
    seconds: tuple[list[float], list[float]] = [], []
    different = decisions = 0
    for market in markets:
        data = block(listing, market)
        sent = []
        for shard, own in zip((swift, plain), seconds, strict=True):
            began, making = clock.thread_time(), MAKING.seconds
            sent.append(list(shard.apply(shard.next_offset, data)))
            own.append(clock.thread_time() - began - (MAKING.seconds - making))
        different += sent[0] != sent[1]
        decisions += sum(one.topic in ("liquidations", "margin-calls") for one in sent[1])
    different += state_hash(swift) != state_hash(plain)
    under = f"{what}, {accounts:,} accounts, {len(seconds[0]):,} blocks"
    indexed, whole = (np.array(own[1:]) for own in seconds)
    report.add("with the index, median block", float(np.median(indexed)) * 1e3, "ms", under)
    report.add("all margined, median block", float(np.median(whole)) * 1e3, "ms", under)
    report.add("share of books margined, mean", float(np.mean(counting.counts)) / accounts * 100, "%", under)
    report.add("decisions", decisions, "", under)
    report.add("blocks whose outputs differ, and state", different, "", under)
    report.ratio(f"all blocks, {under}", float(whole.sum()), float(indexed.sum()))


def path(listing: Listed, hours: Sequence[Chain]) -> Iterator[Market]:
    """Moments a minute apart; volatilities and bases of two hours are joined by a line, indexes by a bridge."""
    rng = np.random.default_rng(7)
    time = hours[0].time
    for one, other in pairwise(hours):
        (volatility, basis), (volatility_then, basis_then) = quoted(listing, one), quoted(listing, other)
        steps = np.cumsum(rng.standard_normal(MINUTES)) * ROUGH
        steps -= steps[-1] * np.arange(1, MINUTES + 1) / MINUTES
        for minute in range(MINUTES):
            part = (minute + 1) / MINUTES
            time += MINUTE_MS
            level = one.index_price * (other.index_price / one.index_price) ** part * float(np.exp(steps[minute]))
            smile = volatility + part * (volatility_then - volatility)
            yield listing.market(time, level, smile, basis + part * (basis_then - basis))


def crash(listing: Listed, hours: Sequence[Chain], bars: Bars) -> Iterator[Market]:
    """The worst hours of a day on the chain: the index moves as the coin did, volatilities by SKEW against it."""
    volatility, basis = quoted(listing, hours[0])
    begin = bars.start + CRASH_FROM_MS
    first = None
    for tick in ticks_of(bars.between(begin, begin + CRASH_MS), CRASH_STEP_MS):
        if COIN in tick.prices:
            first = first or tick.prices[COIN]
            moved = tick.prices[COIN] / first
            level = hours[0].index_price * moved
            yield listing.market(hours[0].time + tick.time - begin, level, volatility * moved**SKEW, basis)


def _many_options(report: Report, shard: Shard, listing: Listed, first: Market) -> None:
    """What a tick costs for the options listed, whoever holds them."""
    desk, names = OptionDesk(), [f"{o.expiry}-{o.strike:.0f}-{o.right}" for o in listing.options]
    told = zip(names, listing.options, strict=True)
    desk.list(Told(name, COIN, o.expiry, o.right, o.strike, False) for name, o in told)
    volatilities = zip(names, first.volatility.tolist(), strict=True)
    desk.take(Volatility(name, "desk", first.time, volatility, None, ()) for name, volatility in volatilities)
    book, model, at = desk.book(COIN), shard.portfolio.model, shard.portfolio.view(shard)
    assert model is not None
    assert at is not None
    made_of = at.volatility, at.forward, at.discount
    market = RiskMarket(shard.prices.marks, shard.prices.prices, *made_of, at.index_price, at.time)
    rows = np.arange(len(model.unit), dtype=np.int32)
    timed: dict[str, Callable[[], object]] = {
        "oracle, marks of all": lambda: book.marks(first.index_price, {}, first.time, MINUTE_MS),
        "shard, risk table of all": lambda: model.table(model.rows(market), rows, curves=False),
        "shard, changelog record of what marks are made of": lambda: state.options_record(shard),
    }
    under = f"{len(listing.options)} options"
    for what, work in timed.items():
        report.add(what, best(work) * 1e3, "ms", under)
    report.add("that record", len(state.options_record(shard)), "bytes", under)
