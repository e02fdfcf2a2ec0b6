"""How long accounts go unmargined when the worker that holds them goes, and marks unread when a writer dies.

BTC falls a little all the time, and each fall must liquidate one account of each shard. A shard is margined again
once a liquidation is heard of an account that was taken below its line after the worker went.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks import hanging
from benchmarks.fleet import Member, held_by
from benchmarks.report import Report
from schemas.sharding import shard_of
from streams.bench import records
from streams.bench.orders import Orders
from streams.bench.records import PRICES, SYMBOLS, deposit, fill, quote
from streams.bench.worker import PARTITIONS, Bench
from streams.kafka.broker import LocalBroker

ACCOUNTS = 10_000
#: Seconds between two falls of the price; each passes one line, and lines are so many dollars apart.
FALL_SECONDS, LINE_STEP = 0.2, 2.0
FALLS_MAX = 1_000
#: Before a fault, and after it is over.
CALM_SECONDS = 3.0
#: What is not heard so long after its fall is lost.
LOST_SECONDS = 60.0
TIMEOUTS_MS = (10_000, 2_000)
QUOTE_AGE_MS = 3_600_000


def run(report: Report, *, quick: bool) -> None:
    """Deaths, leaves and restarts of one of two workers; then a writer that dies inside a transaction."""
    with tempfile.TemporaryDirectory() as folder, LocalBroker(Path(folder) / "broker") as broker:
        accounts = 1_000 if quick else ACCOUNTS
        bench = Bench(broker, Path(folder), "takeover", quote_age_ms_max=QUOTE_AGE_MS)
        asyncio.run(workers(report, bench, Path(folder), accounts))
        for number, timeout_ms in enumerate(TIMEOUTS_MS[:1] if quick else TIMEOUTS_MS):
            settings = {"quote_age_ms_max": QUOTE_AGE_MS, "transaction_timeout_ms": timeout_ms}
            bench = Bench(broker, Path(folder), f"hanging{number}", **settings)
            asyncio.run(hanging.measure(report, bench, Path(folder)))


# -- a worker goes


async def workers(report: Report, bench: Bench, folder: Path, accounts: int) -> None:
    """One of two workers dies, comes back, leaves; then one of two static members dies and is started again."""
    async with bench:
        market = Market(bench)
        members = [Member(bench, folder, name) for name in ("one", "two")]
        fixed = [Member(bench, folder, name, instance_id=name) for name in ("three", "four")]
        under = (
            f"session {bench.settings.session_seconds:g} s, {accounts:,} accounts, {PARTITIONS} shards on two workers"
        )
        try:
            for member in members:
                member.start()
            await held_by(members)
            await _books(bench, accounts)
            await market.prepare()
            async with market.falling():
                one, two = members
                await _measured(report, market, "kill -9, the other takes over", under, two, two.kill)
                await _joined(report, market, members, two, under)
                await _measured(report, market, "SIGTERM, the other takes over", under, two, two.terminate)
                await two.end()
                await one.end()
                for member in fixed:
                    member.start()
                await held_by(fixed)
                dead = fixed[1]

                def restart() -> None:
                    dead.kill()
                    dead.start()

                await _measured(
                    report, market, "kill -9 of a static member, started again at once", under, dead, restart
                )
            report.add("liquidations that were due", len(market.fallen), "accounts", under)
            report.add("of these not heard, or with an id heard twice", await market.lost(), "accounts", under)
        finally:
            for member in (*members, *fixed):
                await member.end()


async def _measured(
    report: Report, market: Market, what: str, under: str, gone: Member, fault: Callable[[], None]
) -> None:
    """Do it, and report when each shard was margined again."""
    await asyncio.sleep(CALM_SECONDS)
    held = gone.held()
    shards = gone.shards()
    priced = shard_of("BTC", market.bench.counts[f"{market.bench.prefix}.oracle-prices"])
    oracle = priced in held.get(f"{market.bench.prefix}.oracle-prices", [])
    began = time.monotonic()
    await asyncio.to_thread(fault)
    seconds = await market.margined_again(began)
    await asyncio.sleep(CALM_SECONDS)
    others = market.silence(began, set(range(PARTITIONS)) - set(shards))
    under += f"; it held {len(shards)} shards and {'the' if oracle else 'not the'} oracle of the falling price"
    report.add(f"{what}: its accounts margined again", max(seconds[shard] for shard in shards), "s", under)
    report.add(f"{what}: longest silence of the others", others, "s", under)


async def _joined(report: Report, market: Market, members: list[Member], new: Member, under: str) -> None:
    """Start a worker beside the one that holds everything: how long any shard was silent for that."""
    began = time.monotonic()
    new.start()
    await held_by(members)
    await asyncio.sleep(CALM_SECONDS)
    report.add("a worker joins: longest silence of a shard", market.silence(began, set(range(PARTITIONS))), "s", under)


async def _books(bench: Bench, accounts: int) -> None:
    """Accounts far from any call."""
    await bench.send("instruments", records.terms())
    await bench.send("collateral", records.deposits(accounts))
    await bench.wait_ingested()
    await bench.send("fills", records.positions(accounts))
    await bench.wait_ingested()
    await bench.send("oracle-prices", records.quotes())


class Market:
    """The falling price, the accounts that it takes below their lines, and what is heard of them.

    Attributes
    ----------
    fallen : account -> when the broker had the quote below its line, monotonic seconds
    heard : account -> when its first liquidation was read
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.fallen: dict[str, float] = {}
        self.heard: dict[str, float] = {}
        self._ids: Counter[str] = Counter()
        self._orders = Orders()
        self._rows = [[self._name(fall, shard) for shard in range(PARTITIONS)] for fall in range(FALLS_MAX)]

    def _name(self, fall: int, shard: int) -> str:
        number = 0
        while shard_of(name := f"v{fall}-{number}", PARTITIONS) != shard or name in self.fallen:
            number += 1
        return name

    def _line(self, fall: int) -> float:
        return PRICES["BTC"] - LINE_STEP * (fall + 1)

    async def prepare(self) -> None:
        """Open the accounts: long one BTC, liquidated where cash + price - opening price < 0.05 x price."""
        price = PRICES["BTC"]
        named = [(name, self._line(fall)) for fall, names in enumerate(self._rows) for name in names]
        await self.bench.send("collateral", (deposit(name, price - 0.95 * line) for name, line in named))
        await self.bench.wait_ingested()
        await self.bench.send("fills", (fill("o", name, "BTC", "1", price) for name, _ in named))
        await self.bench.wait_ingested()
        await self.bench.wait_applied()

    @asynccontextmanager
    async def falling(self) -> AsyncIterator[None]:
        """The price falls and liquidations are heard, and filled, as long as this lasts."""
        topic = f"{self.bench.prefix}.liquidations"
        consumer = AIOKafkaConsumer(**self.bench.client, isolation_level="read_committed", fetch_max_wait_ms=20)
        await consumer.start()
        consumer.assign([TopicPartition(topic, partition) for partition in range(PARTITIONS)])
        await consumer.seek_to_end()
        tasks = [asyncio.create_task(self._fall()), asyncio.create_task(self._listen(consumer))]
        try:
            yield
            tasks[0].cancel()
            await asyncio.gather(tasks[0], return_exceptions=True)
            await self._until(lambda: self.fallen.keys() <= self.heard.keys(), LOST_SECONDS)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await consumer.stop()

    async def _fall(self) -> None:
        for fall, names in enumerate(self._rows):
            began = time.monotonic()
            await self.bench.send_one("oracle-prices", quote("BTC", self._line(fall) - LINE_STEP / 2))
            self.fallen |= dict.fromkeys(names, time.monotonic())
            await self.bench.send("oracle-prices", [quote(symbol, PRICES[symbol]) for symbol in SYMBOLS[1:]])
            await asyncio.sleep(max(0.0, began + FALL_SECONDS - time.monotonic()))

    async def _listen(self, consumer: Any) -> None:
        async for record in consumer:
            event = json.loads(record.value)
            if event["kind"] == "liquidation":
                self._ids[event["id"]] += 1
                self.heard.setdefault(event["account"], time.monotonic())
                await self.bench.send("fills", self._orders.fills(event))

    async def margined_again(self, since: float) -> dict[int, float]:
        """Shard -> seconds until one of its accounts that fell after `since` was heard of."""
        await self._until(lambda: len(self._first(since)) == PARTITIONS, 2 * LOST_SECONDS)
        if len(self._first(since)) < PARTITIONS:
            raise TimeoutError(f"every shard must be margined again, {sorted(self._first(since))} are")
        return {shard: at - since for shard, at in self._first(since).items()}

    def _first(self, since: float) -> dict[int, float]:
        first: dict[int, float] = {}
        for name, fell in list(self.fallen.items()):
            if fell > since and name in self.heard:
                shard = shard_of(name, PARTITIONS)
                first[shard] = min(first.get(shard, self.heard[name]), self.heard[name])
        return first

    def silence(self, since: float, shards: set[int]) -> float:
        """The longest time for which nothing was heard of one of these shards, whose accounts fall all the time."""
        longest = 0.0
        for shard in shards:
            times = sorted(at for name, at in self.heard.items() if at > since and shard_of(name, PARTITIONS) == shard)
            longest = max([longest, *(b - a for a, b in zip([since, *times], times, strict=False))])
        return longest

    async def lost(self) -> int:
        """Accounts that fell and were never heard of, and liquidations that were heard twice."""
        return len(self.fallen.keys() - self.heard.keys()) + sum(count > 1 for count in self._ids.values())

    async def _until(self, holds: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not holds() and time.monotonic() < end:  # noqa: ASYNC110 - no event to wait for
            await asyncio.sleep(0.02)
