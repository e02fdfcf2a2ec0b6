"""What a tick costs while prices are trusted, widened, suspect, changing their state, or held against many accounts.

One shard and no Kafka, in seconds of the thread: `Shard.fold` of a marks block of calm prices. Each kind of doubt is
measured on a shard of its own over the same prices.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.population import Population, draw, marks, shard_of
from benchmarks.report import Report
from benchmarks.slack_days import ticks_of
from schemas.journal import PRICE_STATES, Block
from streams.demo.market import market
from streams.demo.universe import universe
from streams.replay.bars import DAY_MS

ACCOUNTS, QUICK_ACCOUNTS = 1_000_000, 50_000
TICKS, CALM, LEVERAGE = 60, 0.00002, 4.0
STEP_MS = 1_000
SUSPECT = PRICE_STATES.index("suspect")

Columns = dict[str, Any]


def plain(columns: Columns, _number: int) -> None:
    """Every price is trusted."""


def widened(columns: Columns, _number: int) -> None:
    """Haircuts are wider, by the same at every tick."""
    columns["widening"][:] = 0.02


def widening(columns: Columns, number: int) -> None:
    """Haircuts are wider by something else at every tick, which no oracle does."""
    columns["widening"][:] = 0.02 + 0.0025 * (number % 2)


def suspect(columns: Columns, _number: int) -> None:
    """The first symbol is suspect, and its check price near."""
    columns["symbol_state"][0], columns["check"][0] = SUSPECT, columns["index"][0] * 1.001


def flapping(columns: Columns, number: int) -> None:
    """Suspect and trusted in turns."""
    if number % 2:
        suspect(columns, number)


#: What is said at each tick, by name, and the rules of its blocks.
KINDS: dict[str, tuple[Callable[[Columns, int], None], int]] = {
    "rules 1": (plain, 1),
    "all trusted": (plain, 2),
    "widened, unchanged": (widened, 2),
    "one symbol suspect": (suspect, 2),
    "one symbol suspect in turns": (flapping, 2),
    "widening changed": (widening, 2),
}


def ticks(population: Population, prices: dict[str, float], kind: str) -> list[float]:
    """Seconds of each tick."""
    doubt, rules = KINDS[kind]
    listed, shard = population.universe, shard_of(population, prices, 0)
    shard.prices.rules_version = rules
    basis = dict.fromkeys(listed.instruments, 0.0)
    rng, seconds = np.random.default_rng(3), []
    for number in range(TICKS):
        prices = {name: price * (1 + CALM * float(rng.standard_normal())) for name, price in prices.items()}
        block = marks(prices, basis, listed, STEP_MS * (number + 1))
        columns = {**block.columns, "widening": np.zeros(len(prices))}
        doubt(columns, number)
        data = replace(block, columns=columns, rules_version=rules).encode()
        began = clock.thread_time()
        shard.fold(number + 1, Block.decode(data))
        seconds.append(clock.thread_time() - began)
    return seconds[TICKS // 3 :]


def run(report: Report, *, quick: bool) -> None:
    """Median tick of each kind of doubt."""
    accounts = QUICK_ACCOUNTS if quick else ACCOUNTS
    first = next(ticks_of(market(seed=19), STEP_MS))
    population = draw(universe(first.prices, DAY_MS), first.prices, accounts=accounts, leverage=LEVERAGE, seed=7)
    for kind in KINDS:
        took = float(np.median(ticks(population, dict(first.prices), kind)))
        report.add(f"tick, {kind}", took * 1e3, "ms", f"{accounts:,} accounts, median")
