"""Where a successor finds itself: ends of transactional topics, and offsets committed in transactions."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.kafka_probe.clients import create, out, put, read_all, transactional


async def tails(bootstrap: str) -> None:
    """Read compacted, transactionally written topics to their end by position."""
    out("reading a compacted transactional topic to its end, read_committed")
    compact = {
        "cleanup.policy": "compact", "segment.ms": "500", "min.cleanable.dirty.ratio": "0.01",
        "max.compaction.lag.ms": "500", "delete.retention.ms": "0", "segment.bytes": "1048576",
    }  # fmt: skip
    topic = await create(bootstrap, "tails", 1, **compact)
    where = TopicPartition(topic, 0)

    async def report(name: str) -> None:
        t0 = time.perf_counter()
        values, position, end = await read_all(bootstrap, topic)
        took = time.perf_counter() - t0
        ends = {}
        for isolation in ("read_committed", "read_uncommitted"):
            consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level=isolation)
            await consumer.start()
            consumer.assign([where])
            ends[isolation] = (await consumer.end_offsets([where]))[where]
            await consumer.stop()
        reached = "reached" if position >= end else "NOT reached"
        out(
            f"  {name:34} end_offsets committed {ends['read_committed']}, uncommitted "
            f"{ends['read_uncommitted']}; position {position} {reached} in {took:.2f} s, "
            f"{len(values)} records"
        )

    producer = transactional(bootstrap, "tails", retry_backoff_ms=5)
    await producer.start()
    for _ in range(20):
        async with producer.transaction():
            await put(producer, topic, 0)
    await report("20 commits, commit marker last")
    await producer.begin_transaction()
    await (await put(producer, topic, 0))
    await producer.abort_transaction()
    await report("abort marker last")
    await producer.begin_transaction()
    await (await put(producer, topic, 0))
    await report("a transaction open")
    await producer.commit_transaction()
    await report("committed at once before reading")
    await asyncio.sleep(1)
    async with producer.transaction():
        await put(producer, topic, 0)
    await asyncio.sleep(40)
    await report("after compaction")
    await producer.begin_transaction()
    await (await put(producer, topic, 0))
    await producer.abort_transaction()
    await asyncio.sleep(1)
    await report("after compaction, abort last")
    await producer.stop()


async def offsets(bootstrap: str) -> None:
    """Commit group offsets in transactions: is it allowed, and can a successor read a stale one?"""
    topic = await create(bootstrap, "offsets", 4)
    where = TopicPartition(topic, 0)
    out("offsets committed in a transaction")
    producer = transactional(bootstrap, "offsets", retry_backoff_ms=5)
    await producer.start()

    async def commit(offset: int, group: str) -> str:
        try:
            async with producer.transaction():
                await producer.send_offsets_to_transaction({where: offset}, group)
        except Exception as error:
            return repr(error)
        return "allowed"

    async def until_seen(consumer: AIOKafkaConsumer, offset: int) -> str:
        t0 = time.perf_counter()
        while await consumer.committed(where) != offset:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)
        return f"seen {(time.perf_counter() - t0) * 1e3:.1f} ms after the commit returned"

    lonely = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id="empty", enable_auto_commit=False)
    await lonely.start()
    lonely.assign([where])
    out(f"  to a group without members: {await commit(7, 'empty')}, {await until_seen(lonely, 7)}")
    member = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id="live", enable_auto_commit=False)
    await member.start()
    out(f"  to a group with a live member: {await commit(8, 'live')}, {await until_seen(member, 8)}")
    await producer.begin_transaction()
    await producer.send_offsets_to_transaction({where: 9}, "live")
    out(f"  read while 9 is pending: {await member.committed(where)} (no error, no wait)")
    await producer.abort_transaction()
    await producer.stop()
    for successor in (True, False):
        await _stale(bootstrap, topic, where, lonely, successor)
    await lonely.stop()
    await member.stop()


async def _stale(bootstrap: str, topic: str, where: TopicPartition, reader: AIOKafkaConsumer, successor: bool) -> None:
    trials, stale, differ = 100, 0, 0
    results: Counter[str] = Counter()
    latest = transactional(bootstrap, f"stale-{successor}", retry_backoff_ms=5)
    await latest.start()
    partition = 1 if successor else 2
    for n in range(1, trials + 1):
        await latest.begin_transaction()
        await (await put(latest, topic, partition, str(n).encode()))
        await latest.send_offsets_to_transaction({where: n}, "empty")
        committing = asyncio.ensure_future(latest.commit_transaction())
        await asyncio.sleep(random.choice((0, 0, random.uniform(0, 0.006))))
        old = latest
        if successor:  # another producer of the same name, while the commit of the first is on its way
            latest = transactional(bootstrap, f"stale-{successor}", retry_backoff_ms=5)
            await latest.start()
            first = await reader.committed(where)
        else:
            done = await asyncio.wait_for(asyncio.gather(committing, return_exceptions=True), 30)
            first = await reader.committed(where)  # the commit was answered: is it seen?
        values = (await read_all(bootstrap, topic, partition))[0] if successor else [str(n).encode()]
        await asyncio.sleep(0.02)
        later = await reader.committed(where)
        stale += first != later
        differ += (int(values[-1]) if values else None) != first
        if successor:
            try:
                await asyncio.wait_for(committing, 10)
                results["commit returned"] += 1
            except Exception as error:
                results[type(error).__name__] += 1
            await asyncio.wait_for(asyncio.gather(old.stop(), return_exceptions=True), 20)
        else:
            results["commit returned" if done[0] is None else type(done[0]).__name__] += 1
        if later != n:  # that commit was fenced away: bring the group back in step
            async with latest.transaction():
                await put(latest, topic, partition, str(n).encode())
                await latest.send_offsets_to_transaction({where: n}, "empty")
            await asyncio.sleep(0.02)
    await latest.stop()
    when = "a successor started (InitProducerId)" if successor else "its own commit returned"
    out(
        f"  read right after {when}: {stale} of {trials} stale, {differ} differed from the changelog; "
        f"first producer: {dict(results)}"
    )
