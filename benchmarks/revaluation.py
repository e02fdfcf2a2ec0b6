"""Full revaluation of 1,000,000 accounts of four positions by the engine's own kernel, against reading their bytes.

The reading loop adds up the very arrays that hold what is valued (instrument, lots, cost and funding index of each
position; asset and amount of each balance), once, on one thread as the kernel. Flat books have one rate, one
settlement asset and its cash; mixed ones are the demo's instruments and kinds of books: tiers, size premium, inverse
contracts, haircut tiers, coins and debts.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numba import njit

from benchmarks.population import draw, marks, shard_of
from benchmarks.report import Report
from streams.demo.market import ASSETS, START
from streams.demo.universe import Asset, Universe, universe
from streams.engine.judge import judged_now
from streams.engine.shard import Shard

PRICES = {"USDC": 1.0, "USDT": 1.0} | {name: price for name, (price, _, _) in ASSETS.items()}
POSITIONS = 4
LEVERAGE = 4.0
ROUNDS = 7


@njit(cache=True)
def read(key: Any, lots: Any, cost: Any, funding: Any, asset: Any, amount: Any) -> int:
    """The sum of all that is valued."""
    total = 0
    for at in range(key.shape[0]):
        total += key[at]
    for at in range(lots.shape[0]):
        total += lots[at]
    for at in range(cost.shape[0]):
        total += cost[at]
    for at in range(funding.shape[0]):
        total += funding[at]
    for at in range(asset.shape[0]):
        total += asset[at]
    for at in range(amount.shape[0]):
        total += amount[at]
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
    """Seconds to value and to read all books, and bytes valued an account."""
    positions, balances = shard.ledger.positions, shard.ledger.balances
    columns = (positions.key, positions.lots, positions.cost, positions.funding, balances.key, balances.amount)
    books = np.arange(shard.ledger.books, dtype=np.int64)
    judged_now(shard, books[:1])
    read(*(column[:1] for column in columns))
    seconds = best(lambda: judged_now(shard, books)), best(lambda: read(*columns))
    return *seconds, sum(column.nbytes for column in columns) / len(books)


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
