"""What a worker does with messages that wait: fills until they are durable, quotes until all shards have judged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

from streams.bench import records
from streams.bench.records import PRICES, SYMBOLS, Row
from streams.bench.usage import frozen
from streams.bench.worker import Bench

#: Share of the fills that pass before the clock starts: kernels are loaded, caches filled.
WARM_UP = 0.1


class Rate(NamedTuple):
    """Messages a second over so many seconds, and cores used in them by process."""

    messages: int
    seconds: float
    cores: dict[str, float]

    @property
    def per_second(self) -> float:
        return self.messages / self.seconds


async def fills(bench: Bench, count: int, accounts: int) -> Rate:
    """Start the worker, give it books, and time it on `count` fills that were written while it was frozen."""
    warm_up = int(WARM_UP * count)
    await bench.send("instruments", records.terms())
    await bench.send("oracle-prices", records.quotes())
    await bench.send("collateral", records.deposits(accounts))
    await bench.send("fills", records.positions(accounts))
    await bench.send("fills", records.trades(warm_up, accounts))
    await bench.start()
    await bench.wait_ingested()
    await bench.wait_applied()
    with frozen(bench.pid):
        await bench.send("fills", records.trades(count, accounts, warm_up))
        before = bench.usage()
    await bench.wait_ingested()
    await bench.wait_applied()
    after = bench.usage()
    return Rate(count, after.at - before.at, after.cores(before))


async def quotes(bench: Bench, count: int) -> Rate:
    """Send `count` quotes as fast as we can, and wait until the oracle has taken them and all shards have judged."""
    before = bench.usage()
    await bench.send("oracle-prices", _wiggled(count))
    ends = sum((await bench.ends("oracle-prices")).values())
    while await bench.committed("oracle", "oracle-prices") < ends:  # noqa: ASYNC110 - no event to wait for
        await asyncio.sleep(0.02)
    await bench.wait_applied()
    after = bench.usage()
    return Rate(count, after.at - before.at, after.cores(before))


def _wiggled(count: int) -> Iterator[Row]:
    for number in range(count):
        symbol = SYMBOLS[number % len(SYMBOLS)]
        yield records.quote(symbol, PRICES[symbol] * (1 + number % 1009 * 1e-6))
