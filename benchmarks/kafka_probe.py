"""Measure how aiokafka and Apache Kafka behave where the engine's exactly-once design leans on them.

``python benchmarks/kafka_probe.py [--only NAME]`` starts brokers of its own and prints one table per probe.
What the numbers mean is in docs/kafka-measurements.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.producer import sender

from streams.kafka.broker import LocalBroker

VALUE = b"x" * 200
PLAIN_OVERRIDE = sender.BACKOFF_OVERRIDE
# retry_backoff_ms, and aiokafka's own wait before the first partition of a transaction where not the default
BACKOFFS = [(100, PLAIN_OVERRIDE), (10, PLAIN_OVERRIDE), (5, PLAIN_OVERRIDE), (5, 0.002)]


def out(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)


def quantile(values: list[float], share: float) -> float:
    """Return the value below which ``share`` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def create(bootstrap: str, name: str, partitions: int = 1, **configs: str) -> str:
    """Create a topic and return its name."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs)])
    await admin.close()
    return name


def transactional(bootstrap: str, name: str, **options: Any) -> AIOKafkaProducer:
    """Return a transactional producer, not yet started."""
    return AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=name, **options)


async def put(producer: AIOKafkaProducer, topic: str, partition: int, value: bytes = VALUE) -> Any:
    """Hand one batch of one record to the producer; return the future of its acknowledgement."""
    batch = producer.create_batch()
    batch.append(key=b"k", value=value, timestamp=None)
    batch.close()
    return await producer.send_batch(batch, topic, partition=partition)


async def read_all(bootstrap: str, topic: str, partition: int = 0) -> tuple[list[bytes], int, int]:
    """Read a partition as recovery does: read_committed, until position() reaches end_offsets()."""
    where = TopicPartition(topic, partition)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await consumer.start()
    consumer.assign([where])
    await consumer.seek_to_beginning(where)
    end = (await consumer.end_offsets([where]))[where]
    values: list[bytes] = []
    deadline = time.monotonic() + 30
    while await consumer.position(where) < end and time.monotonic() < deadline:
        for records in (await consumer.getmany(timeout_ms=100)).values():
            values += [record.value for record in records]
    position = await consumer.position(where)
    await consumer.stop()
    return values, position, end


def count_retries() -> Counter[str]:
    """Count the transaction requests that aiokafka repeats after a back-off."""
    counts: Counter[str] = Counter()
    for name in ("AddPartitionsToTxnHandler", "AddOffsetsToTxnHandler", "InitPIDHandler", "EndTxnHandler"):
        handler = getattr(sender, name)
        plain = handler.handle_response

        def counting(self: Any, response: Any, plain: Any = plain, name: str = name) -> Any:
            backoff = plain(self, response)
            counts[name.removesuffix("Handler")] += backoff is not None
            return backoff

        handler.handle_response = counting
    return counts


async def latency(bootstrap: str) -> None:
    """Time one flush: begin, a batch to each partition, source offset, commit."""
    retries = count_retries()
    source = TopicPartition(await create(bootstrap, "source"), 0)
    out("latency of one flush, ms (N; retried requests per flush)")
    out("partitions  back-off  spacing  data p50  offsets p50  commit p50   all p50  p99     N  retries")
    for partitions in (0, 4, 24):
        topic = await create(bootstrap, f"flush-{partitions}", max(partitions, 1))
        for backoff, override in BACKOFFS:
            sender.BACKOFF_OVERRIDE = override
            if override != PLAIN_OVERRIDE:
                out(f"with aiokafka's BACKOFF_OVERRIDE at {override * 1e3:.0f} ms instead of 20:")
            name = f"latency-{partitions}-{backoff}-{override}"
            producer = transactional(bootstrap, name, retry_backoff_ms=backoff)
            await producer.start()
            for spacing, count in ((0, 200), (50, 100), (100, 80), (250, 40)):
                retries.clear()
                steps: dict[str, list[float]] = defaultdict(list)
                for i in range(count + 10):
                    t0 = time.perf_counter()
                    await producer.begin_transaction()
                    acks = [await put(producer, topic, p) for p in range(partitions)]
                    await asyncio.gather(*acks)
                    t1 = time.perf_counter()
                    await producer.send_offsets_to_transaction({source: i}, "group")
                    t2 = time.perf_counter()
                    await producer.commit_transaction()
                    t3 = time.perf_counter()
                    if i >= 10:
                        for name, took in (("data", t1 - t0), ("offsets", t2 - t1), ("commit", t3 - t2)):
                            steps[name].append(took * 1e3)
                        steps["all"].append((t3 - t0) * 1e3)
                    await asyncio.sleep(spacing / 1e3 * random.uniform(0.8, 1.2))
                mid = {name: statistics.median(took) for name, took in steps.items()}
                out(
                    f"{partitions:10}  {backoff:8}  {spacing:7}  {mid['data']:8.1f}  {mid['offsets']:11.1f}  "
                    f"{mid['commit']:10.1f}  {mid['all']:8.1f}  {quantile(steps['all'], 0.99):6.1f}  "
                    f"{count:4}  {sum(retries.values()) / count:.2f}"
                )
            await producer.stop()


async def writers(bootstrap: str) -> None:
    """Time 24 producers flushing at 100 ms each, in one event loop: what one worker with 24 shards sees."""
    out("flush latency with several producers in one worker, each every 100 ms, back-off 5 ms")
    for count in (1, 8, 24):
        topic = await create(bootstrap, f"writers-{count}", 24)
        names = [f"writers-{count}-{i}" for i in range(count)]
        producers = [transactional(bootstrap, name, retry_backoff_ms=5) for name in names]
        await asyncio.gather(*(producer.start() for producer in producers))
        took: list[float] = []

        async def flush(producer: AIOKafkaProducer, shard: int, topic: str, took: list[float]) -> None:
            for i in range(60):
                t0 = time.perf_counter()
                await producer.begin_transaction()
                acks = [await put(producer, topic, (shard + n) % 24) for n in range(3)]
                await asyncio.gather(*acks)
                await producer.send_offsets_to_transaction({TopicPartition(topic, shard): i}, "group")
                await producer.commit_transaction()
                if i >= 10:
                    took.append((time.perf_counter() - t0) * 1e3)
                await asyncio.sleep(0.1 * random.uniform(0.8, 1.2))

        cpu = time.process_time()
        t0 = time.perf_counter()
        await asyncio.gather(*(flush(producer, i, topic, took) for i, producer in enumerate(producers)))
        wall = time.perf_counter() - t0
        cpu = time.process_time() - cpu
        out(
            f"{count:3} producers: p50 {quantile(took, 0.5):.1f} ms, p99 {quantile(took, 0.99):.1f} ms, "
            f"{60 * count / wall:.0f} flushes/s, {cpu / (60 * count) * 1e3:.2f} ms of client CPU a flush"
        )
        await asyncio.gather(*(producer.stop() for producer in producers))


def resident_mb() -> float:
    """Return this process's resident memory in MiB."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def start_up(bootstrap: str) -> None:
    """Time the start of transactional producers, and their memory."""
    out("start-up of transactional producers")
    await create(bootstrap, "start-up", 24)
    for name, count, together in (("first of all", 1, True), ("one", 1, True), ("24 in turn", 24, False),
                                  ("24 at once", 24, True), ("the same 24 again", 24, True)):  # fmt: skip
        prefix = "again" if name == "the same 24 again" else name.replace(" ", "-")
        prefix = "24-at-once" if prefix == "again" else prefix
        producers = [transactional(bootstrap, f"{prefix}-{i}", retry_backoff_ms=10) for i in range(count)]
        before, t0 = resident_mb(), time.perf_counter()
        if together:
            await asyncio.gather(*(producer.start() for producer in producers))
        else:
            for producer in producers:
                await producer.start()
        took = (time.perf_counter() - t0) * 1e3
        for i, producer in enumerate(producers):
            async with producer.transaction():
                await put(producer, "start-up", i)
        sockets = sum(1 for fd in os.listdir("/proc/self/fd") if "socket" in _link(fd))
        memory = (resident_mb() - before) / count
        out(f"{name:18} {took:7.1f} ms, {memory:.2f} MiB each, {sockets} sockets open")
        await asyncio.gather(*(producer.stop() for producer in producers))


def _link(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def child(*arguments: object) -> subprocess.Popen[str]:
    """Start this script as a child that is going to be killed."""
    command = [sys.executable, __file__, "--child", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def child_open(bootstrap: str, name: str, topic: str, timeout: str) -> None:
    """Open a transaction, write, say so, and hang."""
    producer = transactional(bootstrap, name, transaction_timeout_ms=int(timeout))
    await producer.start()
    await producer.begin_transaction()
    await (await put(producer, topic, 0, b"never"))
    out("open")
    await asyncio.sleep(3600)


async def hanging(bootstrap: str) -> None:
    """Kill a writer inside its transaction; how long do read_committed readers of the partition wait?"""
    out("a writer killed inside a transaction: readers of its partition are held back, s after the kill")
    for timeout in (1000, 2000, 5000, 10000):
        waits = [await _hang(bootstrap, f"hang-{timeout}-{i}", timeout, False) for i in range(3)]
        out(f"  no successor, transaction_timeout_ms {timeout:5}: " + ", ".join(f"{w[0]:.2f}" for w in waits))
    waits = [await _hang(bootstrap, f"successor-{i}", 60000, True) for i in range(8)]
    out("  a successor starts at once, until it is started: " + ", ".join(f"{w[1]:.3f}" for w in waits))
    out("                         until the reader reads on: " + ", ".join(f"{w[0]:.3f}" for w in waits))


async def _hang(bootstrap: str, name: str, timeout: int, successor: bool) -> tuple[float, float]:
    topic = await create(bootstrap, name)
    process = child("open", bootstrap, name, topic, timeout)
    assert process.stdout is not None
    await asyncio.to_thread(process.stdout.readline)
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, isolation_level="read_committed",
                                auto_offset_reset="earliest", fetch_max_wait_ms=50)  # fmt: skip
    plain = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await consumer.start()
    await plain.start()
    await plain.send_and_wait(topic, b"held back", partition=0)
    process.kill()
    t0 = time.perf_counter()
    started = 0.0
    heir = transactional(bootstrap, name, transaction_timeout_ms=timeout, retry_backoff_ms=5)
    if successor:
        await heir.start()
        started = time.perf_counter() - t0
    record = await asyncio.wait_for(consumer.getone(), 90)
    took = time.perf_counter() - t0
    assert record.value == b"held back", record
    process.wait()
    for client in (consumer, plain, *([heir] if successor else [])):
        await client.stop()
    return took, started


async def hanging_default(_bootstrap: str) -> None:
    """Repeat with other clean-up intervals of the broker."""
    for interval in ("200", "10000"):
        settings = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": interval}
        with tempfile.TemporaryDirectory() as directory, LocalBroker(directory, settings=settings) as broker:
            waits = [await _hang(broker.bootstrap, f"hang-{i}", 1000, False) for i in range(4)]
        out(f"  clean-up interval {interval:5} ms, timeout 1000: " + ", ".join(f"{w[0]:.2f}" for w in waits))


async def crash(_bootstrap: str) -> None:
    """Kill -9 the broker around a commit, start it again: what does the producer say, and is it true?"""
    out("broker killed -9 in a transaction and started again")
    with tempfile.TemporaryDirectory() as directory, LocalBroker(directory) as broker:
        topic = await create(broker.bootstrap, "crash")
        for name, delay, timeout, down in (
            ("before commit", None, 60000, 0.0),
            ("before commit, down longer than the transaction's timeout", None, 2000, 4.0),
            *[("during commit", random.uniform(0, 0.008), 60000, 0.0) for _ in range(12)],
        ):
            said = await _crash_once(broker, topic, delay, timeout, down)
            out(f"  {name:57} {'' if delay is None else f'{delay * 1e3:.1f} ms in: '}{said}")


async def _crash_once(broker: LocalBroker, topic: str, delay: float | None, timeout: int, down: float) -> str:
    mark = os.urandom(4).hex().encode()
    producer = transactional(
        broker.bootstrap, f"crash-{mark.decode()}", transaction_timeout_ms=timeout, retry_backoff_ms=20
    )
    await producer.start()
    await producer.begin_transaction()
    await (await put(producer, topic, 0, mark))
    if delay is None:
        broker.kill()
        committing = asyncio.ensure_future(producer.commit_transaction())
    else:
        committing = asyncio.ensure_future(producer.commit_transaction())
        await asyncio.sleep(delay)
        broker.kill()
    early = committing.done() and committing.exception() is None
    t0 = time.perf_counter()
    await asyncio.sleep(down)
    broker.start()  # blocks the loop, like the pause of a real outage
    ready = time.perf_counter() - t0
    try:
        await asyncio.wait_for(committing, 60)
        result = "commit returned" + (" before the kill" if early else "")
    except Exception as error:
        result = f"commit raised {error!r}"
    took = time.perf_counter() - t0
    error = ""
    try:
        await asyncio.wait_for(producer.stop(), 20)
    except Exception as stopping:
        error = f", stop raised {stopping!r}"
    heir = transactional(broker.bootstrap, f"crash-{mark.decode()}", retry_backoff_ms=5)
    await heir.start()
    heir_at = time.perf_counter() - t0
    await heir.stop()
    there = mark in (await read_all(broker.bootstrap, topic))[0]
    return (
        f"{result}{error}; record {'committed' if there else 'absent'}; broker ready {ready:.1f} s, "
        f"answer {took:.1f} s, successor started {heir_at:.1f} s after the kill"
    )


class _Log(ConsumerRebalanceListener):  # type: ignore[misc]
    async def on_partitions_revoked(self, revoked: Any) -> None:
        out(json.dumps({"at": time.time(), "revoked": sorted(tp.partition for tp in revoked)}))

    async def on_partitions_assigned(self, assigned: Any) -> None:
        out(json.dumps({"at": time.time(), "assigned": sorted(tp.partition for tp in assigned)}))


async def child_member(bootstrap: str, group: str, topic: str, heartbeat: str, instance: str) -> None:
    """Be one member of a group and print each record's partition and time of arrival."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=group, session_timeout_ms=6000, fetch_max_wait_ms=20,
        heartbeat_interval_ms=int(heartbeat), group_instance_id=None if instance == "-" else instance,
    )  # fmt: skip
    consumer.subscribe([topic], listener=_Log())
    await consumer.start()
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    while not ending.is_set():
        for records in (await consumer.getmany(timeout_ms=50)).values():
            for record in records:
                out(json.dumps({"at": time.time(), "partition": record.partition}))
    await consumer.stop()


async def groups(bootstrap: str) -> None:
    """Members join, leave and die: how long does each partition stand still?"""
    out("longest stand-still of a partition after an event, s: worst of 4 partitions")
    for heartbeat in (3000, 500):
        for static in (False, True):
            await _group(bootstrap, heartbeat, static)


async def _group(bootstrap: str, heartbeat: int, static: bool) -> None:
    group = f"group-{heartbeat}-{static}"
    topic = await create(bootstrap, group, 4)
    seen: dict[int, list[float]] = defaultdict(list)
    readers: list[asyncio.Task[None]] = []
    ready = asyncio.Event()

    def member(name: str) -> subprocess.Popen[str]:
        process = child("member", bootstrap, group, topic, heartbeat, name if static else "-")
        ready.clear()
        readers.append(asyncio.ensure_future(asyncio.to_thread(read, process, asyncio.get_running_loop())))
        return process

    def read(process: subprocess.Popen[str], loop: asyncio.AbstractEventLoop) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if "partition" in event:
                seen[event["partition"]].append(event["at"])
            elif "assigned" in event:
                loop.call_soon_threadsafe(ready.set)

    async def feed() -> None:
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            while True:
                for partition in range(4):
                    await producer.send(topic, b"x", partition=partition)
                await asyncio.sleep(0.02)

    async def stand_still(after: float, seconds: float) -> str:
        await asyncio.sleep(seconds)
        worst = 0.0
        for times in seen.values():
            times = sorted(t for t in times if t > after - 0.5)
            gaps = [b - a for a, b in pairwise([*times, time.time()])]
            worst = max(worst, *gaps)
        return f"{worst:.2f}"

    feeding = asyncio.ensure_future(feed())
    said = []
    first = member("a")
    await ready.wait()
    await asyncio.sleep(2)
    t0 = time.time()
    second = member("b")
    said.append(f"join {await stand_still(t0, 8)}")
    t0 = time.time()
    second.terminate()
    said.append(f"leave {await stand_still(t0, 12)}")
    second = member("b")
    await asyncio.sleep(8)
    t0 = time.time()
    second.kill()
    if static:
        await asyncio.sleep(0.5)
        second = member("b")
        said.append(f"killed, back after 0.5 s {await stand_still(t0, 14)}")
        t0 = time.time()
        second.kill()
    said.append(f"killed for good {await stand_still(t0, 14)}")
    first.kill()
    feeding.cancel()
    await asyncio.gather(*readers, feeding, return_exceptions=True)
    out(f"  {'static ' if static else 'dynamic'} heartbeat {heartbeat:4} ms, session 6 s: " + ", ".join(said))


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


PROBES: dict[str, Callable[[str], Awaitable[None]]] = {
    "start_up": start_up, "latency": latency, "writers": writers, "hanging": hanging,
    "hanging_default": hanging_default, "crash": crash, "groups": groups, "tails": tails, "offsets": offsets,
}  # fmt: skip
CHILDREN: dict[str, Callable[..., Awaitable[None]]] = {"open": child_open, "member": child_member}


def main() -> None:
    """Run all probes, or one."""
    logging.disable(logging.ERROR)
    if sys.argv[1:2] == ["--child"]:
        asyncio.run(CHILDREN[sys.argv[2]](*sys.argv[3:]))  # type: ignore[arg-type]
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PROBES, help="run one probe")
    only = parser.parse_args().only
    for name in [only] if only else PROBES:
        with tempfile.TemporaryDirectory() as directory, LocalBroker(directory) as broker:
            out(f"\n== {name} ({broker.name})")
            asyncio.run(PROBES[name](broker.bootstrap))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
