"""Read one partition from its beginning to its end, by position.

The end of a partition that was written in transactions is a marker, not a record, and compaction and aborted
transactions leave holes; so "have I read everything" is a question to the reader's position, never to a
record's offset.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

FETCH_BYTES = 4 << 20
RECORDS_MAX = 20_000


async def read_to_end(
    client: Mapping[str, Any], topic: str, partition: int, *, start: int | None = None
) -> AsyncIterator[Sequence[ConsumerRecord]]:
    """Yield the committed records of a partition, in lists, up to the end that it has now.

    The end is that of committed data, so whoever must not miss a write of another process fences that process
    first.

    Parameters
    ----------
    client : mapping
        aiokafka's connection settings.
    start : int or None
        The first offset to read; None, or one that retention has passed, is the partition's first.
    """
    tp = TopicPartition(topic, partition)
    async with _reader(client) as consumer:
        consumer.assign([tp])
        first = (await consumer.beginning_offsets([tp]))[tp]
        end = (await consumer.end_offsets([tp]))[tp]
        consumer.seek(tp, max(first, start or 0))
        while await consumer.position(tp) < end:
            # A fetch of markers alone moves the position and returns nothing: hence the short wait.
            fetched = await consumer.getmany(tp, timeout_ms=20, max_records=RECORDS_MAX)
            if tp in fetched:
                yield fetched[tp]


async def first_offset(client: Mapping[str, Any], tp: TopicPartition) -> int:
    """Return the first offset that a partition still has."""
    async with _reader(client) as consumer:
        return (await consumer.beginning_offsets([tp]))[tp]


def _reader(client: Mapping[str, Any]) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        **client,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_wait_ms=100,
    )
