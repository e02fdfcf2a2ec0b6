"""How far groups have read their topics, asked of a real broker."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.records_to_delete import RecordsToDelete

from streams.kafka.broker import LocalBroker
from streams.kafka.progress import Progress, SourceProgress

pytestmark = pytest.mark.kafka

T = 1_760_130_900_000
_numbers = itertools.count()


class Bench:
    """Two topics of one group on the session's broker, with the hands to write, commit and ask."""

    def __init__(self, bootstrap: str, fills: str, group: str) -> None:
        self.bootstrap = bootstrap
        self.fills, self.collateral = fills, fills + "-collateral"
        self.group = group
        self.progress = SourceProgress({group: [self.fills, self.collateral]}, bootstrap_servers=bootstrap)

    async def write(self, *times: int, topic: str = "", partition: int = 0, value: bytes = b"v") -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap) as producer:
            for time_ms in times:
                await producer.send_and_wait(topic or self.fills, value, partition=partition, timestamp_ms=time_ms)

    async def write_batch(self, *times: int, partition: int = 0, value: bytes = b"v") -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap, max_request_size=1 << 24) as producer:
            batch = producer.create_batch()
            for time_ms in times:
                assert batch.append(key=None, value=value, timestamp=time_ms) is not None
            await (await producer.send_batch(batch, self.fills, partition=partition))

    @asynccontextmanager
    async def transaction(self, *, abort: bool = False) -> AsyncIterator[AIOKafkaProducer]:
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap, transactional_id=self.fills) as producer:
            await producer.begin_transaction()
            yield producer
            await (producer.abort_transaction() if abort else producer.commit_transaction())

    async def commit(self, offset: int, *, topic: str = "", partition: int = 0) -> None:
        tp = TopicPartition(topic or self.fills, partition)
        async with AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=self.group, enable_auto_commit=False
        ) as consumer:
            consumer.assign([tp])
            await consumer.commit({tp: offset})

    async def delete_before(self, offset: int) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        await admin.delete_records({TopicPartition(self.fills, 0): RecordsToDelete(before_offset=offset)})
        await admin.close()

    async def poll(self) -> Progress:
        """A new answer; asked again for up to 10 s, since a busy broker, or one without a group yet, has errors."""
        for _ in range(100):
            answer = await self.progress.poll()
            if not answer.error:
                break
            await asyncio.sleep(0.1)
        assert answer.error == ""
        return answer

    async def unread(self, *, until: tuple[int | None, str] = (0, "")) -> tuple[int | None, str]:
        """Time and place of the oldest unread record, without the topic's name.

        With `until`, asks again for up to 5 s: a commit is acknowledged before its markers are in the logs.
        """
        for _ in range(100):
            answer = await self.poll()
            found = answer.time_ms, answer.slowest.removeprefix(self.fills)
            if until in (found, (0, "")):
                break
            await asyncio.sleep(0.05)
        return found


async def create(bootstrap: str, *topics: NewTopic) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics(topics)
    await admin.close()


def bench(broker: LocalBroker, body: Callable[[Bench], Awaitable[None]]) -> None:
    """Run `body` on two new topics of two partitions each."""

    async def run() -> None:
        number = next(_numbers)
        hands = Bench(broker.bootstrap, f"progress-{number}", f"progress-group-{number}")
        configs = {"max.message.bytes": "16000000"}
        await create(
            broker.bootstrap,
            NewTopic(hands.fills, 2, 1, topic_configs=configs),
            NewTopic(hands.collateral, 2, 1, topic_configs=configs),
        )
        try:
            await body(hands)
        finally:
            await hands.progress.close()

    asyncio.run(run())


def test_backlog_is_what_was_there_at_the_first_question(broker: LocalBroker) -> None:
    """Its times may lie: records that a mirror wrote just now are of long ago, and what they say must be read first."""

    async def body(hands: Bench) -> None:
        await hands.write(T, T + 1)
        assert hands.progress.answer.backlog
        assert (await hands.poll()).backlog
        await hands.write(T + 2)
        await hands.commit(1)
        assert (await hands.poll()).backlog
        await hands.commit(2)
        assert await hands.unread(until=(T + 2, "[0] at offset 2")) == (T + 2, "[0] at offset 2")
        assert not hands.progress.answer.backlog
        await hands.write(T)
        assert not (await hands.poll()).backlog

    bench(broker, body)


def test_markers_are_no_backlog(broker: LocalBroker) -> None:
    """A reader's offset stays before the markers at the end of a log until a record comes."""

    async def body(hands: Bench) -> None:
        async with hands.transaction() as producer:
            await producer.send_and_wait(hands.fills, b"v", partition=0, timestamp_ms=T)
        assert await hands.unread(until=(T, "[0] at offset 0")) == (T, "[0] at offset 0")
        await hands.commit(1)
        assert await hands.unread(until=(None, "")) == (None, "")
        assert not hands.progress.answer.backlog

    bench(broker, body)


def test_oldest_unread_record_of_all_topics(broker: LocalBroker) -> None:
    """The one slow topic decides: a deposit of an hour ago must hold back today's crash."""

    async def body(hands: Bench) -> None:
        assert await hands.poll() == Progress(time_ms=None, age_ms=pytest.approx(0, abs=5_000))
        await hands.write(T + 5, T + 6)
        await hands.write(T + 3, T + 4, partition=1, topic=hands.collateral)
        answer = await hands.poll()
        assert (answer.time_ms, answer.behind) == (T + 3, 2)
        assert answer.slowest == f"{hands.collateral}[1] at offset 0"
        await hands.commit(1, topic=hands.collateral, partition=1)
        assert (await hands.poll()).time_ms == T + 4
        await hands.commit(2, topic=hands.collateral, partition=1)
        assert await hands.unread() == (T + 5, "[0] at offset 0")
        await hands.commit(2)
        assert await hands.unread() == (None, "")
        await hands.write(T + 9)
        assert await hands.unread() == (T + 9, "[0] at offset 2")

    bench(broker, body)


def test_commit_in_the_middle_of_a_batch(broker: LocalBroker) -> None:
    """The time is that of the first unread record, not of the batch that holds it; a commit set back is seen."""

    async def body(hands: Bench) -> None:
        await hands.write_batch(T, T + 10, T + 20, T + 30)
        for offset in (2, 3, 1):
            await hands.commit(offset)
            assert await hands.unread() == (T + 10 * offset, f"[0] at offset {offset}")

    bench(broker, body)


def test_markers_alone_are_not_behind(broker: LocalBroker) -> None:
    """Where the last thing in a partition is a transaction's marker, its reader would seem behind for ever."""

    async def body(hands: Bench) -> None:
        async with hands.transaction() as producer:
            await producer.send(hands.fills, b"v", partition=0, timestamp_ms=T)
            await producer.send(hands.fills, b"v", partition=1, timestamp_ms=T + 1)
        expected = (T, "[0] at offset 0")
        assert await hands.unread(until=expected) == expected
        await hands.commit(1)
        await hands.commit(1, partition=1)
        assert await hands.unread(until=(None, "")) == (None, "")
        await hands.write(T + 7)
        assert await hands.unread() == (T + 7, "[0] at offset 2")  # the marker is at 1

    bench(broker, body)


def test_aborted_records_are_not_behind(broker: LocalBroker) -> None:
    """What a reader never sees it cannot be behind on, though it fills several fetches."""

    async def body(hands: Bench) -> None:
        async with hands.transaction(abort=True) as producer:
            for _ in range(100):
                await producer.send_and_wait(hands.fills, b"v" * 1_000, partition=0, timestamp_ms=T)
        assert await hands.unread() == (None, "")
        await hands.write(T + 1)
        expected = (T + 1, "[0] at offset 101")
        assert await hands.unread(until=expected) == expected

    bench(broker, body)


def test_open_transaction_counts_when_it_commits(broker: LocalBroker) -> None:
    """Its records are not there for anybody yet; then they are, with their own old time."""

    async def body(hands: Bench) -> None:
        async with hands.transaction() as producer:
            await producer.send_and_wait(hands.fills, b"v", partition=0, timestamp_ms=T)
            assert await hands.unread() == (None, "")
        expected = (T, "[0] at offset 0")
        assert await hands.unread(until=expected) == expected

    bench(broker, body)


def test_deleted_records_are_not_behind(broker: LocalBroker) -> None:
    """Retention that ran over an idle group, with or without a commit, must not stop the market for ever."""

    async def body(hands: Bench) -> None:
        await hands.write(T, T + 1, T + 2)
        assert await hands.unread() == (T, "[0] at offset 0")
        await hands.delete_before(1)
        assert await hands.unread() == (T + 1, "[0] at offset 1")
        await hands.commit(0)
        assert await hands.unread() == (T + 1, "[0] at offset 1")
        await hands.delete_before(3)
        assert await hands.unread() == (None, "")

    bench(broker, body)


def test_batches_larger_than_a_fetch(broker: LocalBroker) -> None:
    """A broker leaves out what does not fit, save in the first partition: all are found all the same."""

    async def body(hands: Bench) -> None:
        for partition in (0, 1):
            await hands.write_batch(T + partition, value=b"v" * 3_000_000, partition=partition)
        await hands.write(T + 2, topic=hands.collateral, value=b"v" * 100_000)
        assert (await hands.poll()).behind == 3
        await hands.commit(1)
        assert await hands.unread() == (T + 1, "[1] at offset 0")

    bench(broker, body)


def test_offsets_committed_in_a_transaction(broker: LocalBroker) -> None:
    """As ingest does it: until its transaction ends the record is unread, then it is read."""

    async def body(hands: Bench) -> None:
        await hands.write(T)
        async with hands.transaction() as producer:
            await producer.send_offsets_to_transaction({TopicPartition(hands.fills, 0): 1}, hands.group)
            assert await hands.unread() == (T, "[0] at offset 0")
        assert await hands.unread(until=(None, "")) == (None, "")

    bench(broker, body)


def test_groups_of_their_own(broker: LocalBroker) -> None:
    """The oracle's own backlog counts beside that of ingest; one group's commit says nothing of another's topic."""

    async def body(hands: Bench) -> None:
        await hands.write(T)
        await hands.write(T + 1, topic=hands.collateral)
        await hands.commit(1)
        other = f"{hands.group}-other"
        progress = SourceProgress(
            {hands.group: [hands.fills], other: [hands.collateral]}, bootstrap_servers=broker.bootstrap
        )
        try:
            answer = await progress.poll()
        finally:
            await progress.close()
        assert (answer.time_ms, answer.behind, answer.error) == (T + 1, 1, "")

    bench(broker, body)


def test_topic_that_is_missing(broker: LocalBroker) -> None:
    """A mistyped topic never looks like one that is read to its end; made later, it is found."""

    async def body(hands: Bench) -> None:
        name = f"{hands.fills}-missing"
        progress = SourceProgress({hands.group: [hands.fills, name]}, bootstrap_servers=broker.bootstrap)
        try:
            answer = await progress.poll()
            assert (answer.time_ms, answer.age_ms) == (0, float("inf"))
            assert f"topic {name} must exist" in answer.error
            await create(broker.bootstrap, NewTopic(name, 1, 1))
            for _ in range(50):
                if not (answer := await progress.poll()).error:
                    break
                await asyncio.sleep(0.1)
            assert (answer.error, answer.time_ms) == ("", None)
        finally:
            await progress.close()

    bench(broker, body)


def test_topic_of_two_groups_is_refused() -> None:
    """Which group's offset counts would be chance."""
    with pytest.raises(ValueError, match="each topic must belong to one group"):
        SourceProgress({"a": ["fills"], "b": ["fills"]}, bootstrap_servers="127.0.0.1:1")


def test_broker_away_and_back(tmp_path: Path) -> None:
    """No answer is no news: the last one stays, growing old, until the broker is back; nothing is raised."""

    async def run(own: LocalBroker) -> None:
        await create(own.bootstrap, NewTopic("fills", 1, 1))
        hands = Bench(own.bootstrap, "fills", "group")
        hands.progress = SourceProgress({"group": ["fills"]}, timeout_s=0.5, bootstrap_servers=own.bootstrap)
        await hands.write(T)
        first = await hands.poll()
        own.kill()
        away = [await hands.progress.poll() for _ in range(3)]
        assert all(answer.error and answer.slowest == first.slowest == "fills[0] at offset 0" for answer in away)
        assert all(later.age_ms > sooner.age_ms for sooner, later in itertools.pairwise([first, *away]))
        assert hands.progress.answer.age_ms >= away[-1].age_ms
        own.start()  # from this thread: the broker dies with the thread that started it
        for _ in range(100):
            if not (answer := await hands.progress.poll()).error:
                break
            await asyncio.sleep(0.1)
        assert (answer.error, answer.time_ms) == ("", T)
        assert answer.age_ms < 2_000
        await hands.progress.close()

    with LocalBroker(tmp_path) as own:
        asyncio.run(run(own))


def test_no_broker_at_all() -> None:
    """Before the first answer everything counts as unread."""

    async def run() -> Progress:
        progress = SourceProgress({"group": ["fills"]}, timeout_s=0.5, bootstrap_servers="127.0.0.1:1")
        answer = await progress.poll()
        await progress.close()
        return answer

    answer = asyncio.run(run())
    assert (answer.time_ms, answer.age_ms) == (0, float("inf"))
    assert "127.0.0.1" in answer.error


def test_forty_partitions_five_times_a_second(broker: LocalBroker) -> None:
    """A poll of 40 partitions, all of them behind, takes a fraction of the 200 ms between two."""

    async def run() -> list[float]:
        topics = [f"progress-wide-{name}" for name in range(4)]
        await create(broker.bootstrap, *(NewTopic(topic, 10, 1) for topic in topics))
        async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
            for topic, partition in itertools.product(topics, range(10)):
                await producer.send(topic, b"v" * 200, partition=partition, timestamp_ms=T)
        hands = Bench(broker.bootstrap, "wide", "wide")
        hands.progress = SourceProgress({"wide": topics}, bootstrap_servers=broker.bootstrap)
        assert (await hands.poll()).behind == 40
        took = []
        for _ in range(50):
            began = time.perf_counter()
            await hands.poll()
            took.append(time.perf_counter() - began)
        await hands.progress.close()
        return took

    assert statistics.median(asyncio.run(run())) < 0.1
