"""Members of a group that join, leave and die: how long each partition stands still."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections import defaultdict
from itertools import pairwise
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener

from benchmarks.kafka_probe.clients import child, create, out


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


class _Log(ConsumerRebalanceListener):
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
