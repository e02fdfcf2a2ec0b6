"""Record batches as columns say what aiokafka says record by record."""

import struct

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.kafka import aiokafka_patches
from streams.kafka.records import ColumnRecords, Columns, RawRecords, whole

aiokafka_patches.apply()
TP = TopicPartition("fills", 3)
READ_COMMITTED = 1
(PartitionRecords,) = [base for base in ColumnRecords.__mro__ if base.__module__ == fetcher.__name__]

payloads = st.none() | st.binary(max_size=9) | st.binary(min_size=60, max_size=70) | st.just(b"x" * 9000)
headers = st.lists(st.tuples(st.text(max_size=3), st.none() | st.binary(max_size=3)), max_size=2)
rows = st.tuples(st.integers(0, 2**41), payloads, payloads, headers)


def batch(first, records, *, codec=0, producer=-1, transactional=False, control=None, append_ms=None, skipped=0):
    """One batch as a broker keeps it; `skipped` offsets at its end were compacted away."""
    builder = DefaultRecordBatchBuilder(2, codec, transactional, producer, 0, 0, 1 << 20)
    for delta, (timestamp, key, value, more) in enumerate(records):
        assert builder.append(delta, timestamp, key, value, more)
    data = builder.build()
    struct.pack_into(">q", data, 0, first)
    (last,) = struct.unpack_from(">i", data, 23)
    struct.pack_into(">i", data, 23, last + skipped)
    if control is not None:
        data[22] |= 0x20
    if append_ms is not None:
        data[22] |= 0x08
        struct.pack_into(">q", data, 35, append_ms)
    struct.pack_into(">I", data, 17, calc_crc32c(bytes(data[21:])))
    return bytes(data)


def marker(first, producer, *, commits):
    """The end of a transaction."""
    key = struct.pack(">hh", 0, int(commits))
    return batch(first, [(1, key, b"\0" * 6, [])], producer=producer, transactional=True, control=True)


def read(kind, records_kind, data, fetch_offset, aborted, columns):
    found = kind(TP, records_kind(data), list(aborted), fetch_offset, None, columns, True, READ_COMMITTED)
    return list(found), found.next_fetch_offset


def both(data, fetch_offset=0, aborted=()):
    """(offset, key, value, timestamp) of each record and the next position: by aiokafka, and as columns."""
    plain, plain_next = read(PartitionRecords, MemoryRecords, data, fetch_offset, aborted, None)
    parts, next_offset = read(ColumnRecords, RawRecords, data, fetch_offset, aborted, Columns(frozenset({TP.topic})))
    expected = [(it.offset, it.key, it.value, -1 if it.timestamp is None else it.timestamp) for it in plain]
    return (expected, plain_next), (list(whole(parts)), next_offset)


@st.composite
def fetches(draw):
    """Batches of all producers and codecs, with holes and markers; where to begin; what was aborted."""
    data, offset, aborted, open_at = [], draw(st.integers(0, 2**40)), [], {}
    begin = offset
    for _ in range(draw(st.integers(1, 6))):
        offset += draw(st.integers(0, 2))
        producer = draw(st.sampled_from([-1, 7, 8]))
        if producer in open_at and draw(st.booleans()):
            commits = draw(st.booleans())
            if not commits:
                aborted.append((producer, open_at[producer]))
            del open_at[producer]
            data.append(marker(offset, producer, commits=commits))
            offset += 1
            continue
        records = draw(st.lists(rows, min_size=1, max_size=5))
        skipped = draw(st.integers(0, 2))
        if producer >= 0:
            open_at.setdefault(producer, offset)
        data.append(
            batch(
                offset,
                records,
                codec=draw(st.integers(0, 4)),
                producer=producer,
                transactional=producer >= 0,
                append_ms=draw(st.none() | st.just(1_760_130_900_000)),
                skipped=skipped,
            )
        )
        offset += len(records) + skipped
    cut = draw(st.integers(0, len(data[-1])))  # the broker cuts the last batch where the fetch is full
    return b"".join(data) + data[-1][:cut], draw(st.integers(begin, offset)), aborted


@given(fetches())
@settings(max_examples=200, deadline=None)
def test_columns_are_what_aiokafka_reads(fetch):
    """A record of an aborted transaction that is let through, or one left out, is money made or lost."""
    expected, found = both(*fetch)
    assert found == expected


@pytest.mark.parametrize("magic", [0, 1])
def test_batches_of_old_producers_are_read(magic):
    """A broker may keep batches that were written before Kafka 0.11."""
    builder = LegacyRecordBatchBuilder(magic, 0, 1 << 20)
    for number in range(4):
        builder.append(number, 1000 + number, b"k", b"v" * number)
    expected, found = both(bytes(builder.build()))
    assert found == expected
    assert [record[0] for record in found[0]] == [0, 1, 2, 3]


def test_topics_that_are_not_named_stay_records():
    """The journal is read by another role, which takes records."""
    data = batch(5, [(1, b"k", b"v", [])])
    (record,), _ = read(ColumnRecords, RawRecords, data, 0, (), Columns(frozenset({"other"})))
    assert (record.offset, record.key, record.value) == (5, b"k", b"v")


def test_a_changed_byte_is_found():
    """A bit that flips on a disk must stop the worker, not change a fill."""
    data = bytearray(batch(0, [(1, b"k", b"v" * 20, [])]))
    data[-5] ^= 1
    with pytest.raises(CorruptRecordException):
        both(bytes(data))
    with pytest.raises(CorruptRecordException):
        read(ColumnRecords, RawRecords, bytes(data), 0, (), Columns(frozenset({TP.topic})))


@given(st.binary(max_size=40), st.integers(-1, 3), st.integers(0, 60))
@settings(max_examples=300, deadline=None)
def test_records_that_do_not_fill_their_batch_are_refused(junk, count, at):
    """A producer's bug behind a right checksum must not become fills, nor read past the end."""
    data = bytearray(batch(0, [(5, b"key", b"value", [("h", b"x")])] * 2))
    at = 61 + at % (len(data) - 61)
    data[at : at + len(junk)] = junk
    struct.pack_into(">i", data, 8, len(data) - 12)
    struct.pack_into(">i", data, 57, count)
    struct.pack_into(">I", data, 17, calc_crc32c(bytes(data[21:])))

    def result(kind, records, columns):
        try:
            found, position = read(kind, records, bytes(data), 0, (), columns)
        except (CorruptRecordException, UnicodeDecodeError) as error:
            return type(error)
        if columns is None:
            return [(it.offset, it.key, it.value, it.timestamp) for it in found], position
        return list(whole(found)), position

    by_columns = result(ColumnRecords, RawRecords, Columns(frozenset({TP.topic})))
    expected = result(PartitionRecords, MemoryRecords, None)
    if expected is not UnicodeDecodeError:  # columns do not look into headers
        assert by_columns == expected
