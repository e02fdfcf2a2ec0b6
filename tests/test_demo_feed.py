"""The lock-step on a real broker, with a toy pipeline in the place of the worker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from schemas.journal import Block
from schemas.topics import TOPICS
from streams.demo.feed import Cluster, Feed, Stuck
from streams.demo.venue import Message
from streams.kafka.broker import LocalBroker
from streams.kafka.topics import TopicNeed, ensure_topics

pytestmark = pytest.mark.kafka
SHARDS = 2


def cluster_of(broker: LocalBroker, name: str) -> Cluster:
    return Cluster(
        options={"bootstrap_servers": broker.bootstrap},
        topics={logical: f"{name}.{logical}" for logical in TOPICS},
        groups={role: f"{name}-{role}" for role in ("ingest", "oracle", "margin")},
    )


def block_of(value: dict[str, int]) -> bytes:
    """A journal block that carries the message; of quotes a marks block of their time."""
    extra = {**value, "time": value["number"], "oracle": {"mode": "live"}}
    return Block(kind="marks" if value["number"] < 100 else "terms", extra=extra).encode()


async def stage(
    cluster: Cluster, *, role: str, sources: list[str], target: str, delay_s: float, stop_after: int = 1 << 30
) -> None:
    """Copy every record of `sources` to each partition of `target`, `delay_s` late, offset in the transaction."""
    consumer = AIOKafkaConsumer(
        *[cluster.topics[name] for name in sources],
        **cluster.options,
        group_id=f"{cluster.groups[role]}-members",
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=20,
    )
    producer = AIOKafkaProducer(**cluster.options, transactional_id=cluster.groups[role])
    await consumer.start()
    await producer.start()
    try:
        while stop_after > 0:
            for place, records in (await consumer.getmany(timeout_ms=50)).items():
                await asyncio.sleep(delay_s)
                async with producer.transaction():
                    for record in records:
                        value = record.value
                        if target == "journal":
                            value = block_of(orjson.loads(value))
                        else:
                            value = orjson.dumps(Block.decode(value).extra)
                        for partition in range(SHARDS if target == "journal" else 1):
                            await producer.send(cluster.topics[target], value, key=b"alice", partition=partition)
                    offsets = {place: await consumer.position(place)}
                    await producer.send_offsets_to_transaction(offsets, cluster.groups[role])
                stop_after -= len(records)
        await asyncio.sleep(3600)
    finally:
        await consumer.stop()
        await producer.stop()


@asynccontextmanager
async def pipeline(cluster: Cluster, *, delay_s: float, stop_after: int = 1 << 30) -> AsyncIterator[None]:
    needs = [TopicNeed(name=name, partitions=SHARDS) for name in cluster.topics.values()]
    await ensure_topics(cluster.options, needs, create=True)
    parts = [
        ("oracle", ["oracle-prices"], "journal", 1 << 30),
        ("ingest", ["fills", "collateral"], "journal", 1 << 30),
        ("margin", ["journal"], "margin-calls", stop_after),
    ]
    tasks = [
        asyncio.create_task(stage(cluster, role=role, sources=sources, target=target, delay_s=delay_s, stop_after=last))
        for role, sources, target, last in parts
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def quote(number: int) -> Message:
    return Message("oracle-prices", "BTC", {"number": number})


def test_quiet_means_everything_sent_was_answered(broker: LocalBroker) -> None:
    """A step released too early mixes two steps; one released too late is only slow."""

    async def run() -> list[list[int]]:
        cluster = cluster_of(broker, "quiet")
        async with pipeline(cluster, delay_s=0.01):
            feed = await Feed(cluster, lambda: None).start()
            try:
                heard = []
                for number in range(12):
                    fill = [Message("fills", f"a{number}", {"number": 100 + number})] if number % 3 == 0 else []
                    await feed.send([quote(number), *fill])
                    heard.append(sorted(item.value["number"] for item in await feed.wait_quiet(number)))
                assert feed.blocks == 16 * SHARDS
                return heard
            finally:
                await feed.stop()

    expected = [[n] * SHARDS + ([100 + n] * SHARDS if n % 3 == 0 else []) for n in range(12)]
    assert asyncio.run(run()) == expected


def test_worker_that_makes_no_progress_is_named(broker: LocalBroker) -> None:
    """A demo that hangs for ever says nothing; the message must tell which partition nobody works on."""

    async def run() -> None:
        cluster = cluster_of(broker, "stuck")
        async with pipeline(cluster, delay_s=0.0, stop_after=1):
            feed = await Feed(cluster, lambda: None, patience_s=1.0).start()
            try:
                await feed.send([quote(1)])
                await feed.wait_quiet()
                await feed.send([quote(2)])
                await feed.wait_quiet()
            finally:
                await feed.stop()

    with pytest.raises(Stuck, match=r"offsets must move within 1 s, these do not: stuck\.journal\[\d\] \d+ <= \d+"):
        asyncio.run(run())


def test_dead_worker_ends_the_wait(broker: LocalBroker) -> None:
    """Waiting a minute for a process that is gone is a minute lost at every failed start."""

    def alive() -> None:
        raise RuntimeError("the worker is gone")

    async def run() -> None:
        cluster = cluster_of(broker, "dead")
        needs = [TopicNeed(name=name, partitions=1) for name in cluster.topics.values()]
        await ensure_topics(cluster.options, needs, create=True)
        feed = await Feed(cluster, alive).start()
        try:
            await feed.send([quote(1)])
            await feed.wait_quiet()
        finally:
            await feed.stop()

    with pytest.raises(RuntimeError, match="the worker is gone"):
        asyncio.run(run())


def test_output_held_back_by_an_open_transaction_is_waited_for(broker: LocalBroker) -> None:
    """Offsets can be committed a moment before their outputs can be read: a liquidation would be missed by a step."""

    async def run() -> list[dict[str, int]]:
        cluster = cluster_of(broker, "held")
        async with pipeline(cluster, delay_s=0.0):
            feed = await Feed(cluster, lambda: None).start()
            late = AIOKafkaProducer(**cluster.options, transactional_id="held-late")
            await late.start()
            try:
                await feed.send([quote(1)])
                await late.begin_transaction()
                await late.send_and_wait(cluster.topics["liquidations"], orjson.dumps({"number": 7}), partition=1)
                waiting = asyncio.create_task(feed.wait_quiet())
                await asyncio.sleep(0.5)
                assert not waiting.done()
                await late.commit_transaction()
                return [item.value for item in await waiting if item.topic == "liquidations"]
            finally:
                await feed.stop()
                await late.stop()

    assert asyncio.run(run()) == [{"number": 7}]
