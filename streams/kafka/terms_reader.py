"""The `instruments` topic read to its end, again and again: one table of terms for all agents of a worker.

It begins where the table's changelog ends, and only where that is empty at the beginning of the topic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.ingest.terms import Terms
from streams.kafka.changelog import read_to_end

POLL_MS = 50
FETCH_MAX_WAIT_MS = 100


class TermsReader:
    """Folds `instruments` into `terms`; `refresh()` returns when everything committed so far is in it."""

    def __init__(self, client: Mapping[str, Any], topic: str, changelog: str, terms: Terms) -> None:
        self.terms = terms
        self._client = client
        self._tp = TopicPartition(topic, 0)
        self._changelog = changelog
        self._consumer: AIOKafkaConsumer | None = None
        self._lock = asyncio.Lock()
        self._waiting: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Read on to the end of the topic as it is now; who asks while one waits to begin shares it."""
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._read_on())
        await asyncio.shield(self._waiting)

    async def _read_on(self) -> None:
        async with self._lock:
            self._waiting = None
            consumer = await self._started()
            end = (await consumer.end_offsets([self._tp]))[self._tp]
            while await consumer.position(self._tp) < end:
                found = await consumer.getmany(self._tp, timeout_ms=POLL_MS)
                records = found.get(self._tp, ())
                self.terms.read([(record.offset, record.key, record.value) for record in records])

    async def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                **self._client,
                group_id=None,
                enable_auto_commit=False,
                isolation_level="read_committed",
                # asking for the end waits behind the fetch in flight on the same connection
                fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
            )
            await consumer.start()
            consumer.assign([self._tp])
            self.terms.restore(await self._accepted())
            first = (await consumer.beginning_offsets([self._tp]))[self._tp]
            consumer.seek(self._tp, max(first, self.terms.next_offset))
            self._consumer = consumer
        return self._consumer

    async def _accepted(self) -> list[tuple[bytes, bytes]]:
        parts = [part async for part in read_to_end(self._client, self._changelog, 0)]
        return [(record.key, record.value) for part in parts for record in part]

    async def stop(self) -> None:
        """Close the connection."""
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None
