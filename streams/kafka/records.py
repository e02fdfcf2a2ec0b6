"""Fetched record batches as columns: one kernel over a batch instead of an object per record.

aiokafka still walks the batches: checksums, aborted transactions, control batches and positions are its own. Only what
it would do record by record is done here, for the topics that a consumer names by its `Columns`.
The kernel stands alone: compiled code is kept by the file it comes from.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from aiokafka import codec
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record.memory_records import MemoryRecords

from streams.compiled import inner, kernel
from streams.ingest.messages import Message, Messages

#: Base offset, batch length, leader epoch, magic, crc, attributes, last offset delta, first and max timestamp,
#: producer id and epoch, base sequence, number of records.
#: https://kafka.apache.org/documentation/#recordbatch
_HEADER = struct.Struct(">qiibIhiqqqhii")
_LENGTH_END = 12
_CODEC, _APPEND_TIME = 0x07, 0x08
_DECODERS: dict[int, Callable[[bytes], bytes]] = {
    1: codec.gzip_decode,
    2: codec.snappy_decode,
    3: codec.lz4_decode,
    4: codec.zstd_decode,
}

Bytes = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Columns:
    """Given to a consumer as its `value_deserializer`: records of these topics come as one `Messages` a batch."""

    topics: frozenset[str]

    def __call__(self, value: bytes | None) -> bytes | None:
        """Values of other topics stay as they are."""
        return value


def whole(records: Sequence[Any]) -> Sequence[Any]:
    """What a fetch took of one partition: its batches of columns as one, or its records."""
    return joined(records) if records and isinstance(records[0], Messages) else records


def joined(parts: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """The records of all parts, one at least and all of the same kind, in order."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], Messages):
        return _one(cast(Sequence[Messages], parts))
    return [record for part in parts for record in part]


def _one(parts: Sequence[Messages]) -> Messages:
    start = np.cumsum([0, *(len(part.data) for part in parts)])[:-1]

    def column(name: str, shift: bool = False) -> I64:
        return np.concatenate(
            [getattr(part, name) + (at if shift else 0) for part, at in zip(parts, start, strict=True)]
        )

    return Messages(
        data=np.frombuffer(b"".join(part.data.tobytes() for part in parts), np.uint8),
        offset=column("offset"),
        timestamp=column("timestamp"),
        key_start=column("key_start", shift=True),
        key_length=column("key_length"),
        value_start=column("value_start", shift=True),
        value_length=column("value_length"),
    )


class RawRecords:
    """aiokafka's walk over the batches of a fetch, with their bytes at hand."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._records = MemoryRecords(data)
        self._at = 0
        self.has_next, self.size_in_bytes = self._records.has_next, self._records.size_in_bytes

    def next_batch(self) -> Any:
        """The next batch as aiokafka has it."""
        return self._records.next_batch()

    def next_columns(self) -> ColumnBatch | None:
        """The next batch, its records as columns; not to be mixed with `next_batch`."""
        start = self._at
        batch = self._records.next_batch()
        if batch is None:
            return None
        (length,) = struct.unpack_from(">i", self._data, start + 8)
        self._at = start + _LENGTH_END + length
        return ColumnBatch(batch, self._data[start : self._at])


@dataclass(frozen=True, slots=True)
class Several:
    """What a batch of columns yields in place of its records: all of them, under the offset of the last."""

    offset: int
    messages: Messages


class ColumnBatch:
    """A batch of aiokafka that yields its records at once."""

    def __init__(self, batch: Any, data: bytes) -> None:
        self._batch = batch
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Several]:
        messages = self._messages()
        if len(messages):
            yield Several(int(messages.offset[-1]), messages)

    def _messages(self) -> Messages:
        if self._data[16] < 2:  # formats before Kafka 0.11; in the first of them records have no time
            rows = ((it, -1 if it.timestamp is None else it.timestamp) for it in self._batch)
            return Messages.of([Message(it.offset, it.key, it.value, timestamp) for it, timestamp in rows])
        return decoded(self._data)


class ColumnRecords(fetcher.PartitionRecords):
    """Records of one partition's fetch: by itself for topics that are read as columns, else as aiokafka has them."""

    def __init__(self, tp: Any, records: RawRecords, *rest: Any) -> None:
        super().__init__(tp, records, *rest)
        if isinstance(self._value_deserializer, Columns) and tp.topic in self._value_deserializer.topics:
            records.next_batch = records.next_columns  # type: ignore[method-assign]

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        if not isinstance(record, Several):
            return super()._consumer_record(tp, record)
        # A fetch begins with the whole batch that its offset lies in.
        return record.messages[int(np.searchsorted(record.messages.offset, self.next_fetch_offset)) :]


def decoded(batch: bytes) -> Messages:
    """The records of one whole batch of format 2.

    Raises
    ------
    CorruptRecordException
        where records do not fill the batch exactly.
    UnsupportedCodecError
    """
    header = _HEADER.unpack_from(batch)
    base_offset, attributes, first_ms, max_ms, count = header[0], header[5], header[7], header[8], header[12]
    payload = memoryview(batch)[_HEADER.size :]
    if attributes & _CODEC:
        if attributes & _CODEC not in _DECODERS:
            raise UnsupportedCodecError(f"codec must be 0 to 4, found {attributes & _CODEC}")
        payload = memoryview(bytes(_DECODERS[attributes & _CODEC](payload.tobytes())))
    data = np.frombuffer(payload, np.uint8)
    columns = [np.empty(max(count, 0), np.int64) for _ in range(6)]
    offset, timestamp, key_start, key_length, value_start, value_length = columns
    end = _decode(data, offset, timestamp, key_start, key_length, value_start, value_length)
    if end != len(data):
        raise CorruptRecordException(f"{count} records must fill {len(data)} bytes, found a fault at {abs(end)}")
    offset += base_offset
    timestamp += first_ms
    if attributes & _APPEND_TIME:
        timestamp[:] = max_ms
    return Messages(data, offset, timestamp, key_start, key_length, value_start, value_length)


def warm_up() -> int:
    """Decode a batch without records and return how many it has (so that the work cannot be skipped)."""
    return len(decoded(_HEADER.pack(0, _HEADER.size - _LENGTH_END, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0)))


@kernel(nogil=True)
def _decode(
    data: Bytes,
    offset: I64,
    timestamp: I64,
    key_start: I64,
    key_length: I64,
    value_start: I64,
    value_length: I64,
) -> int:
    """Read the records, offsets and timestamps as differences to the batch's.

    Returns where the last one ends, or a number below 0 where a record does not fit.
    """
    at = 0
    for row in range(len(offset)):
        length, at = _varint(data, at)
        end = at + length
        if length < 0 or at < 0 or end > len(data):
            return -1 - abs(at)
        timestamp[row], at = _varint(data, at + 1)  # after the attributes
        offset[row], at = _varint(data, at)
        for start_of, length_of in ((key_start, key_length), (value_start, value_length)):
            size, at = _varint(data, at)
            if at < 0 or at + max(size, 0) > end:
                return -1 - abs(at)
            start_of[row], length_of[row] = at, max(size, -1)
            at += max(size, 0)
        at = _headers(data, at, end)
        if at != end:
            return -1 - abs(at)
    return at


@inner(nogil=True)
def _headers(data: Bytes, at: int, end: int) -> int:
    """Where the headers at `at` end; below 0 at a fault."""
    count, at = _varint(data, at)
    if count < 0:
        return -1
    for _ in range(2 * count):
        if at < 0 or at >= end:
            return -1
        size, at = _varint(data, at)
        if at >= 0:
            at += max(size, 0)
    return at


@inner(nogil=True)
def _varint(data: Bytes, at: int) -> tuple[int, int]:
    """The zigzag number at `at`, and where it ends: below 0 where it does not end, or `at` is below 0."""
    value, shift = np.uint64(0), np.uint64(0)
    end = -1
    while 0 <= at < len(data) and shift < np.uint64(64):
        byte = np.uint64(data[at])
        at += 1
        value |= (byte & np.uint64(127)) << shift
        shift += np.uint64(7)
        if byte < np.uint64(128):
            end = at
            break
    return int(np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1))), end
