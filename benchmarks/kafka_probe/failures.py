"""Writers and brokers killed inside a transaction: who waits, for how long, and what is true afterwards."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.kafka_probe.clients import child, create, out, put, read_all, transactional
from streams.kafka.broker import LocalBroker


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
    stopped = ""
    try:
        await asyncio.wait_for(producer.stop(), 20)
    except Exception as stopping:
        stopped = f", stop raised {stopping!r}"
    heir = transactional(broker.bootstrap, f"crash-{mark.decode()}", retry_backoff_ms=5)
    await heir.start()
    heir_at = time.perf_counter() - t0
    await heir.stop()
    there = mark in (await read_all(broker.bootstrap, topic))[0]
    return (
        f"{result}{stopped}; record {'committed' if there else 'absent'}; broker ready {ready:.1f} s, "
        f"answer {took:.1f} s, successor started {heir_at:.1f} s after the kill"
    )
