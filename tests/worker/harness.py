"""A worker process and plain Kafka clients around it, for tests that run the product as its users do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

#: topic, key, value, timestamp (epoch ms, None now)
Message = tuple[str, bytes | None, bytes | None, int | None]


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Worker:
    """`crossmargin worker` as a process; its log is in `log_path`."""

    def __init__(self, bootstrap: str, prefix: str, log_path: Path, **settings: Any) -> None:
        self.port = free_port()
        self.log_path = log_path
        given = {
            "broker": bootstrap,
            "prefix": prefix,
            "topic_prefix": f"{prefix}.",
            "web_port": self.port,
            "session_seconds": 6,
            **settings,
        }
        self._environment = os.environ | {f"CROSSMARGIN_{name.upper()}": str(value) for name, value in given.items()}
        self.command = [sys.executable, "-m", "streams.cli", "worker"]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; its output is appended to the log.

        In a session of its own: else the kernel wakes it where it is stopped, once the shell that began all this ends.
        """
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def signal(self, number: int) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def get(self, path: str) -> Any:
        """The JSON of a page."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return json.loads(answer.read())

    def wait_ready(self, seconds: float = 60.0) -> None:
        """Until /health says so."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"worker ended with {self.process.returncode}:\n{self.log()}")
            with contextlib.suppress(OSError):
                if self.get("/health")["ready"]:
                    return
            time.sleep(0.1)
        raise AssertionError(f"worker must be ready within {seconds} s:\n{self.log()}")

    def log(self) -> str:
        """The end of the log."""
        return self.log_path.read_text(errors="replace")[-6000:]


@contextlib.contextmanager
def running(worker: Worker) -> Iterator[Worker]:
    """The worker, ready, and stopped afterwards."""
    worker.start()
    try:
        worker.wait_ready()
        yield worker
    finally:
        worker.stop()


async def send_all(bootstrap: str, messages: Sequence[Message]) -> None:
    """Send messages, in order per partition."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5, max_request_size=4 << 20)
    await producer.start()
    try:
        futures = [
            await producer.send(topic, key=key, value=value, timestamp_ms=timestamp)
            for topic, key, value, timestamp in messages
        ]
        await asyncio.gather(*futures)
    finally:
        await producer.stop()


async def read_all(bootstrap: str, topic: str) -> list[ConsumerRecord]:
    """All committed records of a topic, partition by partition."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", enable_auto_commit=False, fetch_max_wait_ms=50
    )
    await consumer.start()
    try:
        numbers = sorted(consumer.partitions_for_topic(topic) or await _partitions(consumer, topic))
        partitions = [TopicPartition(topic, number) for number in numbers]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        found: list[ConsumerRecord] = []
        for tp in partitions:
            while await consumer.position(tp) < ends[tp]:
                found += (await consumer.getmany(tp, timeout_ms=200)).get(tp, [])
        return found
    finally:
        await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client.force_metadata_update()
    await consumer.topics()
    return set(consumer.partitions_for_topic(topic) or ())


def until(condition: Any, seconds: float = 30.0, step: float = 0.1) -> Any:
    """What `condition()` returns once it is true."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"condition must hold within {seconds} s, last {found!r}")
        time.sleep(step)
