"""A recording back into a cluster: its records into topics that are empty, and where it matters to their own offsets.

A journal's offsets are in the ids of decisions and in the workers' position, and the versions of terms are offsets in
`instruments`; so these topics are written with every record at the offset that it was recorded at. What is between
(markers of transactions, what retention or compaction took) becomes records of transactions that are aborted, which no
`read_committed` reader sees; of a journal what is before the first record is deleted again. Records of other topics get
the offsets that come. This module knows records and offsets, not what they mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError

from schemas.topics import TOPICS
from streams.kafka.batches import BATCH_BYTES_MAX, Record, build_batches
from streams.kafka.topics import TopicNeed, TopicsUnfit, ensure_topics
from streams.replay.recording import Extent, Recorded, Recording, RecordingError
from streams.settings import Settings

#: Topics whose records keep their offsets.
OFFSETS_KEPT = ("journal", "instruments")
#: A transaction that fills holes ends at the first hole after this long, well before the broker would end it.
FILL_SECONDS = 20.0
TIMEOUT_MS = 600_000
FILL_RECORDS = 5_000
#: Compacted topics refuse a record without key.
UNSEEN = Record(b"~unseen", None)
SETTLED_SECONDS_MAX = 30.0

#: What is told on the way: topic, partition, offset of the recording that is reached, its end.
Tell = Callable[[str, int, int, int], None]


async def import_recording(recording: Recording, topics: Sequence[str], settings: Settings, tell: Tell) -> None:
    """Write topics of a recording into the cluster that the settings name.

    Raises
    ------
    RecordingError
        where the recording cannot be read, the cluster is not reached, a topic there is not empty or has another
        number of partitions, or somebody else writes to it meanwhile. What was written by then stays.
    """
    try:
        await _ready(recording, topics, settings)
        for topic in topics:
            for partition, extent in recording.extents(topic).items():
                await _import_partition(recording, topic, partition, extent, settings, tell)
    except TopicsUnfit as error:
        raise RecordingError(f"{error} ({settings.broker})") from error
    except KafkaError as error:
        raise RecordingError(f"Kafka must take the records, found {error!r} ({settings.broker})") from error


async def _ready(recording: Recording, topics: Sequence[str], settings: Settings) -> None:
    """Create what is missing, and see that nothing is there yet."""
    needs = {
        topic: TopicNeed(
            name=settings.topic(topic),
            partitions=max(recording.extents(topic)) + 1,
            exact=True,
            config=TOPICS[topic].config(),
        )
        for topic in topics
    }
    await ensure_topics(settings.client(), needs.values(), create=True, replication=settings.replication)
    places = [TopicPartition(need.name, number) for need in needs.values() for number in range(need.partitions)]
    async with _consumer(settings) as consumer:
        for place, end in sorted((await consumer.end_offsets(places)).items()):
            if end:
                raise RecordingError(
                    f"topics must be empty, found {place.topic}[{place.partition}] at {end} ({settings.broker})"
                )


async def _import_partition(
    recording: Recording, topic: str, partition: int, extent: Extent, settings: Settings, tell: Tell
) -> None:
    tp = TopicPartition(settings.topic(topic), partition)
    async with _target(tp, settings) as target:
        for part in recording.read(topic, partition):
            if topic in OFFSETS_KEPT:
                await _write_at(target, part)
            else:
                await target.write(part)
            if part:
                tell(topic, partition, part[-1].offset + 1, extent.end)
        if topic in OFFSETS_KEPT:
            await target.skip_to(extent.end, last=True)
            if extent.first and TOPICS[topic].cleanup != "compact":
                await target.delete_before(extent.first)


async def _write_at(target: _Target, part: Sequence[Recorded]) -> None:
    """Write records at their offsets: runs without a hole at once, and holes between them."""
    first = 0
    for at in range(1, len(part) + 1):
        if at == len(part) or part[at].offset != part[at - 1].offset + 1:
            await target.skip_to(part[first].offset)
            await target.write(part[first:at])
            first = at


@asynccontextmanager
async def _target(tp: TopicPartition, settings: Settings) -> AsyncIterator[_Target]:
    common = {
        **settings.client(),
        "acks": "all",
        "linger_ms": 0,
        "max_batch_size": BATCH_BYTES_MAX,
        "max_request_size": BATCH_BYTES_MAX,
    }
    records = AIOKafkaProducer(**common, enable_idempotence=True)
    unseen = AIOKafkaProducer(
        **common, transactional_id=f"{tp.topic}-{tp.partition}-import", transaction_timeout_ms=TIMEOUT_MS
    )
    admin = AIOKafkaAdminClient(**settings.client())
    async with _consumer(settings) as consumer:
        try:
            await records.start()
            await unseen.start()
            await admin.start()
            yield _Target(tp, records, unseen, consumer, admin)
        finally:
            for client in (records, unseen):
                await client.stop()
            await admin.close()


class _Target:
    """One empty partition, a writer of records, and a writer of what is never seen.

    Attributes
    ----------
    next_offset : where the next record goes
    """

    def __init__(self, tp: TopicPartition, records: Any, unseen: Any, consumer: Any, admin: Any) -> None:
        self.tp = tp
        self.next_offset = 0
        self._records = records
        self._unseen = unseen
        self._consumer = consumer
        self._admin = admin
        self._open_since: float | None = None

    async def write(self, records: Sequence[Recorded]) -> None:
        """Write records at the next offsets."""
        rows = [Record(record.key, record.value, record.headers, record.timestamp_ms) for record in records]
        await self._send(self._records, rows)

    async def _send(self, producer: Any, rows: Sequence[Record]) -> None:
        if not rows:
            return
        try:
            batches = build_batches(producer, self.tp, rows)
        except ValueError as error:
            raise RecordingError(str(error)) from None
        sent = []
        for batch in batches:
            count = batch.record_count()
            sent.append((count, await producer.send_batch(batch, self.tp.topic, partition=self.tp.partition)))
        for count, answer in sent:
            found = (await answer).offset
            if found != self.next_offset:
                raise RecordingError(
                    f"nobody else may write to {self.tp.topic}[{self.tp.partition}], found {found} where "
                    f"{self.next_offset} comes next"
                )
            self.next_offset += count

    async def skip_to(self, offset: int, *, last: bool = False) -> None:
        """Let the next record come at `offset`; where a transaction is due to end, its marker is the last before it.

        Parameters
        ----------
        last : no record comes any more; a marker may stand at `offset` itself
        """
        while self.next_offset < offset:
            ends = last or (self._open_since is not None and monotonic() - self._open_since > FILL_SECONDS)
            left = offset - self.next_offset - ends
            if left == 0 and self._open_since is not None:
                await self._end()
                continue
            if self._open_since is None:
                await self._unseen.begin_transaction()
                self._open_since = monotonic()
            await self._send(self._unseen, [UNSEEN] * max(1, min(left, FILL_RECORDS)))
        if last and self._open_since is not None:
            await self._end()

    async def _end(self) -> None:
        """Abort the transaction, and wait until its marker is there."""
        await self._unseen.abort_transaction()
        self._open_since = None
        self.next_offset += 1
        until = monotonic() + SETTLED_SECONDS_MAX
        while (end := (await self._consumer.end_offsets([self.tp]))[self.tp]) < self.next_offset:
            if monotonic() > until:
                raise RecordingError(
                    f"a transaction must end within {SETTLED_SECONDS_MAX:g} s, found none "
                    f"({self.tp.topic}[{self.tp.partition}] at {end})"
                )
            await asyncio.sleep(0.002)

    async def delete_before(self, offset: int) -> None:
        """Take away what fills the offsets before the first record."""
        await self._admin.delete_records({self.tp: RecordsToDelete(before_offset=offset)})


def _consumer(settings: Settings) -> Any:
    """Asks for ends, whatever is committed."""
    return AIOKafkaConsumer(**settings.client(), enable_auto_commit=False, isolation_level="read_uncommitted")
