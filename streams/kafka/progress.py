"""How far consumer groups have read the source topics: the time of the oldest record not read yet.

Asks the broker for committed offsets, log ends and, where a partition is behind, its first unread record. It knows
nothing of what the records say.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.errors import KafkaError, LeaderNotAvailableError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record.memory_records import MemoryRecords

# Kafka's own numbers: which log offset is asked for, and that a coordinator is one of groups.
EARLIEST, LATEST = -2, -1
OF_GROUPS = 0

# Bytes asked of a partition: little first, since one record is wanted; more each time for what has larger batches.
FETCH_BYTES = 16 * 1024
FETCH_BYTES_MAX = 1024 * 1024
ANSWER_BYTES_MAX = 50 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Progress:
    """An answer.

    Parameters
    ----------
    time_ms : timestamp of the oldest record that its group has not read, epoch ms; None where all are read
    age_ms : time since the question was put; infinite, with time_ms = 0, before the first answer
    behind : how many partitions have unread records
    slowest : where the oldest unread record is, e.g. "fills[3] at offset 118"; empty where there is none
    error : why there is no newer answer; empty where this one is new
    backlog : whether something is unread that was there already when the first question was put
    """

    time_ms: int | None
    age_ms: float = 0.0
    behind: int = 0
    slowest: str = ""
    error: str = ""
    backlog: bool = False

    def read_to(self, now_ms: int, *, age_ms_max: int) -> int | None:
        """Up to when all is surely read, epoch ms; None for "up to now".

        That is `time_ms`, but an "all is read" older than `age_ms_max` holds only for when it was asked.

        Examples
        --------
        >>> Progress(time_ms=None, age_ms=150.0).read_to(1_000_000, age_ms_max=1_000) is None
        True
        >>> Progress(time_ms=None, age_ms=4_000.0).read_to(1_000_000, age_ms_max=1_000)
        996000
        """
        if self.time_ms is None and self.age_ms > age_ms_max:
            return int(now_ms - self.age_ms)
        return self.time_ms


class SourceProgress:
    """Asks how far groups have read their topics.

    Parameters
    ----------
    sources : the topics that each group reads, by group id; a topic belongs to one group
    timeout_s : a request without an answer by then is given up, and its connection with it; a question after twice that
    client : where and how to connect, as for any aiokafka client: `bootstrap_servers`, `security_protocol`, ...

    Notes
    -----
    A question is three requests at once (two to each leader, one to each group's coordinator) and then, where the
    first unread record of a partition is not known from before, a fetch from each leader. Unread are records up to the
    last stable offset; markers of transactions and aborted records are none. A partition without a committed
    offset, or whose committed offset is deleted, is unread from its beginning. Put one question at a time, in a task
    of its own: a broker that hangs keeps it waiting, while `answer` is always at hand.
    """

    def __init__(self, sources: Mapping[str, Sequence[str]], *, timeout_s: float = 2.0, **client: Any) -> None:
        self._groups = {topic: group for group, topics in sources.items() for topic in topics}
        if len(self._groups) != sum(len(topics) for topics in sources.values()):
            raise ValueError(f"each topic must belong to one group, found {dict(sources)}")
        self._timeout_s = timeout_s
        self._client_options = client
        self._client: AIOKafkaClient | None = None
        self._coordinators: dict[str, int] = {}
        self._scans: dict[TopicPartition, _Scan] = {}
        self._last = Progress(time_ms=0, backlog=True)
        self._backlog: dict[TopicPartition, int] | None = None  # ends of the logs at the first question, until read
        self._asked_s = float("-inf")
        self._error = "nothing was asked yet"

    async def poll(self) -> Progress:
        """Ask, and return the new answer; where the broker gives none in time, the last one with the error."""
        asked_s = time.monotonic()
        try:
            async with asyncio.timeout(2 * self._timeout_s):
                self._last = await self._ask()
            self._asked_s, self._error = asked_s, ""
        except (KafkaError, OSError, TimeoutError) as failure:
            self._error = str(failure) or type(failure).__name__
            self._coordinators.clear()
            if self._client is not None:
                self._client.force_metadata_update()
        return self.answer

    @property
    def answer(self) -> Progress:
        """The last answer, with its age by now."""
        return replace(self._last, age_ms=(time.monotonic() - self._asked_s) * 1000, error=self._error)

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _ask(self) -> Progress:
        client = await self._connected()
        partitions = self._partitions(client)
        beginnings, ends, *committed = await asyncio.gather(
            self._log_offsets(client, partitions, EARLIEST),
            self._log_offsets(client, partitions, LATEST),
            *(self._committed(client, group) for group in set(self._groups.values())),
        )
        read = {tp: offset for offsets in committed for tp, offset in offsets.items()}
        starts = {tp: max(beginnings[tp], read.get(tp, -1)) for tp in partitions}
        self._scans = {
            tp: _Scan.from_offset(start, ends[tp], self._scans.get(tp))
            for tp, start in starts.items()
            if start < ends[tp]
        }
        await self._find_records(client)
        backlog = ends if self._backlog is None else self._backlog
        self._backlog = {tp: end for tp, end in backlog.items() if self._is_unread(tp, end)}
        return _progress(self._scans, backlog=bool(self._backlog))

    def _is_unread(self, tp: TopicPartition, end: int) -> bool:
        scan = self._scans.get(tp)
        return scan is not None and scan.time_ms is not None and scan.offset < end

    async def _connected(self) -> AIOKafkaClient:
        if self._client is None:
            client = AIOKafkaClient(
                metadata_max_age_ms=30_000, request_timeout_ms=int(self._timeout_s * 1000), **self._client_options
            )
            try:
                await client.bootstrap()
                await client.set_topics(list(self._groups))
            except BaseException:
                await client.close()
                raise
            self._client = client
        return self._client

    def _partitions(self, client: AIOKafkaClient) -> list[TopicPartition]:
        found: list[TopicPartition] = []
        for topic in self._groups:
            numbers = client.cluster.partitions_for_topic(topic)
            if not numbers:
                raise UnknownTopicOrPartitionError(f"topic {topic} must exist, found no partition of it")
            found += [TopicPartition(topic, number) for number in sorted(numbers)]
        return found

    async def _committed(self, client: AIOKafkaClient, group: str) -> dict[TopicPartition, int]:
        """The offsets that the group committed on its topics."""
        if group not in self._coordinators:
            request = FindCoordinatorRequest(group, OF_GROUPS)
            answer = await client.send(client.get_random_node(), request)
            _check(answer.error_code, f"coordinator of group {group}")
            self._coordinators[group] = answer.coordinator_id
        answer = await client.send(self._coordinators[group], OffsetFetchRequest(group, None))
        _check(answer.error_code, f"offsets of group {group}")
        offsets = {}
        for topic, rows in answer.topics:
            for number, offset, _, code in rows:
                _check(code, f"offset of group {group} on {topic}[{number}]")
                if self._groups.get(topic) == group:
                    offsets[TopicPartition(topic, number)] = offset
        return offsets

    async def _log_offsets(
        self, client: AIOKafkaClient, partitions: Iterable[TopicPartition], which: int
    ) -> dict[TopicPartition, int]:
        """The EARLIEST offset of each partition's log, or the LATEST stable one."""
        requests = [
            client.send(leader, OffsetRequest(-1, READ_COMMITTED, _by_topic(led, lambda _: (which,))))
            for leader, led in _by_leader(client, partitions).items()
        ]
        offsets = {}
        for answer in await asyncio.gather(*requests):
            for topic, rows in answer.topics:
                for number, code, _, offset in rows:
                    _check(code, f"log end of {topic}[{number}]")
                    offsets[TopicPartition(topic, number)] = offset
        return offsets

    async def _find_records(self, client: AIOKafkaClient) -> None:
        """Read on where a first unread record is not found yet, until each is found or there is none."""
        fetch_bytes = FETCH_BYTES
        while wanted := [tp for tp, scan in self._scans.items() if scan.is_open]:
            fetches = (
                self._fetch(client, leader, led, fetch_bytes) for leader, led in _by_leader(client, wanted).items()
            )
            await asyncio.gather(*fetches)
            fetch_bytes = min(4 * fetch_bytes, FETCH_BYTES_MAX)

    async def _fetch(self, client: AIOKafkaClient, leader: int, led: list[TopicPartition], fetch_bytes: int) -> None:
        """One fetch of all these partitions. A broker gives at least one batch, however large, of the first."""
        topics = _by_topic(led, lambda tp: (self._scans[tp].offset, fetch_bytes))
        answer = await client.send(leader, FetchRequest(0, 0, ANSWER_BYTES_MAX, READ_COMMITTED, topics))
        await asyncio.sleep(answer.throttle_time_ms / 1000)  # a throttled answer is empty
        for topic, rows in answer.topics:
            for number, code, _, *details, data in rows:
                tp = TopicPartition(topic, number)
                scan = self._scans[tp]
                _check(code, f"records of {topic}[{number}] from offset {scan.offset}")
                if not data and tp == led[0] and not answer.throttle_time_ms:
                    raise KafkaError(f"{topic}[{number}] must have batches up to {scan.end}, none at {scan.offset}")
                aborted = details[2] if answer.API_VERSION >= 5 else details[1]
                batches = MemoryRecords(data or b"")
                scan.read(PartitionRecords(tp, batches, aborted, scan.offset, None, None, False, READ_COMMITTED))


@dataclass
class _Scan:
    """The search for a partition's first unread record: none lies from `start` up to `offset`.

    `time_ms` is that of the record at `offset`, None while none is found; `end` is where the log ended.
    """

    start: int
    end: int
    offset: int
    time_ms: int | None = None

    @classmethod
    def from_offset(cls, start: int, end: int, known: _Scan | None) -> _Scan:
        """A search from `start` on, which goes on from what is `known` where that reaches to `start`."""
        if known and known.start <= start <= known.offset:
            return replace(known, end=end)
        return cls(start=start, end=end, offset=start)

    @property
    def is_open(self) -> bool:
        """Whether there may be a record that is not found yet."""
        return self.time_ms is None and self.offset < self.end

    def read(self, records: PartitionRecords) -> None:
        """Go on to the first of these records; where there is none, past their batches."""
        first = next(records, None)
        if first is not None:
            self.offset, self.time_ms = first.offset, first.timestamp
        else:
            self.offset = max(self.offset, records.next_fetch_offset)


def _progress(scans: Mapping[TopicPartition, _Scan], *, backlog: bool) -> Progress:
    found = [(scan.time_ms, tp, scan.offset) for tp, scan in scans.items() if scan.time_ms is not None]
    if not found:
        return Progress(time_ms=None)
    time_ms, tp, offset = min(found)
    slowest = f"{tp.topic}[{tp.partition}] at offset {offset}"
    return Progress(time_ms=time_ms, behind=len(found), slowest=slowest, backlog=backlog)


def _by_leader(client: AIOKafkaClient, partitions: Iterable[TopicPartition]) -> dict[int, list[TopicPartition]]:
    """The partitions by the node that leads them."""
    led = defaultdict(list)
    for tp in partitions:
        leader = client.cluster.leader_for_partition(tp)
        if leader is None or leader < 0:
            raise LeaderNotAvailableError(f"{tp.topic}[{tp.partition}] must have a leader, found none")
        led[leader].append(tp)
    return led


def _by_topic(
    partitions: Iterable[TopicPartition], fields: Callable[[TopicPartition], tuple[int, ...]]
) -> list[tuple[str, list[tuple[int, ...]]]]:
    """Partitions with their fields, in the shape and order that requests have them."""
    topics = defaultdict(list)
    for tp in partitions:
        topics[tp.topic].append((tp.partition, *fields(tp)))
    return list(topics.items())


def _check(code: int, what: str) -> None:
    if code:
        raise for_code(code)(what)
