"""One partition's blocks under test: a role that writes what it took, and a writer that only pretends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition

from streams.agents.blocks import Flushing, Opening, PartitionTask, RoleSpec
from streams.kafka.batches import Record
from streams.kafka.leases import Block, Lease

TP = TopicPartition("fills", 2)
OUT = TopicPartition("out", 0)
HOUR = 3_600_000


class Stopped(BaseException):
    """Stands for the end of the process."""


class Adder:
    """A role that writes what it took; ``urgent`` rows want to be written at once."""

    def __init__(self, restored: int | None = None) -> None:
        self.restored = restored
        self.ticks = 0
        self.let_go = False
        self.takes: list[int] = []
        self._rows: list[Record] = []

    async def open(self, opening: Opening) -> int | None:
        self.opening = opening
        return self.restored

    async def take(self, block: Block) -> bool:
        if any(row.value == b"bad" for row in block.records):
            raise ArithmeticError("does not add up")
        self.takes.append(len(block.records))
        self._rows += [Record(None, row.value) for row in block.records if row.value != b"nothing"]
        return any(row.value == b"urgent" for row in block.records)

    def tick(self) -> bool:
        self.ticks += 1
        self._rows.append(Record(None, b"tick"))
        return True

    def flush(self) -> Mapping[TopicPartition, Sequence[Record]]:
        rows, self._rows = self._rows, []
        return {OUT: rows}

    def committed(self) -> None:
        pass

    def closed(self) -> None:
        self.let_go = True


class FakeWriter:
    """Keeps what is committed; ``gate`` holds a transaction in the air."""

    def __init__(self) -> None:
        self.stored: int | None = None
        self.commits: list[tuple[list[bytes | None], int | None]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.stopped = False

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        self.stopped = True

    async def committed(self, _group: str, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int | None]:
        return dict.fromkeys(partitions, self.stored)

    async def commit(
        self,
        records: Mapping[TopicPartition, Sequence[Record]],
        offsets: Mapping[TopicPartition, int],
        group: str,
    ) -> None:
        assert group == "test-adding"
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.commits.append(([row.value for row in records.get(OUT, ())], offsets.get(TP)))


class FakeProcess:
    """In place of the process of the writers."""

    def __init__(self, writer: FakeWriter) -> None:
        self._writer = writer

    def writer(self, transactional_id: str, **_: Any) -> FakeWriter:
        assert transactional_id == "test-adding-fills-2"
        return self._writer


class Feed:
    """Blocks of one lease, one row each unless told otherwise."""

    def __init__(self, task: PartitionTask, start: int) -> None:
        self.task = task
        self.lease = Lease(TP, lambda: None)
        self.lease.begin(start)

    def put(self, *values: bytes) -> None:
        first = self.lease.delivered
        rows = [
            ConsumerRecord(TP.topic, TP.partition, first + i, 0, 0, None, v, None, 0, 0, ())
            for i, v in enumerate(values)
        ]
        for block in self.lease.cut(rows, first + len(rows), 1000):
            self.task.put(block)


@asynccontextmanager
async def opened(
    writer: FakeWriter, role: Adder, *, tick_ms: int | None = None, pause_ms: int = 0, **flushing: Any
) -> AsyncIterator[Feed]:
    """A task of that role, open and fed; closed at the end."""
    spec = RoleSpec(
        name="adding", topics=frozenset({"fills"}), create=lambda _: role, tick_ms=tick_ms, pause_ms=pause_ms
    )
    task = PartitionTask(
        TP,
        spec,
        prefix="test",
        client={},
        flushing=Flushing(**{"interval_ms": HOUR, **flushing}),
        turn=asyncio.Lock(),
        writers=FakeProcess(writer),  # type: ignore[arg-type]
    )
    feed = Feed(task, await task.open())
    yield feed
    await task.close()


async def until(condition: Callable[[], bool]) -> None:
    """Let the task run until something holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the conditions are plain attributes
            await asyncio.sleep(0.001)


async def settle() -> None:
    """Let the task do all it wants to do now."""
    await asyncio.sleep(0.05)
