"""What a transaction costs: one flush, many writers in one loop, starting them."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections import Counter, defaultdict
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.producer import sender

from benchmarks.kafka_probe.clients import create, out, put, quantile, transactional

PLAIN_OVERRIDE = sender.BACKOFF_OVERRIDE
# retry_backoff_ms, and aiokafka's own wait before the first partition of a transaction where not the default
BACKOFFS = [(100, PLAIN_OVERRIDE), (10, PLAIN_OVERRIDE), (5, PLAIN_OVERRIDE), (5, 0.002)]


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


def resident_mb() -> float:
    """Return this process's resident memory in MiB."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _link(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""
