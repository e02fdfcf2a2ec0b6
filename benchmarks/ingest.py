"""Ingest without a broker: fetched bytes to messages, messages to journal blocks and their bytes; fills a CPU-second.

Plain fills go through the kernels; the same fills with an escape in their ids, which says the same, one by one.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from benchmarks.report import Report
from streams.bench import records
from streams.bench.records import Row
from streams.ingest.messages import Messages
from streams.ingest.partition import IngestPartition
from streams.ingest.terms import Terms
from streams.kafka.records import ColumnRecords, Columns, RawRecords, whole

ACCOUNTS, SHARDS, BATCH = 10_000, 4, 4_000
BYTES_MAX = 262_144
ROWS_PER_BATCH = 1_000
ROUNDS = 5
TP = TopicPartition("fills", 0)
READ_COMMITTED = 1


def run(report: Report, *, quick: bool) -> None:
    """Measure each step alone, by rows and by columns in turns."""
    fills = 20_000 if quick else 200_000
    rows = list(records.trades(fills, ACCOUNTS))
    escaped = [(key, value.replace(b'"fill_id":"t', b'"fill_id":"\\u0074'), time_ms) for key, value, time_ms in rows]
    fetches = [_fetch(rows[at : at + BATCH], at) for at in range(0, fills, BATCH)]
    escaped_messages = [_by_columns(_fetch(escaped[at : at + BATCH], at)) for at in range(0, fills, BATCH)]
    plain_messages = [_by_columns(fetch) for fetch in fetches]
    under = f"{fills:,} fills of {ACCOUNTS:,} accounts in batches of {BATCH:,}, {SHARDS} shards; one thread"

    by_rows, by_columns = _rates(
        fills,
        lambda: [_by_rows(fetch) for fetch in fetches],
        lambda: [_by_columns(fetch) for fetch in fetches],
    )
    report.add("record batches decoded by aiokafka, an object a record", by_rows, "fills/CPU-s", under)
    report.add("record batches decoded as columns", by_columns, "fills/CPU-s", under)
    report.ratio("decoding, columns to objects", by_columns, by_rows)

    careful, fast = _rates(
        fills,
        lambda: _ingest(escaped_messages),
        lambda: _ingest(plain_messages),
    )
    report.add(
        "messages to encoded journal blocks, each read by itself", careful, "fills/CPU-s", f"escaped ids, {under}"
    )
    report.add("messages to encoded journal blocks, by the kernels", fast, "fills/CPU-s", under)
    report.ratio("ingest, kernels to reading one by one", fast, careful)
    (whole_way,) = _rates(fills, lambda: _ingest([_by_columns(fetch) for fetch in fetches]))
    report.add("fetched bytes to encoded journal blocks", whole_way, "fills/CPU-s", under)


def _rates(fills: int, *works: Callable[[], object]) -> list[float]:
    """Fills a CPU-second of each work, the best of a few rounds in which they take turns."""
    best = [float("inf")] * len(works)
    for _ in range(ROUNDS):
        for number, work in enumerate(works):
            began = time.process_time()
            work()
            best[number] = min(best[number], time.process_time() - began)
    return [fills / seconds for seconds in best]


def _ingest(batches: list[Messages]) -> int:
    """A fresh partition takes the batches; returns the bytes of its blocks."""
    terms = Terms(BYTES_MAX)
    for offset, (key, value, _) in enumerate(records.terms()):
        terms.add(offset, key, value)
    fold = IngestPartition(
        topic="fills",
        source_topic="fills",
        partition=0,
        shards=SHARDS,
        message_bytes_max=BYTES_MAX,
        max_future_ms=60_000,
    )
    now_ms = int(time.time() * 1000)
    size = taken = 0
    for messages in batches:
        result = fold.take(messages, terms, now_ms)
        size += sum(len(block.encode()) for _, block in result.blocks)
        taken += result.rows - len(result.dead_letters)
    if taken != sum(map(len, batches)):
        raise ValueError(f"all fills must be accepted, found {taken}")
    return size


def _fetch(rows: list[Row], first: int) -> bytes:
    """What a broker answers: the rows as record batches."""
    batches = []
    for at in range(0, len(rows), ROWS_PER_BATCH):
        builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, 0, 1 << 20)
        for delta, (key, value, time_ms) in enumerate(rows[at : at + ROWS_PER_BATCH]):
            builder.append(delta, time_ms, key, value, [])
        batch = bytearray(builder.build())
        struct.pack_into(">q", batch, 0, first + at)
        batches.append(bytes(batch))
    return b"".join(batches)


def _by_rows(fetch: bytes) -> list[tuple[int, bytes, bytes, int]]:
    found = PartitionRecords(TP, MemoryRecords(fetch), None, 0, None, None, True, READ_COMMITTED)
    return [(record.offset, record.key, record.value, record.timestamp) for record in found]


def _by_columns(fetch: bytes) -> Messages:
    columns = Columns(frozenset({TP.topic}))
    found = whole(list(ColumnRecords(TP, RawRecords(fetch), None, 0, None, columns, True, READ_COMMITTED)))
    assert isinstance(found, Messages)
    return found
