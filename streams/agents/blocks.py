"""What every agent does with blocks: fold them in order, and write what came of it in transactions.

A `Role` is what differs between agents: how one source partition is opened, how a block changes its state,
what is to be written. `Partitions` is what is the same: one writer per partition, the order of steps at a
take-over (fence, restore, read), when to flush, what to do when anything fails (end the process), how to
stop. Formulas and messages are unknown here.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiokafka import ConsumerRecord, TopicPartition

from streams.kafka.batches import Records
from streams.kafka.changelog import first_offset, read_rows, read_to_end
from streams.kafka.fatal import fatal
from streams.kafka.leases import Block, Fetching, Lease, partition_name
from streams.kafka.records import joined
from streams.kafka.transactions import PartitionWriter, TransactionFailed
from streams.kafka.writer_process import WriterProcess
from streams.rows import Rows

log = logging.getLogger("crossmargin")

#: An idle partition's offset is committed again this often, in seconds: the broker forgets offsets of a group
#: without members after ``offsets.retention.minutes`` (7 days), and idle transactional ids as well.
REFRESH_SECONDS = 3600.0
#: Passes of the event loop between two blocks of any partition. What is fetched takes several to its partition; with
#: one pass a block, a quote would wait for as many blocks of others before it even has its turn.
PASSES_BETWEEN_BLOCKS = 4
#: A role that pauses between flushes takes what has come meanwhile as one block, unless it is as many rows as these.
GATHERED_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Opening:
    """What a role may know and read when its partition is opened; the writer before us is fenced already."""

    tp: TopicPartition
    committed: int | None  #: the offset committed to the role's group, None where there is none
    client: Mapping[str, Any]

    def read(self, topic: str, partition: int) -> AsyncIterator[Sequence[ConsumerRecord]]:
        """Yield the committed records of a partition in lists, up to its present end."""
        return read_to_end(self.client, topic, partition)

    def read_rows(self, topic: str, partition: int) -> AsyncIterator[Rows]:
        """The same in columns, for keys and values alone."""
        return read_rows(self.client, topic, partition)


class Role(Protocol):
    """One source partition's part of an agent: a fold, and the records that it wants written."""

    async def open(self, opening: Opening) -> int | None:
        """Restore the state, and return the offset it covers; None: as committed, or the first there is."""

    async def take(self, block: Block) -> bool:
        """Fold a block; True when what came of it should be written at once."""

    def tick(self) -> bool:
        """Called every ``tick_ms`` when the role has one; True as for `take`."""

    def flush(self) -> Mapping[TopicPartition, Records]:
        """Return what is to be written for all blocks taken so far, once; it is committed with their end."""

    def committed(self) -> None:
        """Called once what `flush` returned last is in the log."""

    def closed(self) -> None:
        """Called last of all, when the partition has been let go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSpec:
    """A role: its name, its source topics, and how to make the part of one partition.

    Offsets are committed to the group ``<prefix>-<name>``.

    Attributes
    ----------
    pause_ms : int
        Flushes of a partition begin at least this far apart, unless ``rows_max`` are waiting. What comes alone goes
        out at once; of a stream, what comes meanwhile is taken together and goes out together.
    """

    name: str
    topics: frozenset[str]
    create: Callable[[TopicPartition], Role]
    tick_ms: int | None = None
    pause_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flushing:
    """When a partition's work is written.

    Attributes
    ----------
    interval_ms : int
        Work that isn't urgent waits this long at most, and while more is known to come up to ``behind`` times as long.
        A transaction costs the same with few rows as with many, and an account that many rows touch is written once
        in each: who is behind catches up sooner with fewer of them.
    rows_max : int
        Source records taken since the last flush; with so many it is due, and taking pauses while one is in
        the air.
    transaction_timeout_ms : int
        See `PartitionWriter`.
    close_seconds_max : float
        How long letting a partition go may take: the flush in the air, and a last one.
    """

    interval_ms: int = 100
    behind: int = 5
    rows_max: int = 20_000
    transaction_timeout_ms: int = 10_000
    close_seconds_max: float = 5.0


class PartitionTask:
    """One source partition of one role in this worker, from take-over to hand-over."""

    def __init__(
        self,
        tp: TopicPartition,
        spec: RoleSpec,
        *,
        prefix: str,
        client: Mapping[str, Any],
        flushing: Flushing,
        turn: asyncio.Lock,
        writers: WriterProcess,
        observe: Callable[[float], None] | None = None,
    ) -> None:
        self.tp = tp
        self.role = spec.create(tp)
        self.applied = 0  #: the end of the last block taken
        self.committed: int | None = None  #: the offset last committed
        self._group = f"{prefix}-{spec.name}"
        self._tick_seconds = None if spec.tick_ms is None else spec.tick_ms / 1000
        self._pause_seconds = spec.pause_ms / 1000
        self._client = client
        self._flushing = flushing
        self._turn = turn
        self._writer = writers.writer(
            f"{prefix}-{spec.name}-{tp.topic}-{tp.partition}",
            transaction_timeout_ms=flushing.transaction_timeout_ms,
            observe=observe,
        )
        self._blocks: deque[Block] = deque()
        self._wake = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._commit: asyncio.Task[None] | None = None
        self._urgent = self._closing = self._behind = False
        self._rows = 0
        self._flush_at = self._tick_at = self._refresh_at = float("inf")
        self._pause_until = 0.0

    async def open(self) -> int:
        """Fence, restore, and return the offset to read from."""
        await self._writer.start()
        self.committed = (await self._writer.committed(self._group, [self.tp]))[self.tp]
        restored = await self.role.open(Opening(self.tp, self.committed, self._client))
        if restored is not None and self.committed is not None and restored != self.committed:
            fatal(
                f"changelog and group {self._group} must name one offset of {partition_name(self.tp)}, "
                f"found {restored} and {self.committed}"
            )
        start = self.committed if restored is None else restored
        self.applied = await first_offset(self._client, self.tp) if start is None else start
        now = time.monotonic()
        self._refresh_at = now if self.committed is not None else float("inf")
        if self._tick_seconds is not None:
            self._tick_at = now
        self._runner = asyncio.create_task(self._run())
        return self.applied

    @property
    def ready(self) -> bool:
        """Whether the role's state is restored; until then it must not be read."""
        return self._runner is not None

    def put(self, block: Block) -> None:
        """Take a block in, to be folded in its turn."""
        self._blocks.append(block)
        self._wake.set()

    async def close(self) -> None:
        """Stop taking, write what was taken, and let the partition go; in bounded time."""
        if self._runner is not None:
            self._closing = True
            self._wake.set()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._finish(self._runner), self._flushing.close_seconds_max)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._writer.stop(), self._flushing.close_seconds_max)
        self.role.closed()

    async def _finish(self, runner: asyncio.Task[None]) -> None:
        await runner  # a block is taken whole or not at all
        if self._commit is not None:
            await self._commit
        if self._rows or self._urgent:
            self._start_flush()
        if self._commit is not None:
            await self._commit

    async def _run(self) -> None:
        try:
            while not self._closing:
                self._wake.clear()
                if self._tick_at <= time.monotonic() and self._tick_seconds is not None:
                    self._tick_at = time.monotonic() + self._tick_seconds
                    self._urgent |= self.role.tick()
                if self._may_take() and not self._closing:
                    async with self._turn:
                        for _ in range(PASSES_BETWEEN_BLOCKS):
                            await asyncio.sleep(0)
                    await self._take(self._next_blocks())
                if self._commit is None and self._due(time.monotonic()):
                    self._start_flush()
                if not self._may_take() and not self._closing:
                    await self._sleep()
        except Exception as error:
            fatal(f"{partition_name(self.tp)} must be processed, found {error!r} at {self.applied}", error)

    def _may_take(self) -> bool:
        return (
            bool(self._blocks)
            and (self._commit is None or self._rows < self._flushing.rows_max)
            and not self._gathering()
        )

    def _gathering(self) -> bool:
        """Whether blocks are left waiting, to be taken as one when the next flush may begin."""
        if not self._pause_seconds or (self._commit is None and self._pause_until <= time.monotonic()):
            return False
        waiting = sum(len(block.records) for block in self._blocks)
        return waiting < GATHERED_ROWS and self._rows + waiting < self._flushing.rows_max

    def _next_blocks(self) -> list[Block]:
        """The blocks to take now: the oldest, and for a role that pauses the next ones too."""
        taken = [self._blocks.popleft()]
        rows = len(taken[0].records)
        while self._pause_seconds and self._blocks and rows + len(self._blocks[0].records) <= GATHERED_ROWS:
            taken.append(self._blocks.popleft())
            rows += len(taken[-1].records)
        return taken

    async def _take(self, blocks: Sequence[Block]) -> None:
        at = self.applied
        for block in blocks:
            if block.start != at:
                fatal(f"{partition_name(self.tp)} must go on at {at}, a block begins at {block.start}")
            at = block.end
        block = Block(blocks[0].lease, joined([block.records for block in blocks]), self.applied, at)
        self._urgent |= await self.role.take(block)
        self.applied = block.end
        self._behind = block.lease.behind
        self._rows += len(block.records)
        self._flush_at = min(self._flush_at, time.monotonic() + self._flushing.interval_ms / 1000)
        for block in blocks:
            block.release()

    def _due(self, now: float) -> bool:
        return self._due_at() <= now

    def _due_at(self) -> float:
        """When the next flush is due, monotonic seconds."""
        if self._rows >= self._flushing.rows_max:
            return 0.0
        wanted = 0.0 if self._urgent else min(self._work_due_at(), self._refresh_at)
        return max(wanted, self._pause_until)

    def _work_due_at(self) -> float:
        """When work that isn't urgent is due."""
        flushing = self._flushing
        behind = bool(self._blocks) or self._behind
        return self._flush_at + (flushing.behind - 1) * flushing.interval_ms / 1000 * behind

    def _start_flush(self) -> None:
        """Send off the records of all blocks applied so far; later ones are of the next flush."""
        records = self.role.flush()
        now = time.monotonic()
        self._pause_until = now + self._pause_seconds
        refresh = self._refresh_at <= now
        offsets = {self.tp: self.applied} if refresh or self.applied != self.committed else {}
        self._urgent, self._rows, self._flush_at = False, 0, float("inf")
        if offsets or any(records.values()):
            self._commit = asyncio.create_task(self._write(records, offsets))

    async def _write(self, records: Mapping[TopicPartition, Records], offsets: Mapping[TopicPartition, int]) -> None:
        try:
            await self._writer.commit(records, offsets, self._group)
        except TransactionFailed as error:
            fatal(str(error))
        except Exception as error:
            fatal(f"{partition_name(self.tp)} must be written, found {error!r} at {self.applied}", error)
        if offsets:
            self.committed = offsets[self.tp]
            self._refresh_at = time.monotonic() + REFRESH_SECONDS
        self.role.committed()
        self._commit = None
        self._wake.set()

    async def _sleep(self) -> None:
        """Wait for a block, the end of a transaction, or the next thing due."""
        due = self._tick_at
        if self._commit is None:
            due = min(due, self._due_at(), self._pause_until if self._blocks else float("inf"))
        loop = asyncio.get_running_loop()
        timer = loop.call_later(max(0.0, due - time.monotonic()), self._wake.set) if due < float("inf") else None
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()


class Partitions:
    """All source partitions that this worker holds, of all its roles: the transport's owner.

    Attributes
    ----------
    tasks : dict
        The partitions held now. Once a task is ``ready`` its role's state may be read, in the event loop; it is
        ahead of what is committed by the flush in the air.
    """

    def __init__(
        self,
        roles: Sequence[RoleSpec],
        *,
        prefix: str,
        fetching: Fetching,
        flushing: Flushing,
        opening_max: int = 4,
        observe: Callable[[str, float], None] | None = None,
    ) -> None:
        self.fetching = fetching
        self.tasks: dict[TopicPartition, PartitionTask] = {}
        self._roles = {topic: spec for spec in roles for topic in spec.topics}
        self._prefix = prefix
        self._flushing = flushing
        self._observe = observe
        self._turn = asyncio.Lock()
        self._writers = WriterProcess(fetching.client, PartitionWriter)
        self._slots = asyncio.Semaphore(opening_max)

    def take(self, block: Block) -> None:
        """Hand a block to its partition; what agents do with what they are given."""
        if block.lease.alive:
            self.tasks[block.tp].put(block)

    async def open(self, lease: Lease) -> int:
        """Take a partition over; see `streams.kafka.leases.Owner`."""
        spec = self._roles[lease.tp.topic]
        observe = self._observe
        async with self._slots:
            task = PartitionTask(
                lease.tp,
                spec,
                prefix=self._prefix,
                client=self.fetching.client,
                flushing=self._flushing,
                turn=self._turn,
                writers=self._writers,
                observe=None if observe is None else lambda seconds: observe(spec.name, seconds),
            )
            self.tasks[lease.tp] = task
            began = time.monotonic()
            offset = await task.open()
        # What is there by now stays: a full collection that goes through it stops everything for 50 to 100 ms.
        gc.freeze()
        log.info("%s opened at %d in %.3f s", partition_name(lease.tp), offset, time.monotonic() - began)
        return offset

    async def close(self, leases: Sequence[Lease]) -> None:
        """Let partitions go; see `streams.kafka.leases.Owner`."""
        tasks = [self.tasks.pop(lease.tp) for lease in leases if lease.tp in self.tasks]
        await asyncio.gather(*(task.close() for task in tasks))
        gc.unfreeze()
