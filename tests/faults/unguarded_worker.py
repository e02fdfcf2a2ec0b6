"""A worker with the guard switched off, for the control: it writes without transactions and commits afterwards.

Everything else is the product's: what differs is that a crash can fall between the records and the offset they came
from, and that nobody fences a worker that lost its partitions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from streams.agents import blocks
from streams.cli import main
from streams.kafka.batches import BATCH_BYTES_MAX, Record, Records, build_batches
from streams.kafka.transactions import PartitionWriter
from streams.rows import Rows

#: What lies between the records and their offset; wide, so that one kill hits it surely.
GAP_SECONDS = 0.5


class UnguardedWriter(PartitionWriter):
    """Records first, offset later."""

    async def start(self) -> None:
        client = {name: self._settings[name] for name in ("bootstrap_servers", "security_protocol")}
        self._client = client
        self._producer = AIOKafkaProducer(**client, max_batch_size=BATCH_BYTES_MAX, max_request_size=BATCH_BYTES_MAX)
        await self._producer.start()

    async def committed(self, group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int | None]:
        if group.endswith("-margin"):  # its changelog may be ahead by now, and counts
            return dict.fromkeys(partitions)
        return await super().committed(group, partitions)

    async def commit(
        self, records: Mapping[TopicPartition, Records], offsets: Mapping[TopicPartition, int], group: str
    ) -> None:
        sent = [
            await self._producer.send_batch(batch, tp.topic, partition=tp.partition)
            for tp, rows in records.items()
            for batch in (build_batches(self._producer, tp, plain(rows)) if rows else ())
        ]
        await asyncio.gather(*sent)
        await asyncio.sleep(GAP_SECONDS)
        if offsets:
            await commit_offsets(self._client, group, offsets)


def plain(rows: Records) -> Sequence[Record]:
    """Records for a producer without transactions."""
    return [Record(key, value) for key, value in rows] if isinstance(rows, Rows) else rows


async def commit_offsets(client: Mapping[str, Any], group: str, offsets: Mapping[TopicPartition, int]) -> None:
    """Commit as a plain consumer without membership does."""
    consumer = AIOKafkaConsumer(**client, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(list(offsets))
        await consumer.commit(dict(offsets))
    finally:
        await consumer.stop()


if __name__ == "__main__":
    blocks.PartitionWriter = UnguardedWriter  # type: ignore[misc]
    main(["worker"])
