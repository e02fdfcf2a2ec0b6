"""Fills a second, from JSON to durable state, of our worker and of its peers: the same messages, one after the other.

Every subject first shows that it does the work: accounts breach by fills and by a price, and their numbers must be
those of `benchmarks/job.py`. Then it is warmed up, and the CPU that a fill then takes sets how many fills it is
measured on. While its messages are written it is frozen, so the clock runs from the moment at which it finds a backlog
to the moment at which a `read_committed` consumer has the last done mark; that includes the wait for its last commit.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.job import (
    FALLEN_BTC,
    PARTITIONS,
    PRICES,
    SYMBOLS,
    Breach,
    Job,
    Part,
    Pool,
    differences,
    done_marks,
)
from benchmarks.report import Report
from benchmarks.subjects import OURS, SUBJECTS, Peer, subject
from streams.bench.usage import frozen, memory_mib, process_seconds, tree_seconds
from streams.kafka.broker import LocalBroker

RUNS = ("check", "warm", "warmer", "measured", "longer", "longest")
BATCH_ROWS = 1_000
BATCH_BYTES = 600_000
PART_SECONDS_MAX = 240.0
#: Times ours is to be of a peer, per CPU-second of the worker.
WANTED = {
    "textbook_faust": "at least 40",
    "plain_aiokafka": "",
    "quix_streams": "at least 1",
    "bytewax_flow": "at least 1",
    "kafka_streams": "at least 1",
}


class Size(NamedTuple):
    """Fills there are, accounts, fills of the check and first warm-up, CPU-seconds of the second and of what counts."""

    pool: int
    accounts: int
    check: int
    warm: int
    warm_seconds: float
    seconds: float


FULL = Size(4_000_000, 10_000, 4_000, 6_000, 5.0, 15.0)
QUICK = Size(200_000, 1_000, 1_000, 2_000, 1.0, 3.0)


class Measured(NamedTuple):
    """Fills passed in so many seconds, processor seconds of worker and broker, and the worker's memory at its most."""

    fills: int
    seconds: float
    worker: float
    broker: float
    memory_mib: float

    @property
    def per_second(self) -> float:
        return self.fills / self.seconds

    @property
    def per_cpu_second(self) -> float:
        return self.fills / self.worker


def run(report: Report, *, quick: bool) -> None:
    """Measure ours and every peer, and give the ratios."""
    size = QUICK if quick else FULL
    pool = Pool(size.pool, size.accounts)
    found: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory() as folder, LocalBroker(Path(folder) / "broker") as broker:
        for name in SUBJECTS:
            try:
                found[name] = asyncio.run(measure(name, broker, Path(folder), pool, size))
            except Exception as error:  # the others are still worth measuring
                report.fail(f"{name}: {type(error).__name__}: {error}")
                continue
            _tell(report, name, found[name], size)
    for what, values in (
        ("Fills per CPU-second of the worker", {name: each.per_cpu_second for name, each in found.items()}),
        ("Fills per second", {name: each.per_second for name, each in found.items()}),
    ):
        report.bars(what, "fills/s", values)
    for name in SUBJECTS[1:]:
        if OURS in found and name in found:
            ours, theirs = found[OURS].per_cpu_second, found[name].per_cpu_second
            report.ratio(f"{OURS} to {name}, fills per CPU-second of the worker", ours, theirs, WANTED[name])


def _tell(report: Report, name: str, found: Measured, size: Size) -> None:
    worker, broker = found.worker / found.seconds, found.broker / found.seconds
    under = (
        f"{found.fills:,} JSON fills of {size.accounts:,} accounts in {found.seconds:.1f} s, {PARTITIONS} partitions; "
        f"cores used: worker {worker:.2f}, broker {broker:.2f}; worker's memory {found.memory_mib:.0f} MiB at most"
    )
    report.add(name, found.per_second, "fills/s", under)
    report.add(f"{name}, per CPU-second of the worker", found.per_cpu_second, "fills/s")
    report.add(f"{name}, CPU of the broker", 1e6 * found.broker / found.fills, "us a fill")


async def measure(name: str, broker: LocalBroker, folder: Path, pool: Pool, size: Size) -> Measured:
    """Check, warm up and measure one subject; raises where it does not do the work."""
    job = Job(pool)
    marks = [mark for run in RUNS for mark in done_marks(run)]
    async with subject(name, broker, folder, [*pool.names, *marks]) as peer, Wire(broker, peer) as wire:
        await wire.check(job, size.check)
        warm = await wire.pass_through(job.part("warm", size.warm))
        wanted = int(warm.per_cpu_second * size.warm_seconds)  # of so few fills that it may be far too many
        warmer = await wire.pass_through(job.part("warmer", min(wanted, len(pool) // 4)))
        found = warmer
        for run in RUNS[3:]:  # once more where its compiler, or a wait, made the part before look slow
            found = await wire.pass_through(job.part(run, int(found.per_cpu_second * size.seconds)))
            if found.worker > size.seconds / 2 or job.taken == len(pool):
                break
        return found


class Wire:
    """Between the harness and one subject: sends parts, and hears breaches until all that are due have come."""

    def __init__(self, broker: LocalBroker, peer: Peer) -> None:
        self._broker, self._peer = broker, peer
        client = {"bootstrap_servers": broker.bootstrap}
        self._producer = AIOKafkaProducer(**client, max_batch_size=BATCH_BYTES, max_request_size=1_000_000)
        self._consumer = AIOKafkaConsumer(**client, isolation_level="read_committed", fetch_max_wait_ms=100)
        self._expected: dict[str, Breach] = {}
        self._heard: dict[str, Breach] = {}

    async def __aenter__(self) -> Wire:
        await self._producer.start()
        await self._consumer.start()
        self._consumer.assign([TopicPartition(self._peer.breaches, partition) for partition in range(PARTITIONS)])
        await self._consumer.seek_to_beginning()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()
        await self._consumer.stop()

    async def check(self, job: Job, count: int) -> None:
        """Start the subject on prices and fills; then a price falls. Accounts must breach by both, and no others."""
        for symbol in SYMBOLS:
            await self._price(symbol, PRICES[symbol])
        part = job.part("check", count, near=True)
        await self._send(part)
        await self._peer.start()
        await self._must_hear(part.breaches)
        due = job.fall()
        await self._price("BTC", FALLEN_BTC)
        await self._must_hear(due)

    async def pass_through(self, part: Part) -> Measured:
        """Give the subject a backlog, and time it until the last of its breaches is heard."""
        with frozen(self._peer.pid):
            await self._send(part)
            before = self._cpu_seconds()
            began = time.monotonic()
        ended = await self._heard_all(part.done)
        worker, broker = (now - then for now, then in zip(self._cpu_seconds(), before, strict=True))
        await self._must_hear(part.breaches)
        return Measured(part.count, ended - began, worker, broker, memory_mib(self._peer.pid)[1])

    def _cpu_seconds(self) -> tuple[float, float]:
        assert self._broker.pid is not None
        return tree_seconds(self._peer.pid), process_seconds(self._broker.pid)

    async def _price(self, symbol: str, price: int) -> None:
        for topic, partition, key, value in self._peer.prices(symbol, price):
            await self._producer.send_and_wait(topic, value, key=key, partition=partition)

    async def _send(self, part: Part) -> None:
        """Write a part, all partitions side by side."""
        now = int(time.time() * 1000)
        waiting: list[Any] = []
        for first in range(0, max(map(len, part.rows.values())), BATCH_ROWS):
            for partition, rows in part.rows.items():
                batch = self._producer.create_batch()
                for key, value in rows[first : first + BATCH_ROWS]:
                    if batch.append(key=key, value=value, timestamp=now) is None:
                        raise ValueError(f"a batch must hold {BATCH_ROWS} fills, found {batch.record_count()}")
                if batch.record_count():
                    batch.close()
                    waiting.append(await self._producer.send_batch(batch, self._peer.fills, partition=partition))
        await asyncio.gather(*waiting)

    async def _heard_all(self, names: Iterable[str]) -> float:
        """Until a breach of each of these accounts has been heard; the moment, monotonic seconds."""
        end = time.monotonic() + PART_SECONDS_MAX
        while missing := set(names) - self._heard.keys():
            if time.monotonic() > end:
                raise TimeoutError(f"{len(missing)} breaches must come within {PART_SECONDS_MAX:g} s: {min(missing)}")
            assert self._peer.pid
            for records in (await self._consumer.getmany(timeout_ms=100)).values():
                for breach in filter(None, (self._peer.breach(record.value) for record in records)):
                    self._heard.setdefault(*breach)
        return time.monotonic()

    async def _must_hear(self, due: dict[str, Breach]) -> None:
        """Until all that is due has been heard; raises where anything else was heard, or other numbers."""
        await self._heard_all(due)
        self._expected |= due
        if wrong := list(differences(self._heard, self._expected)):
            raise ValueError(f"{len(wrong)} breaches are wrong: {'; '.join(wrong[:3])}")
