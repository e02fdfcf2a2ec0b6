"""Batches of rows to Kafka, cut as they are given; and a reader downstream that stalls."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from faults.trades import Row

from schemas.sharding import shard_of
from streams.app import prepare_topics
from streams.settings import Settings

#: What a stalled reader may hold that it has not been asked for.
FETCH_BYTES = 64 << 10


def by_partition(rows: Iterable[Row], partitions: int) -> dict[int, list[Row]]:
    """Rows by the partition of their key, in order."""
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(shard_of(row.key.decode(), partitions), []).append(row)
    return found


def send(settings: Settings, batches: Iterable[tuple[int, Sequence[Row]]]) -> int:
    """Send each batch as one record batch to its partition, one after the other; return how many rows."""
    return asyncio.run(_send(settings, batches))


async def _send(settings: Settings, batches: Iterable[tuple[int, Sequence[Row]]]) -> int:
    await prepare_topics(settings)
    producer = AIOKafkaProducer(**settings.client(), max_batch_size=900_000, max_request_size=1_000_000)
    await producer.start()
    count = 0
    try:
        for partition, rows in batches:
            batch = producer.create_batch()
            for row in rows:
                taken = batch.append(key=row.key, value=row.value, timestamp=int(time.time() * 1000))
                assert taken is not None, "a batch must hold its rows"
            batch.close()
            await (await producer.send_batch(batch, settings.topic(rows[0].topic), partition=partition))
            count += len(rows)
    finally:
        await producer.stop()
    return count


class StalledReader(threading.Thread):
    """A `read_committed` reader of one topic that takes its first record, and then nothing until told to finish."""

    def __init__(self, settings: Settings, logical: str, partition: int) -> None:
        super().__init__(daemon=True)
        self.read: list[ConsumerRecord] = []
        self._wanted = threading.Event()
        self._count = 0
        self._settings = settings
        self._tp = TopicPartition(settings.topic(logical), partition)

    def run(self) -> None:
        asyncio.run(self._run())

    def finish(self, count: int, seconds: float = 30.0) -> None:
        """Read on until there are so many records, or that long."""
        self._count = count
        self._wanted.set()
        self.join(seconds)

    async def _run(self) -> None:
        client = self._settings.client()
        consumer = AIOKafkaConsumer(
            **client, isolation_level="read_committed", max_partition_fetch_bytes=FETCH_BYTES, fetch_max_wait_ms=50
        )
        await consumer.start()
        try:
            consumer.assign([self._tp])
            await consumer.seek_to_beginning(self._tp)
            self.read.append(await consumer.getone(self._tp))
            await asyncio.to_thread(self._wanted.wait)
            while len(self.read) < self._count:
                for records in (await consumer.getmany(timeout_ms=50)).values():
                    self.read += records
        finally:
            await consumer.stop()
