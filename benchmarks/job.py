"""The common job of all peers: its messages, made once for all of them, and which accounts must breach, with what.

Fills come in parts. A part is a stretch of the pool of ordinary fills, which breach nobody; then fills that take some
of its accounts below their maintenance; then one fill in each partition that does so to an account of its own, the
done marks. What an account must have when it breaches is folded in integers from all its fills, so the numbers of a
breach show whether position and cash were kept right. Knows nothing of Kafka.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.sharding import shard_of

I64 = npt.NDArray[np.int64]

PARTITIONS = 4
CASH = 100_000
#: Prices of the underlyings when the fills are made, and what BTC falls to in the check.
PRICES = {"BTC": 50_000, "ETH": 2_000, "SOL": 100, "XRP": 1}
FALLEN_BTC = 49_000
FEE_CENTS = 1
#: Hundredths of a unit; a fill of the pool is at most about 1,000 USDC.
LOTS_MAX = {"BTC": 2, "ETH": 50, "SOL": 1_000, "XRP": 100_000}
#: Lots that breach an account at any price of BTC here, and lots that breach it when BTC falls.
BREACHING_LOTS, NEAR_LOTS = 6_000, 3_500
BREACHES = 20
SEED = 11

SYMBOLS = tuple(PRICES)
_TICKS = 10_000  # of a price
_UNITS = 100 * _TICKS  # a lot times a tick is so small a part of a USDC

#: partition -> rows of key and value
Rows = dict[int, list[tuple[bytes, bytes]]]


class Breach(NamedTuple):
    """Equity and maintenance margin of an account when it breached, USDC."""

    equity: float
    maintenance_margin: float


@dataclass(frozen=True, kw_only=True)
class Part:
    """Messages of one part, how many, its done marks, and all accounts that must breach by its end."""

    rows: Rows
    count: int
    done: frozenset[str]
    breaches: dict[str, Breach]


class Pool:
    """Ordinary fills of many accounts, as bytes and as columns.

    Attributes
    ----------
    account, symbol, lots, ticks : int64 arrays, shape (n_fills,); number of the account and of the symbol, signed
        hundredths of a unit, ten-thousandths of a price
    """

    def __init__(self, count: int, accounts: int) -> None:
        chance = np.random.default_rng(SEED)
        self.names = [f"a{number}" for number in range(accounts)]
        self.partition = np.array([shard_of(name, PARTITIONS) for name in self.names])
        self.account = np.arange(count) * 7919 % accounts
        self.symbol = chance.integers(0, len(SYMBOLS), count)
        most, price = np.array([*LOTS_MAX.values()]), np.array([*PRICES.values()])
        self.lots = chance.integers(1, most[self.symbol] + 1) * chance.choice([-1, 1], count)
        self.ticks = price[self.symbol] * _TICKS + chance.integers(-9, 10, count) * price[self.symbol]
        now = int(time.time() * 1000)
        keys = [name.encode() for name in self.names]
        columns = zip(*(column.tolist() for column in (self.account, self.symbol, self.lots, self.ticks)), strict=True)
        self.rows = [
            (keys[account], fill_value(f"f{number}", self.names[account], symbol, lots, ticks, now))
            for number, (account, symbol, lots, ticks) in enumerate(columns)
        ]

    def __len__(self) -> int:
        return len(self.rows)


class Job:
    """The parts that one peer is given, from the beginning of the pool, and its books as they must be."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.taken = 0
        self._prices = np.array([*PRICES.values()]) * _TICKS
        self._lots = np.zeros((len(pool.names), len(SYMBOLS)), np.int64)
        self._cost = np.zeros(len(pool.names), np.int64)
        self._fills = np.zeros(len(pool.names), np.int64)
        self._near: list[int] = []
        self._breached: set[int] = set()

    def part(self, run: str, count: int, *, near: bool = False) -> Part:
        """The next `count` fills of the pool and the breaches after them; with `near`, also those that `fall` takes."""
        pool, first = self.pool, self.taken
        self.taken = end = min(first + count, len(pool))
        self._book(pool.account[first:end], pool.symbol[first:end], pool.lots[first:end], pool.ticks[first:end])
        rows: Rows = {partition: [] for partition in range(PARTITIONS)}
        for partition, row in zip(pool.partition[pool.account[first:end]].tolist(), pool.rows[first:end], strict=True):
            rows[partition].append(row)
        fresh = [int(a) for a in dict.fromkeys(pool.account[first:end].tolist()) if a not in self._breached]
        over = fresh[:BREACHES]
        self._extra(rows, f"b{run}", over, BREACHING_LOTS)
        self._breached.update(over)
        breaches = self._must(over)
        if near:
            self._near = fresh[BREACHES : 3 * BREACHES]
            self._extra(rows, f"n{run}", self._near, NEAR_LOTS)
        marks = done_marks(run)
        for partition, name in enumerate(marks):
            value = fill_value("d", name, 0, BREACHING_LOTS, int(self._prices[0]), _now())
            rows[partition].append((name.encode(), value))
        return Part(
            rows=rows,
            count=sum(map(len, rows.values())),
            done=frozenset(marks),
            breaches=breaches | dict.fromkeys(marks, self._done_breach()),
        )

    def fall(self) -> dict[str, Breach]:
        """BTC is FALLEN_BTC from now on; the accounts that this takes below their maintenance."""
        self._prices[0] = FALLEN_BTC * _TICKS
        self._breached.update(self._near)
        return self._must(self._near)

    def _book(self, account: I64, symbol: I64, lots: I64, ticks: I64) -> None:
        np.add.at(self._lots, (account, symbol), lots)
        np.add.at(self._cost, account, lots * ticks)
        np.add.at(self._fills, account, 1)

    def _extra(self, rows: Rows, id: str, accounts: list[int], lots: int) -> None:
        """A fill of BTC at its price for each of these accounts."""
        pool, ticks = self.pool, int(self._prices[0])
        numbers = np.array(accounts)
        same = np.ones_like(numbers)
        self._book(numbers, 0 * same, lots * same, ticks * same)
        for account in accounts:
            name = pool.names[account]
            value = fill_value(id, name, 0, lots, ticks, _now())
            rows[int(pool.partition[account])].append((name.encode(), value))

    def _must(self, accounts: list[int]) -> dict[str, Breach]:
        """What these accounts' breaches must say; raises where one does not breach."""
        found = {}
        for account in accounts:
            value = self._lots[account] * self._prices
            equity = (
                CASH - FEE_CENTS / 100 * int(self._fills[account]) + int(value.sum() - self._cost[account]) / _UNITS
            )
            maintenance = int(np.abs(value).sum()) / _UNITS / 20
            if not 0 < equity < maintenance:
                raise ValueError(f"equity must be from 0 to {maintenance}, found {equity} (account {account})")
            found[self.pool.names[account]] = Breach(equity, maintenance)
        return found

    def _done_breach(self) -> Breach:
        maintenance = BREACHING_LOTS * int(self._prices[0]) / _UNITS / 20
        return Breach(CASH - FEE_CENTS / 100, maintenance)


def done_marks(run: str) -> list[str]:
    """An account's name for each partition, in their order: the first that its key's hash puts there."""
    return [
        next(name for n in range(1000) if shard_of(name := f"done-{run}-{p}-{n}", PARTITIONS) == p)
        for p in range(PARTITIONS)
    ]


def fill_value(id: str, account: str, symbol: int, lots: int, ticks: int, now_ms: int) -> bytes:
    """Value of a fill; the fee is one cent."""
    sign, lots = "-" if lots < 0 else "", abs(lots)
    return (
        f'{{"fill_id":"{id}","account":"{account}","instrument":"{SYMBOLS[symbol]}-PERP",'
        f'"quantity":"{sign}{lots // 100}.{lots % 100:02}","price":"{ticks // _TICKS}.{ticks % _TICKS:04}",'
        f'"fee":"0.01","time":{now_ms}}}'
    ).encode()


def price_row(symbol: str, price: int) -> bytes:
    """Value of a price."""
    return f'{{"symbol":"{symbol}","source":"one","price":"{price}","time":{_now()}}}'.encode()


def differences(found: dict[str, Breach], expected: dict[str, Breach], tolerance: float = 1e-3) -> Iterable[str]:
    """One line for each account that breached and must not, that did not and must, or whose numbers are wrong."""
    for account in sorted(found.keys() - expected.keys()):
        yield f"{account} must not breach, found {found[account]}"
    for account in sorted(expected.keys() - found.keys()):
        yield f"{account} must breach with {expected[account]}, found nothing"
    for account in sorted(expected.keys() & found.keys()):
        if max(abs(a - b) for a, b in zip(found[account], expected[account], strict=True)) > tolerance:
            yield f"{account} must breach with {expected[account]}, found {found[account]}"


def _now() -> int:
    return int(time.time() * 1000)
