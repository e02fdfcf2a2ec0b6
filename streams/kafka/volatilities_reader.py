"""The accepted volatilities, read on and on: what the oracles of all workers value options by.

Nothing is read until there is an option.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.oracle.volatilities import Volatility

FETCH_MAX_WAIT_MS = 100


class VolatilitiesReader:
    """Folds `volatilities-changelog` into `rows`, the latest of each name; `edition` changes with them.

    Parameters
    ----------
    client : aiokafka's connection arguments
    topic, partitions : the broker's name, and how many partitions it has
    """

    def __init__(self, client: Mapping[str, Any], topic: str, partitions: int) -> None:
        self.rows: dict[str, Volatility] = {}
        self.edition = 0
        self._client = client
        self._places = [TopicPartition(topic, number) for number in range(partitions)]
        self._wanted = False
        self._consumer: AIOKafkaConsumer | None = None
        self._lock = asyncio.Lock()

    def want(self, wanted: bool) -> None:
        """Read from the next `refresh` on, once somebody wants it."""
        self._wanted |= wanted

    async def refresh(self) -> None:
        """Read on to the end of the topic as it is now."""
        if not self._wanted:
            return
        async with self._lock:
            consumer = await self._started()
            ends = await consumer.end_offsets(self._places)
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                found = await consumer.getmany(timeout_ms=FETCH_MAX_WAIT_MS)
                for records in found.values():
                    for record in records:
                        self._take(record.key.decode(), record.value)

    def _take(self, name: str, value: bytes | None) -> None:
        if value is None:
            self.rows[name] = Volatility(name, "", 0, None, None, ())
        else:
            self.rows[name] = Volatility.of(orjson.loads(value))
        self.edition += 1

    async def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                **self._client,
                group_id=None,
                enable_auto_commit=False,
                isolation_level="read_committed",
                auto_offset_reset="earliest",
                fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
            )
            await consumer.start()
            consumer.assign(self._places)
            await consumer.seek_to_beginning(*self._places)
            self._consumer = consumer
        return self._consumer

    async def stop(self) -> None:
        """Close the connection."""
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None
