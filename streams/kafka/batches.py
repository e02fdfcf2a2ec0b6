"""Records, and the batches that one partition's records are sent in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka import TopicPartition

Headers = Sequence[tuple[str, bytes]]

#: A batch takes this much at most; the broker's ``message.max.bytes`` is 1 MiB by default and counts the
#: whole batch.
BATCH_BYTES_MAX = 900_000
#: What a record's length, offsets, timestamp and batch header take at most, beside key, value and headers.
RECORD_OVERHEAD_BYTES = 128


class Record(NamedTuple):
    """One record to write; a ``value`` of None is a tombstone, a ``timestamp_ms`` of None is now."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int | None = None


def build_batches(producer: Any, tp: TopicPartition, records: Sequence[Record]) -> list[Any]:
    """Build the batches of one partition, in order; a new one begins where the last is full."""
    batches = [producer.create_batch()]
    for record in records:
        key, value, headers, timestamp_ms = record
        size = len(key or b"") + len(value or b"") + RECORD_OVERHEAD_BYTES
        size += sum(len(name) + len(data) + 8 for name, data in headers)
        if size > BATCH_BYTES_MAX:
            raise ValueError(f"a record must be <= {BATCH_BYTES_MAX} bytes, found {size} ({tp.topic}[{tp.partition}])")
        added = batches[-1].append(key=key, value=value, timestamp=timestamp_ms, headers=list(headers))
        if added is None:  # full
            batches.append(producer.create_batch())
            batches[-1].append(key=key, value=value, timestamp=timestamp_ms, headers=list(headers))
    batches[-1].close()
    return batches
