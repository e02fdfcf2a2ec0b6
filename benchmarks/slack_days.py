"""The slack index on days of crashes: ticks that judge the books that matter against ticks that judge all.

A shard folds the day with the index, and then another the same blocks, judging every book at every marks block; each
block must give the same outputs on both. One after the other, since judging all leaves nothing of the other's in the
processor's caches. Engine only, no Kafka. A tick is the whole of `Shard.apply` but for the making of
decisions and summaries, which is the same on both, in seconds of the thread, so that others on the machine add
little. Liquidations are filled at the price of the underlying.

Prices: the files crash_2021-05-19*.csv* and crash_2025-10-10*.csv* in the folder that CROSSMARGIN_PRICES names, or in
a `data` folder beside the project; without them a seeded market of the demo stands in for the days.
"""

from __future__ import annotations

import hashlib
import os
import time as clock
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from benchmarks.population import Population, draw, fills, marks, shard_of
from benchmarks.report import Report
from schemas.journal import Block, liquidation_offset
from streams.demo.market import market
from streams.demo.universe import universe
from streams.engine import judge, summaries
from streams.engine.decisions import Output
from streams.engine.shard import Shard
from streams.engine.slack import Slack
from streams.engine.state import state_hash
from streams.margin.parameters import I64
from streams.replay import prices as price_files
from streams.replay.bars import DAY_MS, Bars, steps

ROOT = Path(__file__).parents[1]
DAYS = ("2021-05-19", "2025-10-10")
#: Median notional / collateral of the accounts, each lognormal with standard deviation 0.7, cut by initial margin. The
#: more leverage, the more liquidations, and making them takes most of the benchmark's time: more than an hour in all.
LEVERAGES = (0.5, 1.5, 4.0)
ACCOUNTS = 200_000
QUICK_ACCOUNTS = 5_000
STEP_MS = 15_000
TICKS, CALM, LEVERAGE = 61, 0.0003, 4.0  # of many accounts: how many ticks, and their moves' standard deviation
BASIS = 0.0003  # standard deviation of mark / index - 1


class Tick(NamedTuple):
    """One moment of a day."""

    time: int
    prices: dict[str, float]


class Making:
    """Seconds spent on what both shards must do alike: decisions, and summaries of those they concern."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def watch(self) -> None:
        """From now on."""
        judge._act_all = self._timed(judge._act_all)
        summaries.summaries = self._timed(summaries.summaries)

    def _timed(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            began = clock.thread_time()
            made = work(*arguments)
            self.seconds += clock.thread_time() - began
            return made

        return timed


MAKING = Making()


class Everything(Slack):
    """Judges every book at every marks block."""

    def woken(self, shard: Shard) -> I64:
        return np.arange(shard.ledger.books, dtype=np.int64)

    def anchor(self, *_: object) -> None:
        """Nothing to remember."""


class Counting(Slack):
    """The index, and how many books it woke."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] = []

    def woken(self, shard: Shard) -> I64:
        books = super().woken(shard)
        self.counts.append(len(books))
        return books


@dataclass
class Found:
    """Seconds of each tick with the index and without, share of books judged, decisions, blocks that differ."""

    indexed: list[float] = field(default_factory=list)
    full: list[float] = field(default_factory=list)
    share: list[float] = field(default_factory=list)
    decisions: int = 0
    different: int = 0


def price_file(day: str, prefix: str = "crash_") -> Path | None:
    """The file of a day, None where there is none."""
    folder = os.environ.get("CROSSMARGIN_PRICES")
    found = Path(folder).glob(f"{prefix}{day}*.csv*") if folder else ROOT.parent.glob(f"*/data/{prefix}{day}*.csv*")
    return next(iter(sorted(found)), None)


def ticks_of(bars: Bars, step_ms: int) -> Iterator[Tick]:
    """Every step of the bars; an asset without a bar keeps its price."""
    known = {"USDC": 1.0, "USDT": 1.0}
    for step in steps(bars, step_ms):
        known = known | step.prices()
        yield Tick(step.time, known)


def day_of(day: str) -> Bars | None:
    """The bars of one day of a file."""
    path = price_file(day)
    if path is None:
        return None
    start = price_files.epoch_ms(day)
    return price_files.read([path]).between(start, start + DAY_MS)


class Day:
    """A shard with the index, met by a day's prices; its liquidations are filled at the price of the underlying."""

    def __init__(self, population: Population, first: Tick, seed: int) -> None:
        self.shard = shard_of(population, first.prices, first.time)
        self.shard.slack = self._index = Counting()
        self.found = Found()
        self.blocks: list[tuple[bytes, bytes]] = []  # and a digest of what each gave
        self._population, self._first = population, first
        self._rng = np.random.default_rng(seed)
        self._basis = dict.fromkeys(population.universe.instruments, 0.0)
        self._fold(marks(first.prices, self._basis, population.universe, first.time).encode())

    def tick(self, tick: Tick) -> None:
        """One marks block, timed; then the liquidations of it are filled."""
        for name, basis in self._basis.items():
            self._basis[name] = 0.97 * basis + 0.24 * BASIS * float(self._rng.standard_normal())
        counts = self._index.counts
        before = len(counts)
        seconds, outputs = self._fold(marks(tick.prices, self._basis, self._population.universe, tick.time).encode())
        judged = counts[-1] if len(counts) > before else self.shard.ledger.books
        self.found.indexed.append(seconds)
        self.found.share.append(judged / self.shard.ledger.books)
        self._answer(tick, outputs)

    def again(self) -> None:
        """The same blocks on a shard without the index, timed and compared."""
        plain = shard_of(self._population, self._first.prices, self._first.time)
        plain.slack = Everything()
        for offset, (data, expected) in enumerate(self.blocks, 1):
            seconds, outputs = folded(plain, offset, data)
            self.found.different += digest(outputs) != expected
            if offset > 1 and Block.decode(data).kind == "marks":
                self.found.full.append(seconds)
        self.found.different += state_hash(self.shard) != state_hash(plain)

    def _fold(self, data: bytes) -> tuple[float, list[Output]]:
        seconds, outputs = folded(self.shard, len(self.blocks) + 1, data)
        self.blocks.append((data, digest(outputs)))
        self.found.decisions += sum(one.topic in ("liquidations", "margin-calls") for one in outputs)
        return seconds, outputs

    def _answer(self, tick: Tick, outputs: list[Output]) -> None:
        """Fill what the orders ask for, at the price of the underlying."""
        listed = self._population.universe.instruments
        number = {name: at for at, name in enumerate(listed)}
        rows: list[tuple[int, int, int, int]] = []
        for one in outputs:
            record = orjson.loads(one.value) if one.topic == "liquidations" else {}
            if record.get("kind") == "liquidation":
                account = record["account"]
                offset = liquidation_offset(record["id"], partition=0, account=account, bucket="cross")
                for order in record["orders"]:
                    if "instrument" in order:
                        item = listed[order["instrument"]]
                        lots = round(float(order["quantity"]) * 10**item.quantity_precision)
                        rows.append((int(account.partition("-")[2]), number[item.id], lots, offset or -1))
        if rows:
            account, instrument, lots, offset = np.array(rows, dtype=np.int64).T
            whole = self._population.universe
            self._fold(fills(whole, account, instrument, lots, offset, tick.prices, tick.time).encode())


def folded(shard: Shard, offset: int, data: bytes) -> tuple[float, list[Output]]:
    """Seconds of the block without the making of decisions and summaries, and all that it gave."""
    began, making = clock.thread_time(), MAKING.seconds
    outputs = shard.apply(offset, data)
    return clock.thread_time() - began - (MAKING.seconds - making), list(outputs)


def digest(outputs: list[Output]) -> bytes:
    """Of all that a block gave, in its order."""
    found = hashlib.blake2b(digest_size=16)
    for one in outputs:
        found.update(repr(one).encode())
    return found.digest()


def race(bars: Bars, *, accounts: int, leverage: float, step_ms: int, seed: int = 1) -> Day:
    """The bars with the index, and the same blocks without."""
    walk = ticks_of(bars, step_ms)
    first = next(walk)
    listed = universe(first.prices, bars.end + DAY_MS)
    day = Day(draw(listed, first.prices, accounts=accounts, leverage=leverage, seed=seed), first, seed)
    for tick in walk:
        day.tick(tick)
    day.again()
    return day


def run(report: Report, *, quick: bool) -> None:
    """Both days at three leverages; the first hours of them with few accounts where it is quick."""
    MAKING.watch()
    _many(report, 50_000 if quick else 1_000_000)
    for day in DAYS:
        bars = day_of(day)
        if bars is None:
            bars, day = market(seed=19, count=240), f"seeded market for {day}"
            report.note(f"no price file: a {day}")
        if quick:
            bars = bars.between(bars.start, bars.start + 3 * 3_600_000)
        for leverage in LEVERAGES:
            accounts = QUICK_ACCOUNTS if quick else ACCOUNTS
            _one(report, race(bars, accounts=accounts, leverage=leverage, step_ms=STEP_MS), day, leverage)


def _many(report: Report, accounts: int) -> None:
    """One shard of many accounts: a calm minute of ticks with the index, and judging all of them once."""
    first = next(ticks_of(market(seed=19), STEP_MS))
    listed = universe(first.prices, first.time + DAY_MS)
    population = draw(listed, first.prices, accounts=accounts, leverage=LEVERAGE, seed=3)
    shard = shard_of(population, first.prices, first.time)
    shard.slack = counting = Counting()
    rng, prices, seconds = np.random.default_rng(3), dict(first.prices), []
    basis = dict.fromkeys(listed.instruments, 0.0)
    for number in range(TICKS):
        prices = {name: price * (1 + CALM * float(rng.standard_normal())) for name, price in prices.items()}
        data = marks(prices, basis, listed, first.time + number).encode()
        began = clock.thread_time()
        shard.apply(number + 1, data)
        seconds.append(clock.thread_time() - began)
    began = clock.thread_time()
    judge.judged_now(shard, np.arange(accounts))
    full = clock.thread_time() - began
    under = f"{accounts:,} accounts, prices moving by {CALM:.2%} a tick"
    report.add("indexed tick, median", float(np.median(seconds[1:])) * 1e3, "ms", under)
    report.add("judging all", full * 1e3, "ms", under)
    report.add("first tick: judging and anchoring all", seconds[0] * 1e3, "ms", under)
    report.add("share of books judged, mean", float(np.mean(counting.counts[1:])) / accounts * 100, "%", under)
    report.ratio(f"median tick, {under}", full, float(np.median(seconds[1:])), "at least 30")


def _one(report: Report, run: Day, day: str, leverage: float) -> None:
    found = run.found
    indexed, full, share = np.array(found.indexed), np.array(found.full), np.array(found.share)
    under = f"{day}, {run.shard.ledger.books:,} books, leverage {leverage:g}, a tick each {STEP_MS / 1000:g} s"
    for name, seconds in (("indexed", indexed), ("full", full)):
        report.add(f"{name} tick, median", float(np.median(seconds)) * 1e3, "ms", under)
        report.add(f"{name} tick, p99", float(np.quantile(seconds, 0.99)) * 1e3, "ms", under)
        report.add(f"{name} ticks, sum of the day", float(seconds.sum()), "s", under)
    report.add("share of books judged, median tick", float(np.median(share)) * 100, "%", under)
    report.add("share of books judged, mean", float(share.mean()) * 100, "%", under)
    report.add("decisions", found.decisions, "", under)
    report.add("blocks whose outputs differ, and state", found.different, "", under)
    report.ratio(f"median tick, {under}", float(np.median(full)), float(np.median(indexed)), "at least 30")
    report.ratio(f"whole day, {under}", float(full.sum()), float(indexed.sum()), "at least 10")
