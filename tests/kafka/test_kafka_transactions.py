"""One transaction holds records and source offsets; a writer that lost its partition writes nothing any more."""

from __future__ import annotations

import asyncio
import gc
import re
import time
from collections.abc import Coroutine, Mapping
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from streams.kafka import transactions
from streams.kafka.batches import BATCH_BYTES_MAX, Record
from streams.kafka.broker import LocalBroker
from streams.kafka.changelog import first_offset, read_rows, read_to_end
from streams.kafka.topics import TopicNeed, ensure_topics
from streams.kafka.transactions import PartitionWriter, TransactionFailed
from streams.rows import Rows

pytestmark = pytest.mark.kafka

Client = Mapping[str, Any]


@pytest.fixture
def client(broker: LocalBroker) -> Client:
    return {"bootstrap_servers": broker.bootstrap}


@pytest.fixture(autouse=True, params=[True, False], ids=["protocol of Kafka 4", "older protocol"])
def protocol(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both protocols of transactions, on one broker that speaks both."""
    if not request.param:

        async def no(_client: Any) -> bool:
            return False

        monkeypatch.setattr(transactions, "is_spoken", no)


@pytest.fixture
def topic(client: Client, request: pytest.FixtureRequest) -> str:
    """A topic of two partitions, named after the test."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    run(ensure_topics(client, [TopicNeed(name=name, partitions=2)], create=True))
    return name


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(coroutine)
    finally:
        # A fenced producer leaves futures whose exceptions nobody asks for. Their tracebacks are printed when
        # they are collected, and CPython 3.11 fails when that happens in the middle of parsing a module:
        # collect them here.
        gc.collect()


async def rows(client: Client, topic: str, partition: int = 0, start: int | None = None) -> list[ConsumerRecord]:
    found: list[ConsumerRecord] = []
    async for part in read_to_end(client, topic, partition, start=start):
        found.extend(part)
    return found


async def values(client: Client, topic: str, partition: int = 0) -> list[bytes]:
    return [row.value for row in await rows(client, topic, partition)]


def test_records_and_offset_are_committed_together(client: Client, topic: str) -> None:
    """What is written and how far the source was read must never disagree."""
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    source = TopicPartition("some-source", 7)
    seen: list[float] = []

    async def check() -> None:
        writer = PartitionWriter(topic, client, observe=seen.append)
        await writer.start()
        assert await writer.committed(f"{topic}-group", [source]) == {source: None}
        headers = [("reason", b"because"), ("empty", b"")]
        written = [Record(b"k", b"v", headers, 1_760_130_900_000), Record(b"gone", None), Record(None, b"keyless")]
        await writer.commit({first: written, second: [Record(b"k", b"other")]}, {first: 41}, f"{topic}-group")
        assert await writer.committed(f"{topic}-group", [first, second]) == {first: 41, second: None}
        await writer.stop()
        found = await rows(client, topic)
        assert [(row.key, row.value) for row in found] == [(b"k", b"v"), (b"gone", None), (None, b"keyless")]
        assert list(found[0].headers) == headers
        assert found[0].timestamp == 1_760_130_900_000
        assert await values(client, topic, 1) == [b"other"]

    run(check())
    assert len(seen) == 1
    assert 0 < seen[0] < 10


def test_rows_arrive_as_they_are(client: Client, topic: str) -> None:
    """State and summaries go out as whole batches of our own: what the broker keeps must be what was meant."""
    sizes = (0, 1, 63, 64, 127, 8_191, 8_192, 70_000, 890_000)
    written = [(b"key-%d" % n, bytes([n % 251]) * sizes[n % len(sizes)]) for n in range(60)]

    async def check() -> None:
        writer = PartitionWriter(topic, client)
        await writer.start()
        began = time.time()
        for part in (Rows.of(written[:1]), Rows.of(written[1:])):
            await writer.commit({TopicPartition(topic, 0): part, TopicPartition(topic, 1): Rows.of(())}, {}, "unused")
        await writer.stop()
        found = await rows(client, topic)
        assert [(row.key, row.value) for row in found] == written
        assert all(not row.headers and abs(row.timestamp / 1000 - began) < 60 for row in found)
        assert await rows(client, topic, 1) == []
        parts = [part async for part in read_rows(client, topic, 0)]
        assert list(Rows.joined(parts)) == written

    run(check())


def test_a_record_without_key_or_value_is_a_row_of_nothing(client: Client, topic: str) -> None:
    """A tombstone that somebody else wrote must reach whoever refuses it."""

    async def check() -> None:
        writer = PartitionWriter(topic, client)
        await writer.start()
        await writer.commit({TopicPartition(topic, 0): [Record(b"k", None), Record(None, b"v")]}, {}, "unused")
        await writer.stop()
        assert [list(part) async for part in read_rows(client, topic, 0)] == [[(b"k", b""), (b"", b"v")]]

    run(check())


def test_a_row_that_is_too_large_is_refused_before_anything_begins(client: Client, topic: str) -> None:
    """As any record."""

    async def check() -> None:
        writer = PartitionWriter(topic, client)
        await writer.start()
        with pytest.raises(ValueError, match="must be <= 900000 bytes, found 900130"):
            await writer.commit(
                {TopicPartition(topic, 0): Rows.of([(b"a", b"b"), (b"k", b"x" * 900_001)])}, {}, "unused"
            )
        await writer.commit({TopicPartition(topic, 0): Rows.of([(b"k", b"fits")])}, {}, "unused")
        await writer.stop()
        assert await values(client, topic) == [b"fits"]

    run(check())


def test_many_batches_keep_their_order(client: Client, topic: str) -> None:
    """Records of one partition that need several batches must not overtake each other: the last one wins."""
    big = [Record(b"%d" % i, b"%06d" % i + b"x" * 100_000) for i in range(40)]

    async def check() -> None:
        writer = PartitionWriter(topic, client)
        await writer.start()
        await writer.commit({TopicPartition(topic, 0): big}, {}, "unused")
        await writer.stop()
        assert [row.key for row in await rows(client, topic)] == [record.key for record in big]

    run(check())


def test_offsets_alone_are_committed(client: Client, topic: str) -> None:
    """A block that gave nothing to write moves on all the same, or a restart reads it again for ever."""
    source = TopicPartition(topic, 1)

    async def check() -> None:
        writer = PartitionWriter(topic, client)
        await writer.start()
        for offset in (5, 6):
            await writer.commit({}, {source: offset}, f"{topic}-group")
        assert await writer.committed(f"{topic}-group", [source]) == {source: 6}
        await writer.stop()

    run(check())


def test_too_large_a_record_is_refused_before_anything_is_written(client: Client, topic: str) -> None:
    """A record that the broker would refuse must not leave half a transaction behind."""
    tp = TopicPartition(topic, 0)

    async def check() -> None:
        writer = PartitionWriter(topic, client)
        await writer.start()
        with pytest.raises(ValueError, match=r"a record must be <= 900000 bytes, found 9\d{5} "):
            await writer.commit({tp: [Record(b"a", b"1"), Record(b"b", b"x" * BATCH_BYTES_MAX)]}, {}, "unused")
        await writer.commit({tp: [Record(b"c", b"2")]}, {}, "unused")
        await writer.stop()
        assert await values(client, topic) == [b"2"]

    run(check())


def test_a_new_writer_fences_the_old_one(client: Client, topic: str) -> None:
    """Two workers that both think they own a partition: only the later one may write."""
    tp = TopicPartition(topic, 0)

    async def check() -> None:
        old, new = PartitionWriter(topic, client), PartitionWriter(topic, client)
        await old.start()
        await old.commit({tp: [Record(b"k", b"old")]}, {tp: 1}, f"{topic}-group")
        await new.start()
        with pytest.raises(TransactionFailed, match=f"transaction of {topic} must commit, found ProducerFenced"):
            await old.commit({tp: [Record(b"k", b"zombie")]}, {tp: 9}, f"{topic}-group")
        with pytest.raises(TransactionFailed):  # and it stays dead
            await old.commit({tp: [Record(b"k", b"zombie")]}, {tp: 9}, f"{topic}-group")
        await new.commit({tp: [Record(b"k", b"new")]}, {tp: 2}, f"{topic}-group")
        assert await new.committed(f"{topic}-group", [tp]) == {tp: 2}
        await new.stop()
        await old.stop()
        assert await values(client, topic) == [b"old", b"new"]

    run(check())


def test_a_dead_writers_open_transaction_is_settled_by_the_next(client: Client, topic: str) -> None:
    """What a worker wrote before it was killed, and never committed, must be invisible at once to its successor."""
    tp = TopicPartition(topic, 0)

    async def check() -> None:
        dead = PartitionWriter(topic, client, transaction_timeout_ms=60_000)
        await dead.start()
        await dead.commit({tp: [Record(b"k", b"kept")]}, {}, "unused")
        await dead._producer.begin_transaction()
        await dead._producer.send_and_wait(topic, b"half", partition=0)
        began = time.monotonic()
        new = PartitionWriter(topic, client)
        await new.start()
        assert await values(client, topic) == [b"kept"]
        assert time.monotonic() - began < 10  # not the time-out of the dead one
        await new.commit({tp: [Record(b"k", b"new")]}, {}, "unused")
        assert await values(client, topic) == [b"kept", b"new"]
        await new.stop()
        await dead.stop()

    run(check())


def test_reading_to_the_end_of_empty_aborted_and_marker_tails(client: Client, topic: str) -> None:
    """Recovery must end where the data ends: not wait for a record that is a marker, nor stop before the last one."""
    tp = TopicPartition(topic, 0)

    async def check() -> None:
        assert await rows(client, topic) == []
        assert await first_offset(client, tp) == 0
        writer = PartitionWriter(topic, client)
        await writer.start()
        for value in (b"1", b"2", b"3"):
            await writer.commit({tp: [Record(b"k", value)]}, {}, "unused")
        await writer._producer.begin_transaction()
        await writer._producer.send_and_wait(topic, b"aborted", partition=0)
        await writer._producer.abort_transaction()
        await writer.stop()
        found = await rows(client, topic)
        assert [(row.offset, row.value) for row in found] == [(0, b"1"), (2, b"2"), (4, b"3")]
        assert [row.value for row in await rows(client, topic, start=2)] == [b"2", b"3"]
        assert await rows(client, topic, start=6) == []

    run(check())
