"""The demo's line to Kafka: what it sends, what it hears, and when all that it sent has been worked through.

`Feed.wait_quiet` is the lock-step. It asks Kafka alone (committed offsets, ends of partitions), so it holds
for any number of workers, and while they are killed and come back.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from schemas.journal import Block
from streams.demo.venue import Message

#: Topic -> role that consumes it.
SOURCES = {
    "oracle-prices": "oracle",
    "volatilities": "ingest",
    "fills": "ingest",
    "collateral": "ingest",
    "funding-rates": "ingest",
    "accounts": "ingest",
    "instruments": "ingest",
}
DECISIONS = ("liquidations", "margin-calls", "dead-letters")
#: A wait begins with this part of what such waits took lately, and then asks again at this smaller part: every
#: question costs the broker about as much as a small write.
FIRST_PART, AGAIN_PART, POLL_SECONDS_MIN = 0.7, 0.2, 0.002
#: A read that waits for news is answered after this long without any.
FETCH_WAIT_MS = 50


class Stuck(Exception):
    """The worker made no progress for too long; the message says what it has not done."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """How to reach Kafka, and what things are called there.

    Parameters
    ----------
    options : connection arguments of every aiokafka client
    topics : logical name -> topic
    groups : role -> consumer group in which it commits
    """

    options: Mapping[str, Any]
    topics: Mapping[str, str]
    groups: Mapping[str, str]


def status(summary: Mapping[str, Any]) -> str:
    """The worst status among an account's buckets, from its summary on `margin-accounts`."""
    order = ("ok", "unpriced", "margin_call", "liquidation", "bankrupt")
    return max([summary["status"], *(bucket["status"] for bucket in summary["isolated"])], key=order.index)


class Heard(NamedTuple):
    """One record of an output topic; `at` is when it was read, monotonic seconds."""

    topic: str  # logical name
    value: dict[str, Any]
    at: float


@dataclass(kw_only=True)
class _Inbox:
    """What the reader has seen: decisions not yet handed out, latest summaries, journal size."""

    decisions: list[Heard] = field(default_factory=list)
    summaries: dict[bytes, bytes] = field(default_factory=dict)  # latest by account, those not counted yet
    statuses: dict[bytes, str] = field(default_factory=dict)  # by account, as of the last count
    last: dict[TopicPartition, int] = field(default_factory=dict)  # offset of the last record, no marker
    marked: dict[int, int] = field(default_factory=dict)  # journal partition -> time of its newest live marks
    blocks: int = 0
    bytes: int = 0


class Feed:
    """Sends messages, hears outputs, and knows when the pipeline is quiet.

    Parameters
    ----------
    cluster : where
    alive : called while waiting; raises where waiting is pointless (the worker died)
    patience_s : how long `wait_quiet` bears no progress at all, in seconds

    Attributes
    ----------
    blocks, journal_bytes : records of the journal and their size
    """

    def __init__(
        self, cluster: Cluster, alive: Callable[[], None], patience_s: float = 60.0, watched: Collection[str] = ()
    ) -> None:
        self.margins: dict[str, str] = {}
        self._watched = {account.encode() for account in watched}
        self._cluster = cluster
        self._alive = alive
        self._patience_s = patience_s
        self._producer = AIOKafkaProducer(**cluster.options, enable_idempotence=True, linger_ms=1)
        self._reader = AIOKafkaConsumer(
            **cluster.options,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        self._ends = AIOKafkaConsumer(**cluster.options)
        self._admin = AIOKafkaAdminClient(**cluster.options)
        self._logical = {name: logical for logical, name in cluster.topics.items()}
        self._inbox = _Inbox()
        self._sent: dict[TopicPartition, int] = {}  # offset of the last record we sent, until it is consumed
        self._coordinators: dict[str, int] = {}
        self._usual: dict[frozenset[str], float] = {}  # roles waited for -> seconds it took lately
        self._partitions: dict[str, list[TopicPartition]] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def blocks(self) -> int:
        return self._inbox.blocks

    @property
    def journal_bytes(self) -> int:
        return self._inbox.bytes

    def statuses(self) -> Counter[str]:
        """How many accounts are in which status, by their latest summaries."""
        inbox = self._inbox
        for account, summary in inbox.summaries.items():
            told = orjson.loads(summary)
            inbox.statuses[account] = status(told)
            if account in self._watched and told["initial_margin"] is not None:
                self.margins[account.decode()] = told["initial_margin"]
        inbox.summaries.clear()
        return Counter(inbox.statuses.values())

    async def start(self) -> Self:
        """Connect, wait until every topic is there, and begin to read the outputs from their start."""
        for client in (self._producer, self._reader, self._ends, self._admin):
            await client.start()
        heard = ("journal", "margin-accounts", *DECISIONS)
        for logical in (*SOURCES, *heard):
            self._partitions[logical] = await self._find(self._cluster.topics[logical])
        self._reader.assign([tp for logical in heard for tp in self._partitions[logical]])
        self._task = asyncio.create_task(self._read())
        return self

    async def stop(self) -> None:
        """Close every connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for client in (self._producer, self._reader, self._ends):
            await client.stop()
        await self._admin.close()

    async def send(self, messages: Iterable[Message]) -> None:
        """Send, and wait until the broker has all of it."""
        futures = []
        for message in messages:
            topic = self._cluster.topics[message.topic]
            value = orjson.dumps(message.value)
            futures.append(await self._producer.send(topic, value, key=message.key.encode()))
        for record in await asyncio.gather(*futures):
            place = TopicPartition(record.topic, record.partition)
            self._sent[place] = max(record.offset, self._sent.get(place, -1))

    async def wait_quiet(self, marked_ms: int | None = None) -> list[Heard]:
        """Wait until all that was sent is consumed, journaled, applied and answered; return the new decisions.

        Parameters
        ----------
        marked_ms : wait for marks of this time too, epoch ms; the oracle may hold marks back for a while

        Notes
        -----
        Sources first (their offsets are committed with the journal blocks they became), then the journal (an
        offset committed past its last record: behind that come only transaction markers), then the outputs
        (read to the end, which a reader of committed data can only pass when no transaction is open).

        Raises
        ------
        Stuck
            where nothing moved for `patience_s`.
        """
        await self._consumed(self._sent, {name: SOURCES[name] for name in SOURCES})
        self._sent.clear()
        if marked_ms is not None:
            await self._marked(marked_ms)
        await self._heard(["journal"])
        last = self._inbox.last
        journal = {tp: last[tp] for tp in self._partitions["journal"] if tp in last}
        await self._consumed(journal, {"journal": "margin"})
        await self._heard(DECISIONS)
        decisions, self._inbox.decisions = self._inbox.decisions, []
        return decisions

    async def _consumed(self, wanted: Mapping[TopicPartition, int], roles: Mapping[str, str]) -> None:
        """Wait until each offset in `wanted` is behind the committed offset of its topic's role."""
        missing = dict(wanted)
        key = frozenset(roles[self._logical[tp.topic]] for tp in missing)
        usual = self._usual.get(key, 0.0)
        began = waited = time.monotonic()
        committed_before = None
        await asyncio.sleep(FIRST_PART * usual if missing else 0.0)
        while missing:
            committed: dict[TopicPartition, int] = {}
            for role in {roles[self._logical[tp.topic]] for tp in missing}:
                asked = [tp for tp in missing if roles[self._logical[tp.topic]] == role]
                committed |= await self._committed(role, asked)
            missing = {tp: offset for tp, offset in missing.items() if committed.get(tp, 0) <= offset}
            if not missing:
                break
            self._alive()
            if committed != committed_before:
                waited, committed_before = time.monotonic(), committed
            if time.monotonic() - waited > self._patience_s:
                behind = ", ".join(
                    f"{tp.topic}[{tp.partition}] {committed.get(tp, 0)} <= {offset}" for tp, offset in missing.items()
                )
                raise Stuck(f"offsets must move within {self._patience_s:g} s, these do not: {behind}")
            await asyncio.sleep(max(POLL_SECONDS_MIN, AGAIN_PART * usual))
        if key:
            self._usual[key] = 0.8 * usual + 0.2 * min(time.monotonic() - began, 1.0)

    async def _marked(self, time_ms: int) -> None:
        """Wait until every journal partition has live marks of this time."""
        waited = time.monotonic()
        while behind := [p.partition for p in self._partitions["journal"] if self._marks_of(p.partition) < time_ms]:
            self._alive()
            if time.monotonic() - waited > self._patience_s:
                raise Stuck(f"journal partitions must have live marks of {time_ms}, {behind} have none")
            await asyncio.sleep(POLL_SECONDS_MIN)

    def _marks_of(self, partition: int) -> int:
        return self._inbox.marked.get(partition, -1)

    async def _heard(self, names: Iterable[str]) -> None:
        """Wait until our reader has passed the present end of these topics."""
        places = [tp for name in names for tp in self._partitions[name]]
        ends = await self._ends.end_offsets(places)
        waited = time.monotonic()
        for place, end in ends.items():
            while await self._reader.position(place) < end:
                self._alive()
                if time.monotonic() - waited > self._patience_s:
                    raise Stuck(
                        f"{place.topic}[{place.partition}] must be readable to its end {end}, a transaction "
                        f"holds it at {await self._reader.position(place)}"
                    )
                await asyncio.sleep(POLL_SECONDS_MIN / 2)

    async def _committed(self, role: str, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Committed offsets of a role; nothing while its group is not to be had."""
        group = self._cluster.groups[role]
        try:
            if group not in self._coordinators:
                self._coordinators[group] = await self._admin.find_coordinator(group)
            found = await self._admin.list_consumer_group_offsets(group, self._coordinators[group], places)
        except KafkaError:
            self._coordinators.pop(group, None)
            await asyncio.sleep(0.05)
            return {}
        return {tp: meta.offset for tp, meta in found.items()}

    async def _find(self, topic: str) -> list[TopicPartition]:
        """The partitions of a topic, once it is there."""
        waited = time.monotonic()
        while not (known := await self._topic_partitions(topic)):
            self._alive()
            if time.monotonic() - waited > self._patience_s:
                raise Stuck(f"topic {topic} must be there within {self._patience_s:g} s, found none")
            await asyncio.sleep(0.1)
        return [TopicPartition(topic, number) for number in known]

    async def _topic_partitions(self, topic: str) -> list[int]:
        described = await self._admin.describe_topics([topic])
        return sorted(item["partition"] for found in described for item in found["partitions"])

    async def _read(self) -> None:
        while True:
            batch = await self._reader.getmany(timeout_ms=1000)
            now = time.monotonic()
            for place, records in batch.items():
                self._take(place, records, now)

    def _take(self, place: TopicPartition, records: list[Any], now: float) -> None:
        logical = self._logical[place.topic]
        self._inbox.last[place] = records[-1].offset
        if logical == "journal":
            self._inbox.blocks += len(records)
            self._inbox.bytes += sum(len(record.value) for record in records)
            self._mark(place.partition, [Block.decode(record.value) for record in records])
        elif logical == "margin-accounts":
            self._inbox.summaries |= {record.key: record.value for record in records if record.value is not None}
        elif logical == "dead-letters":
            for record in records:
                headers = {name: value.decode(errors="replace") for name, value in record.headers}
                self._inbox.decisions.append(Heard(logical, headers, now))
        else:
            self._inbox.decisions += [Heard(logical, orjson.loads(record.value), now) for record in records]

    def _mark(self, partition: int, blocks: list[Block]) -> None:
        """Remember how far the marks of a shard have come."""
        for block in blocks:
            if block.kind == "marks" and block.extra["oracle"]["mode"] == "live":
                self._inbox.marked[partition] = block.extra["time"]
