"""Full revaluation of 1,000,000 accounts of four positions by the engine's own kernel, against reading their bytes.

The reading loop adds up the very arrays that the kernel reads, once, as whole words: instrument, units and what was
paid of each position, asset and amount of each balance, and by book where both lie, its levels and what is open. Both
on one thread. Flat books have one rate, one settlement asset and its cash; mixed ones are the demo's instruments and
kinds of books: tiers, size premium, inverse contracts, haircut tiers, coins and debts.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.population import draw, marks, shard_of
from benchmarks.report import Report
from streams.compiled import kernel
from streams.demo.market import ASSETS, START
from streams.demo.universe import Asset, Universe, universe
from streams.engine.judge import judged_now
from streams.engine.judged_books import judged_room
from streams.engine.shard import Shard

PRICES = {"USDC": 1.0, "USDT": 1.0} | {name: price for name, (price, _, _) in ASSETS.items()}
POSITIONS = 4
LEVERAGE = 4.0
ROUNDS = 7


@kernel
def read(words: Any) -> int:
    """The sum of what is valued."""
    total = 0
    for at in range(words.shape[0]):
        total += words[at]
    return total


def flat(prices: Mapping[str, float]) -> Universe:
    """The demo's linear perpetuals at one rate each, and no haircut that matters to them."""
    listed = universe(dict(prices), START)
    linear = {
        name: replace(item, tiers=((0, "0.10", "0.05"),), size_premium_factor="0")
        for name, item in listed.instruments.items()
        if item.type == "perpetual"
    }
    assets: dict[str, Asset] = listed.assets
    return Universe(assets=assets, instruments=linear)


def best(work: Callable[[], object]) -> float:
    """Seconds of the quickest of a few rounds: what others do on the machine only ever adds."""
    took = []
    for _ in range(ROUNDS):
        began = clock.thread_time()
        work()
        took.append(clock.thread_time() - began)
    return min(took)


def measured(shard: Shard) -> tuple[float, float, float]:
    """Seconds to value and to read all books, and bytes read a book."""
    ledger, standing, count = shard.ledger, shard.standing, shard.ledger.books
    positions, balances = ledger.positions, ledger.balances
    columns: list[Any] = [column[: positions.top[0]] for column in (positions.key, *shard.exposures.held(shard))]
    columns += [column[: balances.top[0]] for column in (balances.key, balances.amount)]
    by_book = (positions.start, positions.size, balances.start, balances.size)
    columns += [column[:count] for column in (*by_book, standing.level_set, standing.called, standing.step)]
    words = [whole_words(column) for column in columns]
    books, room = np.arange(count, dtype=np.int64), judged_room(count)
    judged_now(shard, books[:1])
    read(words[0][:1])
    seconds = best(lambda: judged_now(shard, books, room)), best(lambda: [read(column) for column in words])
    return *seconds, sum(column.nbytes for column in columns) / count


def whole_words(column: Any) -> Any:
    """The column's bytes as 64-bit integers, from the first whole word to the last."""
    data = column.view(np.uint8)
    skip = -data.ctypes.data % 8
    return data[skip : skip + (len(data) - skip) // 8 * 8].view(np.int64)


def run(report: Report, *, quick: bool) -> None:
    """Flat and mixed; 50,000 accounts where it is quick."""
    accounts = 50_000 if quick else 1_000_000
    mixed = universe(PRICES, START)
    for name, listed, wanted in (("flat", flat(PRICES), "at most 3"), ("mixed", mixed, "at most 10")):
        population = draw(
            listed, PRICES, accounts=accounts, leverage=LEVERAGE, seed=1, positions=POSITIONS, dollars=name == "flat"
        )
        shard = shard_of(population, PRICES, START)
        basis = dict.fromkeys(listed.instruments, 0.0)
        shard.prices.oracles, shard.prices.modes = 2, {1: "catching_up"}  # takes the marks in and judges nothing
        shard.apply(1, marks(PRICES, basis, listed, START).encode())
        value, reading, size = measured(shard)
        under = f"{accounts:,} accounts x {POSITIONS} positions, {size:.0f} bytes an account, one thread"
        report.add(f"{name} books, valued", value * 1e3, "ms", under)
        report.add(f"{name} books, bytes read", reading * 1e3, "ms", under)
        report.ratio(f"{name} books, valuing to reading, {accounts:,} accounts", value, reading, wanted)
