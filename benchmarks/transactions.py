"""One flush as the worker writes it: a record to each of five partitions and a source offset, in one transaction.

Three ways on the same broker in turn: by aiokafka's own sender, and by the worker's writer in the older protocol and in
that of Kafka 4. Time is until the commit is answered; processor time is ours, without the broker's.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from unittest import mock

from aiokafka import AIOKafkaProducer, TopicPartition

from benchmarks.report import Report
from streams.bench.live import quantile
from streams.kafka import transactions
from streams.kafka.batches import Record
from streams.kafka.broker import LocalBroker
from streams.kafka.topics import TopicNeed, ensure_topics
from streams.kafka.transactions import PartitionWriter

TOPIC, GROUP = "flushed", "flushing"
SOURCE = TopicPartition(TOPIC, 5)
RECORDS = {TopicPartition(TOPIC, partition): [Record(b"key", b"x" * 300)] for partition in range(5)}
ROUNDS = 3
#: Back to back a transaction meets the markers of the one before; spaced it does not.
PAUSES_MS = {"back to back": 0, "each 20 ms": 20}

Flush = Callable[[int], Awaitable[None]]


def run(report: Report, *, quick: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, LocalBroker(Path(folder) / "broker") as broker:
        asyncio.run(measure(report, broker, 30 if quick else 200))


async def measure(report: Report, broker: LocalBroker, count: int) -> None:
    """The three ways by turns, so that what else the machine does meets all of them."""
    client = {"bootstrap_servers": broker.bootstrap}
    await ensure_topics(client, [TopicNeed(name=TOPIC, partitions=6)], create=True)
    sender = AIOKafkaProducer(**client, transactional_id="sender")
    await sender.start()
    older, newer = PartitionWriter("older", client), PartitionWriter("newer", client)
    with mock.patch.object(transactions, "is_spoken", mock.AsyncMock(return_value=False)):
        await older.start()
    await newer.start()
    ways: dict[str, Flush] = {
        "aiokafka's sender": lambda offset: _by_sender(sender, offset),
        "writer, older protocol": lambda offset: older.commit(RECORDS, {SOURCE: offset}, GROUP),
        "writer, protocol of Kafka 4": lambda offset: newer.commit(RECORDS, {SOURCE: offset}, GROUP),
    }
    for pause, pause_ms in PAUSES_MS.items():
        times: dict[str, list[float]] = {way: [] for way in ways}
        used = dict.fromkeys(ways, 0.0)
        for _ in range(ROUNDS):
            for way, flush in ways.items():
                began = time.process_time()
                times[way] += await _timed(flush, count // ROUNDS, pause_ms)
                used[way] += time.process_time() - began
        for way, taken in times.items():
            each_ms = 1000 * used[way] / len(taken)
            under = f"p90 {quantile(taken, 0.9):.1f} ms; {each_ms:.2f} ms of processor time each"
            report.add(f"{way}, {pause}, p50", quantile(taken, 0.5), "ms", under)
        first, *_, last = used.values()
        report.ratio(f"processor time of Kafka 4's protocol to aiokafka's sender, {pause}", last, first)
    for part in (sender, older, newer):
        await part.stop()


async def _timed(flush: Flush, count: int, pause_ms: int) -> list[float]:
    """Milliseconds of each of `count` flushes."""
    taken = []
    for offset in range(count):
        began = time.perf_counter()
        await flush(offset)
        taken.append(1000 * (time.perf_counter() - began))
        await asyncio.sleep(pause_ms / 1000)
    return taken


async def _by_sender(producer: AIOKafkaProducer, offset: int) -> None:
    async with producer.transaction():
        for tp, records in RECORDS.items():
            for record in records:
                await producer.send(tp.topic, record.value, key=record.key, partition=tp.partition)
        await producer.send_offsets_to_transaction({SOURCE: offset}, GROUP)
