"""The ingest agent: one partition of a source topic, written to the journals as blocks."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from aiokafka import TopicPartition

from schemas.topics import TOPICS
from streams.agents.blocks import Opening
from streams.agents.context import Context
from streams.ingest.partition import WRITERS, IngestPartition
from streams.kafka.batches import Record
from streams.kafka.leases import Block
from streams.metrics import DEAD_LETTERS, SOURCE_ROWS, UNKNOWN_FIELDS

#: Logical topics that are ingested, in the order of the table of topics.
SOURCES = tuple(name for name in TOPICS if name in WRITERS)


class Ingest:
    """Ingest of one source partition: validates, scales and routes its messages."""

    def __init__(self, tp: TopicPartition, context: Context) -> None:
        settings = context.settings
        logical = next(name for name in SOURCES if settings.topic(name) == tp.topic)
        self._fold = IngestPartition(
            topic=logical,
            source_topic=tp.topic,
            partition=tp.partition,
            shards=settings.partitions,
            message_bytes_max=settings.message_bytes_max,
            max_future_ms=settings.max_future_ms,
        )
        self._topic = logical
        self._terms = context.terms
        self._journal = settings.topic("journal")
        self._changelog = context.partition("terms-changelog", 0)
        self._dead_letters = context.partition("dead-letters", tp.partition)
        self._records: defaultdict[TopicPartition, list[Record]] = defaultdict(list)

    async def open(self, opening: Opening) -> int | None:  # noqa: ARG002 - nothing to restore
        """Know all terms there are; the offset is the one committed."""
        await self._terms.refresh()
        return None

    async def take(self, block: Block) -> bool:
        """Fold a block of messages; an id nobody has published is looked up once more before it is refused.

        What comes of it is written at once, unless more is known to come: then together.
        """
        now_ms = int(time.time() * 1000)
        result = self._fold.take(block.records, self._terms.terms, now_ms)
        if result.unknown_ids:
            await self._terms.refresh()
            result = self._fold.take(block.records, self._terms.terms, now_ms, final=True)
        for shard, journal_block in result.blocks:
            self._records[TopicPartition(self._journal, shard)].append(Record(None, journal_block.encode()))
        for letter in result.dead_letters:
            self._records[self._dead_letters].append(Record(letter.key, letter.value, letter.headers))
            DEAD_LETTERS.labels(letter.code).inc()
        self._records[self._changelog] += [Record(key, value) for key, value in result.changelog]
        SOURCE_ROWS.labels(self._topic).inc(result.rows)
        UNKNOWN_FIELDS.labels(self._topic).inc(result.unknown_fields)
        return not block.lease.behind

    def tick(self) -> bool:
        """Nothing falls due by time alone."""
        return False

    def committed(self) -> None:
        """Nothing waits for it."""

    def closed(self) -> None:
        """Nothing is held that ends with the partition."""

    def flush(self) -> Mapping[TopicPartition, Sequence[Record]]:
        """Blocks and dead letters of all messages taken since the last flush."""
        records, self._records = self._records, defaultdict(list)
        return records
