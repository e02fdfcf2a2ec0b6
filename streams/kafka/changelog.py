"""Read one partition from its beginning to its end, by position.

The end of a partition that was written in transactions is a marker, not a record, and compaction and aborted
transactions leave holes; so "have I read everything" is a question to the reader's position, never to a
record's offset.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from streams.compiled import kernel
from streams.kafka import aiokafka_patches
from streams.kafka.records import Columns, whole
from streams.rows import I64, U8, Rows

aiokafka_patches.apply()

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


async def read_rows(client: Mapping[str, Any], topic: str, partition: int) -> AsyncIterator[Rows]:
    """Yield what `read_to_end` does, in columns; a record without key or value has an empty one."""
    async for part in read_to_end({**client, "value_deserializer": Columns(frozenset([topic]))}, topic, partition):
        messages: Any = whole(part)
        yield Rows(
            *gathered(messages.data, messages.key_start, messages.key_length),
            *gathered(messages.data, messages.value_start, messages.value_length),
        )


def gathered(data: U8, start: I64, length: I64) -> tuple[U8, I64]:
    """Pieces of `data` side by side, and where each ends; a length below 0 is nothing."""
    ends = np.cumsum(np.maximum(length, 0))
    out = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
    _gather(data, start, ends, out)
    return out, ends


@kernel
def _gather(data: U8, start: I64, ends: I64, out: U8) -> None:
    at = 0
    for row in range(start.shape[0]):
        shift = start[row] - at
        while at < ends[row]:
            out[at] = data[at + shift]
            at += 1


def warm_up() -> int:
    """Compile the kernel, or load it compiled; the bytes that it moved."""
    data = np.frombuffer(b"key", dtype=np.uint8)
    return len(gathered(data, np.zeros(1, dtype=np.int64), np.full(1, 3, dtype=np.int64))[0])


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
