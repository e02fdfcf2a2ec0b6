"""What a worker does with messages as they come: quotes and fills at set rates, and how soon it liquidates.

BTC falls a little with each of its quotes, and each few take one more account below its line. The latency of a
liquidation is counted from the broker's append time of the first quote below that line to the moment at which a
`read_committed` consumer has it; so on a cluster the clocks of broker and consumer must agree.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.bench.orders import Orders
from streams.bench.records import PRICES, SYMBOLS, Row, deposit, fill, quote, trades
from streams.bench.worker import Bench

VICTIMS_A_SECOND = 6.0
#: Each victim's line lies so far below that of the one before, and the first so far below the price.
LINE_STEP = 4.0
STEP_SECONDS = 0.01
SETTLE_SECONDS = 2.0
FIRST_TRADE = 1 << 30


class Live(NamedTuple):
    """What came of it.

    Attributes
    ----------
    seconds, fills, quotes : how long, and how many were sent
    behind : seconds after the last message until everything was durable
    latencies_ms : quote to liquidation, of each that was heard
    missed : liquidations that should have been heard
    cores : cores used, by process
    """

    seconds: float
    fills: int
    quotes: int
    behind: float
    latencies_ms: list[float]
    missed: int
    cores: dict[str, float]


async def live(bench: Bench, *, seconds: float, fill_rate: float, quote_rate: float, accounts: int) -> Live:
    """Send at both rates for so many seconds to a worker that runs and has its books."""
    lines = await _victims(bench, int(VICTIMS_A_SECOND * seconds))
    heard: dict[str, float] = {}
    async with _listening(bench, heard):
        before = bench.usage()
        began = time.monotonic()
        crossed, fills, quotes = await _send(
            bench, lines, seconds=seconds, fill_rate=fill_rate, quote_rate=quote_rate, accounts=accounts
        )
        ended = time.monotonic()
        await bench.wait_ingested()
        behind = await bench.wait_applied() - ended
        cores = bench.usage().cores(before)
        await asyncio.sleep(SETTLE_SECONDS)
    latencies = [1000 * heard[name] - at for name, at in crossed.items() if name in heard]
    return Live(ended - began, fills, quotes, behind, latencies, len(crossed) - len(latencies), cores)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie.

    >>> quantile([1.0, 5.0, 2.0, 4.0, 3.0], 0.5)
    3.0
    """
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def _victims(bench: Bench, count: int) -> dict[str, float]:
    """Open accounts long one BTC; account -> the price below which it is liquidated."""
    price = PRICES["BTC"]
    lines = {f"v{n}": price - LINE_STEP * (n + 1) for n in range(count)}
    # Liquidated where cash + price - opening price < 0.05 x price.
    await bench.send("collateral", (deposit(name, price - 0.95 * line) for name, line in lines.items()))
    await bench.wait_ingested()
    await bench.send("fills", (fill("o", name, "BTC", "1", price) for name in lines))
    await bench.wait_ingested()
    await bench.wait_applied()
    return lines


async def _send(
    bench: Bench, lines: dict[str, float], *, seconds: float, fill_rate: float, quote_rate: float, accounts: int
) -> tuple[dict[str, float], int, int]:
    """Send to the pace; account -> append time (ms) of the quote that took it below its line, fills, quotes."""
    crossed: dict[str, float] = {}
    waiting = list(lines.items())[::-1]
    price = PRICES["BTC"]
    fall = LINE_STEP * (len(lines) + 1) / (seconds * quote_rate / len(SYMBOLS))
    fills = quotes = 0
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        while quotes < passed * quote_rate:
            symbol = SYMBOLS[quotes % len(SYMBOLS)]
            quotes += 1
            if symbol != "BTC":
                await bench.send("oracle-prices", [quote(symbol, PRICES[symbol] * (1 + quotes % 89 * 1e-6))])
                continue
            price -= fall
            appended_ms = await bench.send_one("oracle-prices", quote(symbol, price))
            while waiting and price < waiting[-1][1]:
                crossed[waiting.pop()[0]] = appended_ms
        wanted = int(passed * fill_rate) - fills
        fills += await bench.send("fills", trades(wanted, accounts, FIRST_TRADE + fills))
        await asyncio.sleep(STEP_SECONDS)
    return crossed, fills, quotes


@asynccontextmanager
async def _listening(bench: Bench, heard: dict[str, float]) -> AsyncIterator[None]:
    """Note when each account's first liquidation arrives, and have the orders filled."""
    topic = f"{bench.prefix}.liquidations"
    consumer = AIOKafkaConsumer(**bench.client, isolation_level="read_committed", fetch_max_wait_ms=100)
    await consumer.start()
    consumer.assign([TopicPartition(topic, partition) for partition in range(bench.counts[topic])])
    await consumer.seek_to_end()

    orders = Orders()
    to_fill: asyncio.Queue[Row] = asyncio.Queue()

    async def listen() -> None:
        while True:
            fetched = await consumer.getmany(timeout_ms=1_000)
            now = time.time()
            for event in (json.loads(record.value) for records in fetched.values() for record in records):
                if event["kind"] == "liquidation":
                    heard.setdefault(event["account"], now)
                    for row in orders.fills(event):
                        to_fill.put_nowait(row)

    async def answer() -> None:
        while True:
            rows = [await to_fill.get()]
            while not to_fill.empty():
                rows.append(to_fill.get_nowait())
            await bench.send("fills", rows)

    tasks = asyncio.create_task(listen()), asyncio.create_task(answer())
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await consumer.stop()
