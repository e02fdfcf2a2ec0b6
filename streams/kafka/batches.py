"""Records, and the batches that one partition's records are sent in.

Records with headers or times of their own go through aiokafka's builder, one by one. `Rows`, of which there are many,
are laid out by a kernel: a batch of Kafka's format 2 (https://kafka.apache.org/documentation/#recordbatch), without
compression.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from aiokafka import TopicPartition
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.util import calc_crc32c
from numba import uint8, uint64

from streams.compiled import inner, kernel
from streams.rows import I64, U8, Rows

Headers = Sequence[tuple[str, bytes]]

#: A batch takes this much at most; the broker's ``message.max.bytes`` is 1 MiB by default and counts the
#: whole batch.
BATCH_BYTES_MAX = 900_000
#: What a record's length, offsets, timestamp and batch header take at most, beside key, value and headers.
RECORD_OVERHEAD_BYTES = 128

#: Attributes bit: the batch is part of a transaction.
TRANSACTIONAL = 0x10
#: Base offset, length, leader epoch, magic, crc | attributes, last offset, first and last time, producer, epoch,
#: sequence, count.
_HEAD = struct.Struct(">qiibI")
_BODY = struct.Struct(">hiqqqhii")
_PRODUCER = struct.Struct(">qhi")
_CRC_AT, _BODY_AT, _PRODUCER_AT = 17, 21, 43
HEADER_BYTES = _HEAD.size + _BODY.size


class Record(NamedTuple):
    """One record to write; a ``value`` of None is a tombstone, a ``timestamp_ms`` of None is now."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int | None = None


#: What is written to one partition; `Rows` are transactional and of the time they are written at.
Records = Sequence[Record] | Rows


def build_batches(producer: Any, tp: TopicPartition, records: Records) -> list[Any]:
    """Build the batches of one partition, in order; a new one begins where the last is full.

    Raises
    ------
    ValueError
        where a record is larger than a batch may be.
    """
    if isinstance(records, Rows):
        return _row_batches(tp, records)
    batches = [producer.create_batch()]
    for record in records:
        key, value, headers, timestamp_ms = record
        size = len(key or b"") + len(value or b"") + RECORD_OVERHEAD_BYTES
        size += sum(len(name) + len(data) + 8 for name, data in headers)
        _check_size(tp, size)
        added = batches[-1].append(key=key, value=value, timestamp=timestamp_ms, headers=list(headers))
        if added is None:  # full
            batches.append(producer.create_batch())
            batches[-1].append(key=key, value=value, timestamp=timestamp_ms, headers=list(headers))
    batches[-1].close()
    return batches


def _check_size(tp: TopicPartition, size: int) -> None:
    if size > BATCH_BYTES_MAX:
        raise ValueError(f"a record must be <= {BATCH_BYTES_MAX} bytes, found {size} ({tp.topic}[{tp.partition}])")


class RowBatch(BatchBuilder):
    """A whole batch of a transactional producer, which aiokafka sends as one of its own.

    Parameters
    ----------
    data : the batch, with `HEADER_BYTES` of room before its records
    count : the number of its records
    timestamp_ms : of every record
    """

    def __init__(self, data: bytearray, count: int, timestamp_ms: int) -> None:
        self._data = data
        self._count = count
        self._whole = False
        _HEAD.pack_into(data, 0, 0, len(data) - 12, -1, 2, 0)
        body = (TRANSACTIONAL, count - 1, timestamp_ms, timestamp_ms, -1, -1, -1, count)
        _BODY.pack_into(data, _BODY_AT, *body)

    def append(self, **_: Any) -> None:
        """Nothing more fits."""

    def close(self) -> None:
        """It is."""

    def closed(self) -> bool:
        return True

    def size(self) -> int:
        return len(self._data)

    def record_count(self) -> int:
        return self._count

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        _PRODUCER.pack_into(self._data, _PRODUCER_AT, producer_id, producer_epoch, base_sequence)

    def _build(self) -> bytearray:
        if not self._whole:
            struct.pack_into(">I", self._data, _CRC_AT, calc_crc32c(memoryview(self._data)[_BODY_AT:]))
            self._whole = True
        return self._data


def _row_batches(tp: TopicPartition, rows: Rows) -> list[RowBatch]:
    now = int(time.time() * 1000)
    batches, first = [], 0
    while first < len(rows):
        until, size = fitting(rows.key_end, rows.value_end, first, BATCH_BYTES_MAX - HEADER_BYTES)
        if until == first:
            key, value = rows[first]
            _check_size(tp, len(key) + len(value) + RECORD_OVERHEAD_BYTES)
        data = bytearray(HEADER_BYTES + size)
        room: U8 = np.frombuffer(data, dtype=np.uint8)
        lay_out(rows.key_bytes, rows.key_end, rows.value_bytes, rows.value_end, first, until, room, HEADER_BYTES)
        batches.append(RowBatch(data, until - first, now))
        first = until
    return batches


@inner
def varint_size(value: int) -> int:
    """Bytes of a number >= 0 as a zigzag varint."""
    rest, size = uint64(value) << uint64(1), 1
    while rest >= uint64(128):
        rest >>= uint64(7)
        size += 1
    return size


@inner
def put_varint(out: U8, at: int, value: int) -> int:
    """Write a number >= 0 as a zigzag varint; where the next byte goes."""
    rest = uint64(value) << uint64(1)
    while rest >= uint64(128):
        out[at] = uint8(rest & uint64(127)) | uint8(128)
        rest >>= uint64(7)
        at += 1
    out[at] = uint8(rest)
    return at + 1


@inner
def record_size(offset: int, key: int, value: int) -> int:
    """Bytes of a record behind its length: attributes, time, offset, key, value, no headers."""
    return 3 + varint_size(offset) + varint_size(key) + key + varint_size(value) + value


@kernel
def fitting(key_end: I64, value_end: I64, first: int, room: int) -> tuple[int, int]:
    """The row behind the last one, from `first` on, that fits into `room` bytes; and the bytes taken."""
    taken, row, full = 0, first, False
    while row < key_end.shape[0] and not full:
        key = key_end[row] - (key_end[row - 1] if row > 0 else 0)
        value = value_end[row] - (value_end[row - 1] if row > 0 else 0)
        size = record_size(row - first, key, value)
        size += varint_size(size)
        full = taken + size > room
        if not full:
            taken += size
            row += 1
    return row, taken


@kernel
def lay_out(keys: U8, key_end: I64, values: U8, value_end: I64, first: int, until: int, out: U8, at: int) -> None:
    """Write records `first` to `until` into `out` from `at` on."""
    key = key_end[first - 1] if first > 0 else 0
    value = value_end[first - 1] if first > 0 else 0
    for row in range(first, until):
        key_size, value_size = key_end[row] - key, value_end[row] - value
        at = put_varint(out, at, record_size(row - first, key_size, value_size))
        out[at] = 0  # attributes
        out[at + 1] = 0  # time, after the batch's
        at = put_varint(out, at + 2, row - first)
        at = put_varint(out, at, key_size)
        for k in range(key_size):
            out[at + k] = keys[key + k]
        at = put_varint(out, at + key_size, value_size)
        for k in range(value_size):
            out[at + k] = values[value + k]
        at += value_size
        out[at] = 0  # headers
        at += 1
        key, value = key_end[row], value_end[row]


def warm_up() -> int:
    """Compile the kernels, or load them compiled; the number of batches made with them."""
    return len(_row_batches(TopicPartition("none", 0), Rows.of([(b"key", b"value")])))
