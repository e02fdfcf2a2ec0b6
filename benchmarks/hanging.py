"""A writer is killed inside an ingest transaction: how long its open transaction keeps marks from the shards.

Ingest runs in a process of its own and is killed just before it commits, with rows for every shard written; the oracle
and the shards live on. A reader of committed data passes the open transaction when it is settled: by a successor, which
begins with that, or by the broker.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.fleet import Member, held_by, until
from benchmarks.report import Report
from schemas.journal import Block
from streams.bench import records
from streams.bench.worker import PARTITIONS, Bench

ACCOUNTS, ROWS = 1_000, 4_000
SECONDS_MAX = 90.0
CRASHING = (sys.executable, "-m", "tests.faults.crashing_worker")
FATE = {"role": "ingest", "point": "before", "step": "ending", "turn": 0, "seconds": 0.0}


async def measure(report: Report, bench: Bench, folder: Path) -> None:
    """Without a successor, with another worker, with the same one started again, and that as a static member."""
    async with bench:
        fate = folder / f"{bench.prefix}.fate"
        judge = Member(bench, folder, "judge", roles=("oracle", "margin"))
        writer = _writer(bench, folder, "writer", fate)
        fixed = _writer(bench, folder, "fixed", fate, instance_id="fixed")
        spare = Member(bench, folder, "spare", roles=("ingest",))
        settings = bench.settings
        under = f"transaction {settings.transaction_timeout_ms / 1000:g} s, session {settings.session_seconds:g} s"
        try:
            judge.start()
            writer.start()
            await bench.send("instruments", records.terms())
            await bench.send("collateral", records.deposits(ACCOUNTS))
            await bench.send("oracle-prices", records.quotes())
            await held_by([judge])
            await bench.wait_ingested()
            again = "started again at once"
            for what, victim, standing_by, successor in (
                ("nobody takes over", writer, (), None),
                ("another worker takes over", writer, (spare,), None),
                (again, writer, (), writer),
                (f"a static member, {again}", fixed, (), fixed),
            ):
                await _running([victim, *standing_by])
                seconds = await _marks_again(bench, fate, victim, successor)
                report.add(f"writer killed in a transaction, {what}: marks in every shard again", seconds, "s", under)
                await _settled([victim, *standing_by])
        finally:
            for member in (judge, writer, fixed, spare):
                await member.end()
    report.note(
        "An open transaction of a dead writer lasts for its time-out and up to the broker's clean-up interval (1 s "
        "here, 10 s by default), or until a successor starts. While sources are not read marks come once a second, so "
        "exact are these numbers."
    )


def _writer(bench: Bench, folder: Path, name: str, fate: Path, **settings: Any) -> Member:
    """A worker that ingests, and can be told to kill itself."""
    environment = {"CROSSMARGIN_FATE": str(fate)}
    return Member(bench, folder, name, command=CRASHING, environment=environment, roles=("ingest",), **settings)


async def _running(members: Sequence[Member]) -> None:
    """Until they run, and each holds a part of the fills."""
    for member in members:
        if not member.alive:
            member.start()
    await until(lambda: all(member.ready and member.fills() for member in members), "fills held", members)


async def _settled(members: Sequence[Member]) -> None:
    """Have what is open settled by whoever holds it next, and stop them all."""
    await _running(members)
    for member in members:
        await member.end()


async def _marks_again(bench: Bench, fate: Path, victim: Member, successor: Member | None) -> float:
    """Have the victim die; seconds until marks that were made later have reached all shards."""
    consumer = AIOKafkaConsumer(**bench.client, isolation_level="read_committed", fetch_max_wait_ms=20)
    await consumer.start()
    try:
        partitions = [TopicPartition(f"{bench.prefix}.journal", shard) for shard in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_end()
        for tp in partitions:
            await consumer.position(tp)
        fate.write_text(json.dumps(FATE))  # noqa: ASYNC240 - takes no time
        await bench.send("fills", records.trades(ROWS, ACCOUNTS, victim.pid * ROWS))
        await asyncio.to_thread(victim.wait)
        died, died_ms = time.monotonic(), time.time() * 1000
        fate.unlink()  # noqa: ASYNC240 - takes no time
        if successor is not None:
            successor.start()
        waiting = set(range(PARTITIONS))
        while waiting:
            if time.monotonic() > died + SECONDS_MAX:
                raise TimeoutError(f"marks must reach all shards within {SECONDS_MAX:g} s, {sorted(waiting)} have none")
            for tp, found in (await consumer.getmany(timeout_ms=50)).items():
                blocks = (Block.decode(record.value) for record in found)
                if any(block.kind == "marks" and block.extra["time"] > died_ms for block in blocks):
                    waiting.discard(tp.partition)
        return time.monotonic() - died
    finally:
        await consumer.stop()
