"""The agent of one partition of `volatilities`: what is sound goes on to the oracles, the rest to the dead letters."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec
from aiokafka import TopicPartition

from streams.agents.blocks import Opening
from streams.agents.context import Context
from streams.ingest.volatilities import VolatilityPartition, VolatilityRow
from streams.kafka.batches import Record
from streams.kafka.leases import Block
from streams.metrics import DEAD_LETTERS, SOURCE_ROWS, UNKNOWN_FIELDS
from streams.oracle.volatilities import Volatility, fault_of

#: Logical name of the topic.
SOURCE = "volatilities"


class Volatilities:
    """One partition of volatilities. It holds nothing: a verdict rests on the message and the terms."""

    def __init__(self, tp: TopicPartition, context: Context) -> None:
        settings = context.settings
        self._fold = VolatilityPartition(
            topic=tp.topic,
            partition=tp.partition,
            message_bytes_max=settings.message_bytes_max,
            max_future_ms=settings.max_future_ms,
            fault_of=lambda row: fault_of(Volatility.of(row)),
        )
        self._terms = context.terms
        self._accepted = context.partition("volatilities-changelog", tp.partition)
        self._dead_letters = context.partition("dead-letters", tp.partition)
        self._records: defaultdict[TopicPartition, list[Record]] = defaultdict(list)

    async def open(self, opening: Opening) -> int | None:  # noqa: ARG002 - nothing to restore
        """Know all terms there are; the offset is the one committed."""
        await self._terms.refresh()
        return None

    async def take(self, block: Block) -> bool:
        """Check a block of messages; an instrument nobody has published is looked up once more."""
        now_ms = int(time.time() * 1000)
        before = self._fold.unknown_fields
        result = self._fold.take(block.records, self._terms.terms, now_ms)
        if result.unknown_ids:
            await self._terms.refresh()
            before = self._fold.unknown_fields  # those of the first reading are read again
            result = self._fold.take(block.records, self._terms.terms, now_ms, final=True)
        self._records[self._accepted] += [record_of(row) for row in result.rows]
        for letter in result.dead_letters:
            self._records[self._dead_letters].append(Record(letter.key, letter.value, letter.headers))
            DEAD_LETTERS.labels(letter.code).inc()
        SOURCE_ROWS.labels(SOURCE).inc(len(block.records))
        UNKNOWN_FIELDS.labels(SOURCE).inc(self._fold.unknown_fields - before)
        return True

    def tick(self) -> bool:
        """Nothing falls due by time alone."""
        return False

    def committed(self) -> None:
        """Nothing waits for it."""

    def closed(self) -> None:
        """Nothing is held that ends with the partition."""

    def flush(self) -> Mapping[TopicPartition, Sequence[Record]]:
        """Accepted volatilities and dead letters of all messages taken since the last flush."""
        records, self._records = self._records, defaultdict(list)
        return records


def record_of(row: VolatilityRow) -> Record:
    """The record of an accepted row; null where it takes one back."""
    is_told = row.volatility is not None or row.smiles
    return Record(row.name.encode(), msgspec.json.encode(row) if is_told else None)
