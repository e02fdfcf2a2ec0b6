"""A worker comes back with all its accounts, from a real broker: seconds until it is ready, processor time and memory.

The journal of each shard is written to its topic and folded here; the state goes to the changelog with the worker's own
writer, in one transaction with the journal's offset, one record an account, as compaction leaves it. Then a worker of
all roles is started on these topics, and must have every account, with the same sums, and margin them all again. A
worker of topics without accounts is what its numbers are counted from.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import TopicPartition

from benchmarks.books import POSITIONS, journal, marks, names
from benchmarks.report import Report
from schemas.sharding import shard_of
from streams.agents.margin import POSITION_KEY
from streams.bench import records
from streams.bench.usage import usage
from streams.bench.worker import PARTITIONS, Bench
from streams.engine import state
from streams.engine.shard import Shard
from streams.engine.views import shard_view
from streams.kafka.broker import LocalBroker
from streams.kafka.transactions import PartitionWriter
from streams.rows import Rows

#: Of a transaction that holds a shard's whole changelog; the worker's are as every user's.
WRITE_MS_MAX = 60_000
#: Blocks of the journal that are on their way at once.
SENDING_MAX = 16
#: Between two looks at a shard's page, which sums over all its accounts.
LOOK_SECONDS = 0.25


class Started(NamedTuple):
    """Seconds until a worker is ready, cores' seconds by process, and its memory then and at its most, MiB."""

    seconds: float
    used: dict[str, float]
    resident: float
    peak: float


def run(report: Report, accounts: int) -> None:
    """Write a changelog of so many accounts, and start a worker on it."""
    with tempfile.TemporaryDirectory() as folder, LocalBroker(Path(folder) / "broker") as broker:
        none = Bench(broker, Path(folder), "none", quote_age_ms_max=3_600_000)
        empty = asyncio.run(_empty(none, broker))
        bench = Bench(broker, Path(folder), "restart", quote_age_ms_max=3_600_000)
        asyncio.run(measure(report, bench, broker, accounts, empty))


async def _empty(bench: Bench, broker: LocalBroker) -> Started:
    async with bench:
        await bench.send("instruments", records.terms())
        return await _started(bench, broker)


async def measure(report: Report, bench: Bench, broker: LocalBroker, accounts: int, empty: Started) -> None:
    """The changelog, the worker, and whether all is there."""
    under = (
        f"{accounts:,} accounts x {POSITIONS} positions, {PARTITIONS} shards, a worker of all roles on a real broker"
    )
    async with bench:
        await bench.send("instruments", records.terms())
        shards: list[list[str]] = [[] for _ in range(PARTITIONS)]
        for name in names(accounts):
            shards[shard_of(name, PARTITIONS)].append(name)
        written = [await _write(bench, partition, named) for partition, named in enumerate(shards)]
        await bench.send("oracle-prices", records.quotes())
        found = await _started(bench, broker)
        began = time.monotonic() - found.seconds
        await _margined(bench)
        margined = time.monotonic() - began
        now, most = bench.memory_mib()
        for partition, sums in enumerate(written):
            if (back := _sums(bench.get(f"/shards/{partition}"))) != sums:
                raise ValueError(f"shard {partition} must come back with {sums}, found {back}")
    report.add("start to ready", found.seconds, "s", under)
    report.add("start to ready, without accounts", empty.seconds, "s", "the same, empty topics")
    report.add("start to every account margined", margined, "s", f"{under}; quotes wait for it")
    for name in ("worker", "broker"):
        report.add(
            f"CPU of the {name} until ready", found.used[name], "s", f"without accounts {empty.used[name]:.2f} s"
        )
    above = f"above a worker without accounts, {empty.resident:.0f} MiB"
    for what, memory in (
        ("resident when ready", found.resident),
        ("peak until ready", found.peak),
        ("resident, every account margined", now),
        ("peak until every account is margined", most),
    ):
        each = (memory - empty.resident) * 2**20 / accounts
        report.add(f"{what}, an account", each, "bytes", f"{under}; {memory:.0f} MiB in all; {above}")
    report.ratio("resident bytes of an account to 1.5 KB", (now - empty.resident) * 2**20 / accounts, 1500, "at most 1")


async def _started(bench: Bench, broker: LocalBroker) -> Started:
    """Start the worker; what it took until it was ready."""
    watched = {"broker": broker.pid, "load generator": os.getpid()}
    before = usage(watched, {})
    seconds = await bench.start()
    after = usage(watched, {"worker": bench.pid})
    used = {name: at - before.seconds.get(name, 0.0) for name, at in after.seconds.items()}
    return Started(seconds, used, *bench.memory_mib())


async def _write(bench: Bench, partition: int, accounts: list[str]) -> dict[str, Any]:
    """Journal and changelog of one shard; its sums."""
    shard, offset = Shard(partition), 0
    journal_tp = TopicPartition(f"{bench.prefix}.journal", partition)
    changelog_tp = TopicPartition(f"{bench.prefix}.margin-changelog", partition)
    sending: list[Any] = []
    for offset, block in enumerate(chain(journal(accounts), [marks(int(time.time() * 1000))])):
        data = block.encode()
        shard.apply(offset, data)
        sending.append(await bench.producer.send(journal_tp.topic, data, partition=partition))
        if len(sending) == SENDING_MAX:
            await asyncio.gather(*sending)
            sending.clear()
    await asyncio.gather(*sending)
    rows = Rows.joined([state.dirty(shard), Rows.of([(POSITION_KEY, str(offset + 1).encode())])])
    writer = PartitionWriter(
        f"{bench.prefix}-margin-{journal_tp.topic}-{partition}", bench.client, transaction_timeout_ms=WRITE_MS_MAX
    )
    await writer.start()
    try:
        await writer.commit({changelog_tp: rows}, {journal_tp: offset + 1}, f"{bench.prefix}-margin")
    finally:
        await writer.stop()
    return _sums(shard_view(shard))


async def _margined(bench: Bench) -> None:
    """Until every shard is live and no account is without a price."""
    for partition in range(PARTITIONS):

        def margined(path: str = f"/shards/{partition}") -> bool:
            shown = bench.get(path)
            return bool(shown["live"]) and shown["statuses"]["unpriced"] == 0

        await bench.until(margined, LOOK_SECONDS)


def _sums(shown: dict[str, Any]) -> dict[str, Any]:
    """What the page of a shard says of its accounts: how many, rows applied, sums of all assets and instruments."""
    held = {name: entry["accounts"] for what in ("assets", "lots") for name, entry in shown[what].items()}
    return {"accounts": shown["accounts"], "rows": shown["rows"], **held}
