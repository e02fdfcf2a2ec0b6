"""A worker process under load for measurements: its topics, fast senders, and how far it has come."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.sharding import shard_of
from streams.app import prepare_topics
from streams.kafka.broker import LocalBroker, free_port
from streams.settings import load

PARTITIONS = 4
BATCH_ROWS = 1_000
WAIT_SECONDS_MAX = 900.0

#: Instrument -> price: eight perpetuals, all settled in USDC.
PRICES = {
    "BTC": 50_000.0,
    "ETH": 2_000.0,
    "SOL": 100.0,
    "XRP": 0.5,
    "ADA": 0.4,
    "DOGE": 0.1,
    "LTC": 80.0,
    "DOT": 6.0,
}
SYMBOLS = tuple(PRICES)

#: key, value, timestamp (epoch ms; None: when it is sent)
Row = tuple[bytes, bytes, int | None]


def terms() -> list[Row]:
    """Records of `instruments`."""
    records: list[dict[str, Any]] = [{"id": "USDC", "kind": "asset", "precision": 6}]
    for symbol in SYMBOLS:
        records.append(
            {
                "id": f"{symbol}-PERP",
                "kind": "instrument",
                "type": "perpetual",
                "underlying": symbol,
                "settlement": "USDC",
                "price_precision": 4,
                "quantity_precision": 2,
                "initial_margin": "0.10",
                "maintenance_margin": "0.05",
                "liquidation_fee": "0.005",
            }
        )
    return [(record["id"].encode(), json.dumps(record).encode(), None) for record in records]


def deposit(account: str, amount: float) -> Row:
    now = int(time.time() * 1000)
    value = (
        f'{{"transfer_id":"d","type":"deposit","account":"{account}","asset":"USDC",'
        f'"amount":"{amount:.2f}","time":{now}}}'
    )
    return account.encode(), value.encode(), now


def fill(id: str, account: str, symbol: str, quantity: str, price: float, more: str = "") -> Row:
    now = int(time.time() * 1000)
    value = (
        f'{{"fill_id":"{id}","account":"{account}","instrument":"{symbol}-PERP","quantity":"{quantity}",'
        f'"price":"{price:.4f}","fee":"0.01","time":{now}{more}}}'
    )
    return account.encode(), value.encode(), now


def quote(symbol: str, price: float, source: str = "one") -> Row:
    now = int(time.time() * 1000)
    value = f'{{"symbol":"{symbol}","source":"{source}","price":"{price:.6f}","time":{now}}}'
    return symbol.encode(), value.encode(), now


def book(number: int) -> tuple[str, ...]:
    """The four symbols that an account holds."""
    return tuple(SYMBOLS[(number + step) % len(SYMBOLS)] for step in range(4))


class Usage(NamedTuple):
    """Processor seconds so far: of the worker, the broker, ourselves, and of the machine; `at` is monotonic seconds."""

    at: float
    worker: float
    broker: float
    load: float
    machine: float

    def since(self, before: Usage) -> str:
        """How many cores each used since then."""
        passed = self.at - before.at
        worker, broker, load, machine = ((now - then) / passed for now, then in zip(self[1:], before[1:], strict=True))
        others = machine - worker - broker - load
        return f"cores used: worker {worker:.2f}, broker {broker:.2f}, load generator {load:.2f}, others {others:.2f}"


def _seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _busy() -> float:
    """Time that the machine's cores did not idle, or were taken by the host."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class Bench:
    """One worker with all roles, on topics of its own; a context manager that starts the clients, not the worker.

    Parameters
    ----------
    settings : further settings of the worker
    """

    def __init__(self, broker: LocalBroker, folder: Path, prefix: str, **settings: Any) -> None:
        self.prefix = prefix
        self._broker = broker
        self.log_path = folder / f"{prefix}.log"
        self._port = free_port()
        self._given = {
            "broker": broker.bootstrap,
            "prefix": prefix,
            "topic_prefix": f"{prefix}.",
            "partitions": str(PARTITIONS),
            "web_port": str(self._port),
            **{name: str(value) for name, value in settings.items()},
        }
        self._client = {"bootstrap_servers": broker.bootstrap}
        self._process: subprocess.Popen[bytes] | None = None
        self.producer: AIOKafkaProducer = None
        self.consumer: AIOKafkaConsumer = None
        self._admin: AIOKafkaAdminClient = None
        self._turn = 0

    async def __aenter__(self) -> Self:
        self._admin = AIOKafkaAdminClient(**self._client)
        await self._admin.start()
        # Quotes carry the broker's own time, to count latencies from.
        config = {"message.timestamp.type": "LogAppendTime"}
        quotes = NewTopic(f"{self.prefix}.oracle-prices", PARTITIONS, 1, topic_configs=config)
        await self._admin.create_topics([quotes])
        self.counts = await prepare_topics(load(self._given))
        self.producer = AIOKafkaProducer(**self._client, max_batch_size=600_000, max_request_size=1_000_000)
        self.consumer = AIOKafkaConsumer(**self._client, isolation_level="read_committed")
        for client in (self.producer, self.consumer):
            await client.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.producer.stop()
        await self.consumer.stop()
        await self._admin.close()
        await self.stop()

    # -- the worker

    async def start(self) -> float:
        """Start the worker, wait until it is ready, and return the seconds that took."""
        environment = {f"CROSSMARGIN_{name.upper()}": text for name, text in self._given.items()}
        began = time.monotonic()
        with self.log_path.open("ab") as log:
            command = [sys.executable, "-m", "streams.cli", "worker"]
            self._process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond
                command, env=os.environ | environment, stdout=log, stderr=log
            )
        await self.until(lambda: self.get("/health")["ready"], 0.05)
        return time.monotonic() - began

    async def stop(self, *, kill: bool = False) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill() if kill else process.terminate()
            await asyncio.to_thread(process.wait, 60)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=10) as answer:
            return json.loads(answer.read())

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.partition("{")[0].partition(" ")[0] == name)

    def memory_mib(self) -> tuple[float, float]:
        """Resident memory now, and at its most."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = {line.split(":")[0]: int(line.split()[1]) for line in status.splitlines() if line.startswith("Vm")}
        return found["VmRSS"] / 1024, found["VmHWM"] / 1024

    def usage(self) -> Usage:
        """Processor time so far."""
        assert self._process is not None
        assert self._broker.pid is not None
        return Usage(
            time.monotonic(), _seconds(self._process.pid), _seconds(self._broker.pid), _seconds(os.getpid()), _busy()
        )

    async def until(self, holds: Callable[[], Any], step: float = 0.1) -> Any:
        """What `holds()` returns once it is true; the worker must live that long."""
        end = time.monotonic() + WAIT_SECONDS_MAX
        while True:
            if self._process is not None and self._process.poll() is not None:
                raise RuntimeError(f"worker ended with {self._process.returncode}, see {self.log_path}")
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
                raise ValueError("a batch must hold its rows")
            count += 1
            if batch.record_count() >= BATCH_ROWS:
                await close(partition)
                self._turn = (self._turn + 1) % self.counts[name] if spread else self._turn
        for partition in list(batches):
            await close(partition)
        await asyncio.gather(*waiting)
        return count

    # -- how far it has come

    async def committed(self, role: str, topic: str) -> int:
        """Sum of the offsets that a role has committed on a topic."""
        found = await self._admin.list_consumer_group_offsets(f"{self.prefix}-{role}")
        return sum(meta.offset for tp, meta in found.items() if tp.topic == f"{self.prefix}.{topic}")

    async def ends(self, topic: str) -> dict[TopicPartition, int]:
        """End of committed data of each partition."""
        name = f"{self.prefix}.{topic}"
        return await self.consumer.end_offsets([TopicPartition(name, p) for p in range(self.counts[name])])

    async def wait_ingested(self) -> float:
        """Until all sources but quotes are in the journal; the moment, monotonic seconds."""
        topics = ("instruments", "fills", "collateral")
        wanted = {topic: sum((await self.ends(topic)).values()) for topic in topics}
        for topic in topics:
            while await self.committed("ingest", topic) < wanted[topic]:  # noqa: ASYNC110
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


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
