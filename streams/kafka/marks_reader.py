"""The `marks` topic, read on and on for a few symbols: the prices that other partitions' oracles made.

Nothing is read until a symbol is wanted, and then only the partitions that hold wanted ones: each of them whole, so
that a partition is read from its beginning once, however many symbols quotes claim to be stated in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from schemas.journal import PRICE_STATES
from schemas.sharding import shard_of

FETCH_MAX_WAIT_MS = 100


class MarkRow(NamedTuple):
    """What is told of a symbol; `state` by its place in PRICE_STATES, `quote_time` in epoch ms."""

    symbol: str
    price: float
    confidence: float
    state: int
    quote_time: int


class MarksReader:
    """Folds `marks` into `rows`, the latest of each symbol in the partitions read; `edition` changes with them.

    Parameters
    ----------
    client : aiokafka's connection arguments
    topic, partitions : the broker's name, and how many partitions it has
    """

    def __init__(self, client: Mapping[str, Any], topic: str, partitions: int) -> None:
        self.rows: dict[str, MarkRow] = {}
        self.edition = 0
        self._client = client
        self._topic = topic
        self._partitions = partitions
        self._numbers: set[int] = set()  # of the partitions read
        self._begins = False  # whether the next refresh begins at the beginning
        self._consumer: AIOKafkaConsumer | None = None
        self._lock = asyncio.Lock()

    def want(self, symbols: Collection[str]) -> None:
        """Read these symbols too, from the next `refresh` on."""
        numbers = {shard_of(symbol, self._partitions) for symbol in symbols}
        self._begins |= not self._numbers.issuperset(numbers)
        self._numbers |= numbers

    async def refresh(self) -> None:
        """Read on to the end of the topic as it is now, or from its beginning where more partitions are wanted."""
        if not self._numbers:
            return
        async with self._lock:
            consumer = await self._assigned()
            ends = await consumer.end_offsets(list(consumer.assignment()))
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                found = await consumer.getmany(timeout_ms=FETCH_MAX_WAIT_MS)
                for records in found.values():
                    self._fold(records)

    async def _assigned(self) -> AIOKafkaConsumer:
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
            self._consumer = consumer
        if self._begins:
            self._begins = False
            places = [TopicPartition(self._topic, number) for number in sorted(self._numbers)]
            self._consumer.assign(places)
            await self._consumer.seek_to_beginning(*places)
        return self._consumer

    def _fold(self, records: Collection[ConsumerRecord]) -> None:
        latest = {record.key: record.value for record in records}
        for key, value in latest.items():
            if key is None or value is None:
                continue
            row = _row(orjson.loads(value))
            if row is not None and self.rows.get(row.symbol) != row:
                self.rows[row.symbol] = row
                self.edition += 1

    async def stop(self) -> None:
        """Close the connection."""
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None


def _row(mark: Mapping[str, Any]) -> MarkRow | None:
    if mark["index"] is None:
        return None
    quote_time = mark.get("quote_time")
    return MarkRow(
        symbol=mark["symbol"],
        price=float(mark["index"]),
        confidence=float(mark["confidence"]),
        state=PRICE_STATES.index(mark["state"]),
        quote_time=mark["time"] if quote_time is None else quote_time,
    )
