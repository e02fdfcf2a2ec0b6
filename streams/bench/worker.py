"""A worker process under load: its topics, fast senders, and how far it has come."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from schemas.sharding import shard_of
from schemas.topics import TOPICS
from streams.bench.records import Row
from streams.bench.usage import Usage, memory_mib, usage
from streams.demo.stage import WORKER, WorkerDied
from streams.kafka.broker import LocalBroker, free_port
from streams.kafka.topics import TopicNeed, ensure_topics
from streams.settings import ENVIRONMENT, load

PARTITIONS = 4
BATCH_ROWS = 1_000
WAIT_SECONDS_MAX = 900.0
HTTP_SECONDS_MAX = 10.0
STOP_SECONDS_MAX = 60.0


class Bench:
    """One worker with all roles, on topics of its own; a context manager that starts the clients, not the worker.

    Parameters
    ----------
    broker : one of our own, or the address of a cluster, of whose processor time nothing is known
    folder : gets the worker's log
    prefix : of the topics, groups and transactional ids
    settings : further settings of the worker
    """

    def __init__(self, broker: LocalBroker | str, folder: Path, prefix: str, **settings: Any) -> None:
        self.prefix = prefix
        self.log_path = folder / f"{prefix}.log"
        self._broker = broker if isinstance(broker, LocalBroker) else None
        self._port = free_port()
        self._given = {
            "broker": broker.bootstrap if isinstance(broker, LocalBroker) else broker,
            "prefix": prefix,
            "topic_prefix": f"{prefix}.",
            "partitions": str(PARTITIONS),
            "web_host": "127.0.0.1",
            "web_port": str(self._port),
            **{name: str(value) for name, value in settings.items()},
        }
        self.settings = load(self._given)
        self.client = self.settings.client()
        self._process: subprocess.Popen[bytes] | None = None
        self.producer: Any = None
        self.consumer: Any = None
        self._admin: Any = None
        self._turn = 0

    async def __aenter__(self) -> Self:
        from streams.app import prepare_topics  # takes seconds to import: not for --help

        # Quotes carry the broker's own time, to count latencies from.
        config = TOPICS["oracle-prices"].config() | {"message.timestamp.type": "LogAppendTime"}
        quotes = TopicNeed(name=f"{self.prefix}.oracle-prices", partitions=self.settings.partitions, config=config)
        await ensure_topics(self.client, [quotes], create=True, replication=self.settings.replication)
        self.counts = await prepare_topics(self.settings)
        self.producer = AIOKafkaProducer(**self.client, max_batch_size=600_000, max_request_size=1_000_000)
        self.consumer = AIOKafkaConsumer(**self.client, isolation_level="read_committed")
        self._admin = AIOKafkaAdminClient(**self.client)
        for part in (self.producer, self.consumer, self._admin):
            await part.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        await self.producer.stop()
        await self.consumer.stop()
        await self._admin.close()

    async def drop(self) -> None:
        """Stop the worker and delete its topics, for a cluster that others use; groups the broker forgets itself."""
        await self.stop()
        await self._admin.delete_topics(list(self.counts))

    # -- the worker

    async def start(self) -> float:
        """Start the worker, wait until it is ready, and return the seconds that took."""
        environment = {f"{ENVIRONMENT}{name.upper()}": text for name, text in self._given.items()}
        began = time.monotonic()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond
                [sys.executable, "-c", WORKER, "worker"],
                env=os.environ | environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches us only, who then stop it
            )
        await self.until(lambda: self.get("/health")["ready"], 0.05)
        return time.monotonic() - began

    async def stop(self, *, kill: bool = False) -> None:
        """End the worker, if it runs, by SIGTERM or by SIGKILL."""
        process, self._process = self._process, None
        if process is not None:
            process.kill() if kill else process.terminate()
            await asyncio.to_thread(process.wait, STOP_SECONDS_MAX)

    @property
    def pid(self) -> int:
        """Process id of the worker, which must run."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """All that workers of this bench have logged."""
        return self.log_path.read_text(errors="replace")

    def get(self, path: str) -> Any:
        """What the worker's web server answers, from JSON."""
        url = f"http://127.0.0.1:{self._port}{path}"
        with urllib.request.urlopen(url, timeout=HTTP_SECONDS_MAX) as answer:
            return json.loads(answer.read())

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        url = f"http://127.0.0.1:{self._port}/metrics"
        with urllib.request.urlopen(url, timeout=HTTP_SECONDS_MAX) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.partition("{")[0].partition(" ")[0] == name)

    def memory_mib(self) -> tuple[float, float]:
        """Resident memory of the worker now, and at its most."""
        return memory_mib(self.pid)

    def usage(self) -> Usage:
        """Processor time so far, of the worker and its writers, a broker of ours, and this process."""
        broker = self._broker.pid if self._broker is not None else None
        return usage({"broker": broker, "load generator": os.getpid()}, workers={"worker": self.pid})

    async def until(self, holds: Callable[[], Any], step: float = 0.1) -> Any:
        """What `holds()` returns once it is true; raises WorkerDied where the worker doesn't live that long."""
        end = time.monotonic() + WAIT_SECONDS_MAX
        while True:
            if self._process is not None and (code := self._process.poll()) is not None:
                last = self.log().rstrip().rpartition("\n")[2]
                raise WorkerDied(f"the worker must stay up, it ended with code {code}: {last}")
            try:
                if found := holds():
                    return found
            except OSError:
                pass
            if time.monotonic() > end:
                raise TimeoutError(f"must hold within {WAIT_SECONDS_MAX} s")
            await asyncio.sleep(step)

    # -- messages

    async def send(self, topic: str, rows: Iterable[Row]) -> int:
        """Send rows in batches: quotes and others to the partition of their key, fills and collateral to any."""
        name, spread = f"{self.prefix}.{topic}", topic in ("fills", "collateral")
        batches: dict[int, Any] = {}
        waiting: list[Any] = []
        count = 0

        async def close(partition: int) -> None:
            batch = batches.pop(partition)
            batch.close()
            waiting.append(await self.producer.send_batch(batch, name, partition=partition))

        for key, value, timestamp in rows:
            partition = self._turn if spread else shard_of(key.decode(), self.counts[name])
            batch = batches.get(partition)
            if batch is None:
                batch = batches[partition] = self.producer.create_batch()
            if batch.append(key=key, value=value, timestamp=timestamp or int(time.time() * 1000)) is None:
                raise ValueError(f"a batch must hold {BATCH_ROWS} rows, found {batch.record_count()} ({name})")
            count += 1
            if batch.record_count() >= BATCH_ROWS:
                await close(partition)
                self._turn = (self._turn + 1) % self.counts[name] if spread else self._turn
        for partition in list(batches):
            await close(partition)
        await asyncio.gather(*waiting)
        return count

    async def send_one(self, topic: str, row: Row) -> int:
        """Send a row to the partition of its key; the time at which the broker took it, epoch ms."""
        name = f"{self.prefix}.{topic}"
        key, value, _ = row
        sent = await self.producer.send(name, value, key=key, partition=shard_of(key.decode(), self.counts[name]))
        return int((await sent).timestamp)

    # -- how far it has come

    async def committed(self, role: str, topic: str) -> int:
        """Sum of the offsets that a role has committed on a topic."""
        found = await self._admin.list_consumer_group_offsets(f"{self.prefix}-{role}")
        return sum(meta.offset for tp, meta in found.items() if tp.topic == f"{self.prefix}.{topic}")

    async def ends(self, topic: str) -> dict[TopicPartition, int]:
        """End of committed data of each partition."""
        name = f"{self.prefix}.{topic}"
        partitions = [TopicPartition(name, partition) for partition in range(self.counts[name])]
        found: dict[TopicPartition, int] = await self.consumer.end_offsets(partitions)
        return found

    async def wait_ingested(self) -> float:
        """Until all sources but quotes are in the journal; the moment, monotonic seconds."""
        topics = ("instruments", "fills", "collateral")
        wanted = {topic: sum((await self.ends(topic)).values()) for topic in topics}
        for topic in topics:
            while await self.committed("ingest", topic) < wanted[topic]:  # noqa: ASYNC110 - no event to wait for
                await asyncio.sleep(0.02)
        return time.monotonic()

    async def wait_applied(self) -> float:
        """Until what the journal holds now is durable in the shards: state, outputs and offset committed."""
        ends = await self.ends("journal")
        group = f"{self.prefix}-margin"
        while True:
            found = await self._admin.list_consumer_group_offsets(group)
            # The last thing in a partition may be a transaction's marker, which the offset stays before.
            if all(tp in found and found[tp].offset >= end - 1 for tp, end in ends.items() if end):
                return time.monotonic()
            await asyncio.sleep(0.02)

    async def records(self, topic: str, starts: dict[TopicPartition, int]) -> list[ConsumerRecord]:
        """Committed records from `starts` to the present ends."""
        ends = await self.ends(topic)
        self.consumer.assign(list(starts))
        for tp, offset in starts.items():
            self.consumer.seek(tp, offset)
        found: list[ConsumerRecord] = []
        for tp in starts:
            while await self.consumer.position(tp) < ends[tp]:
                found += (await self.consumer.getmany(tp, timeout_ms=200)).get(tp, [])
        return found
