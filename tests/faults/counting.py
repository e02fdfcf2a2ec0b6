"""Drive counting workers as processes, and recount what they did from the topics alone."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition

from streams.kafka.batches import Record
from streams.kafka.broker import LocalBroker
from streams.kafka.changelog import read_to_end
from streams.kafka.topics import TopicNeed, ensure_topics
from streams.kafka.transactions import PartitionWriter

WORKER = Path(__file__).with_name("counting_worker.py")


class CountingRun:
    """One source topic, its changelog and output, and any number of workers.

    Parameters
    ----------
    options : mapping
        Passed on to the workers: ``row_seconds``, ``session_seconds``, ``fetching``, ``flushing``.
    """

    def __init__(self, broker: LocalBroker, log_dir: Path, prefix: str, *, partitions: int = 4, **options: Any):
        self.client = {"bootstrap_servers": broker.bootstrap}
        self.prefix = prefix
        self.partitions = partitions
        self.log_path = log_dir / f"{prefix}.log"
        self.exit_codes: list[int] = []
        self._options = {"brokers": broker.bootstrap, "prefix": prefix, "source": f"{prefix}-source", **options}
        self._workers: list[subprocess.Popen[bytes]] = []
        needs = [
            TopicNeed(name=f"{prefix}-{name}", partitions=partitions) for name in ("source", "changelog", "output")
        ]
        asyncio.run(ensure_topics(self.client, needs, create=True))

    def feed(self, rows: int, *, keys: int = 1000, seed: int = 1, batch: int = 5000) -> None:
        """Write so many rows to each partition, in transactions of ``batch`` (each ends with a marker)."""
        rng = random.Random(seed)

        async def write(partition: int) -> None:
            tp = TopicPartition(f"{self.prefix}-source", partition)
            writer = PartitionWriter(f"{self.prefix}-feed-{partition}", self.client)
            await writer.start()
            for first in range(0, rows, batch):
                size = min(batch, rows - first)
                part = [Record(b"k%d" % rng.randrange(keys), b"%d" % rng.randrange(1000)) for _ in range(size)]
                await writer.commit({tp: part}, {}, "")
            await writer.stop()

        async def write_all() -> None:
            await asyncio.gather(*(write(partition) for partition in range(self.partitions)))

        asyncio.run(write_all())

    def start(self, instance_id: str | None = None, **options: Any) -> subprocess.Popen[bytes]:
        """Start a worker."""
        given = json.dumps({**self._options, "instance_id": instance_id, **options})
        with self.log_path.open("ab") as log:
            worker = subprocess.Popen([sys.executable, str(WORKER), given], stdout=log, stderr=log)
        self._workers.append(worker)
        return worker

    def stop(self) -> None:
        """Kill what still runs."""
        for worker in self._workers:
            worker.kill()
            worker.wait()

    def log(self) -> str:
        """Return what the workers logged."""
        return self.log_path.read_text()

    def wait_done(self, seconds: float) -> None:
        """Wait until the committed offsets are at the end of the source."""
        until = time.monotonic() + seconds
        while (behind := asyncio.run(self._behind())) > 0:
            assert time.monotonic() < until, f"{behind} rows behind after {seconds} s\n{self.log()[-4000:]}"
            time.sleep(0.5)

    async def _behind(self) -> int:
        behind = 0
        for partition in range(self.partitions):
            source = await self._read("source", partition)
            applied = [
                json.loads(row.value) for row in await self._read("changelog", partition) if row.key == b"~applied"
            ]
            last = source[-1].offset + 1 if source else 0
            behind += max(0, last - (applied[-1] if applied else 0))
        return behind

    async def _read(self, topic: str, partition: int) -> list[ConsumerRecord]:
        rows: list[ConsumerRecord] = []
        async for part in read_to_end(self.client, f"{self.prefix}-{topic}", partition):
            rows.extend(part)
        return rows

    def problems(self) -> list[str]:
        """Recount every partition: outputs and sums must be those of each source row once, in order."""
        return asyncio.run(self._problems())

    async def _problems(self) -> list[str]:
        found = []
        for partition in range(self.partitions):
            source, output = await self._read("source", partition), await self._read("output", partition)
            want, sums = recount(source)
            got = [(row.key, row.value) for row in output]
            if got != want:
                at = next((i for i, pair in enumerate(zip(got, want, strict=False)) if pair[0] != pair[1]), "end")
                found.append(f"[{partition}] {len(got)} outputs, {len(want)} wanted, first difference at {at}")
            kept = {row.key: json.loads(row.value) for row in await self._read("changelog", partition)}
            kept.pop(b"~applied", None)
            wrong = [key for key in sums.keys() | kept.keys() if sums.get(key) != kept.get(key)]
            if wrong:
                found.append(f"[{partition}] {len(wrong)} of {len(sums)} sums are wrong")
        return found


def recount(source: Sequence[ConsumerRecord]) -> tuple[list[tuple[bytes, bytes]], dict[bytes, list[int]]]:
    """Return the outputs and the sums that follow from the source rows."""
    sums: dict[bytes, list[int]] = {}
    outputs = []
    for row in source:
        total = sums.setdefault(row.key, [0, 0])
        total[0] += 1
        total[1] += int(row.value)
        outputs.append((row.key, b"%d %d" % (row.offset, total[1])))
    return outputs, sums
