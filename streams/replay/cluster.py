"""A recording that is still on its cluster: the committed records of its topics, up to their end as of the question."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.replay.recording import Extent, Recorded, RecordingError, ascending
from streams.settings import Settings

RECORDS_MAX = 5_000
FETCH_BYTES = 4 << 20
POLL_MS = 50


class ClusterRecording:
    """Reads as a consumer without a group, one for each partition that is being read; a context manager."""

    def __init__(self, settings: Settings) -> None:
        self.name = settings.broker
        self._settings = settings
        self._runner = asyncio.Runner()
        self._admin: Any = None

    def __enter__(self) -> Self:
        try:
            self._admin = self._runner.run(self._connected())
        except KafkaError as error:
            self._runner.close()
            raise RecordingError(f"Kafka must answer at {self.name}, found {type(error).__name__}") from error
        return self

    async def _connected(self) -> Any:
        admin = AIOKafkaAdminClient(**self._settings.client())
        try:
            await admin.start()
        except KafkaError:
            await admin.close()
            raise
        return admin

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._runner.run(self._admin.close())
        self._runner.close()

    def extents(self, topic: str) -> Mapping[int, Extent]:
        """See `Recording`."""
        try:
            return self._runner.run(self._extents(self._settings.topic(topic)))
        except KafkaError as error:
            raise RecordingError(f"{topic} must be known at {self.name}, found {type(error).__name__}") from error

    async def _extents(self, name: str) -> dict[int, Extent]:
        described = await self._admin.describe_topics([name])
        numbers = sorted(item["partition"] for found in described for item in found["partitions"])
        if not numbers:
            return {}
        places = [TopicPartition(name, number) for number in numbers]
        consumer = await self._consumer(places)
        try:
            firsts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        finally:
            await consumer.stop()
        return {place.partition: Extent(firsts[place], ends[place]) for place in places}

    async def _consumer(self, places: list[TopicPartition]) -> Any:
        consumer = AIOKafkaConsumer(
            **self._settings.client(),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_wait_ms=2 * POLL_MS,
        )
        await consumer.start()
        consumer.assign(places)
        return consumer

    def read(self, topic: str, partition: int, first: int = 0) -> Iterator[list[Recorded]]:
        """See `Recording`."""
        place = TopicPartition(self._settings.topic(topic), partition)
        extent = self.extents(topic)[partition]
        return ascending(self._read(place, max(first, extent.first), extent.end), f"{topic}[{partition}]")

    def _read(self, place: TopicPartition, first: int, end: int) -> Iterator[list[Recorded]]:
        consumer = self._runner.run(self._consumer([place]))
        consumer.seek(place, first)
        position = first
        try:
            while position < end:
                found, position = self._runner.run(_fetch(consumer, place))
                part = [
                    Recorded(record.offset, record.timestamp, record.key, record.value, tuple(record.headers))
                    for record in found
                    if record.offset < end
                ]
                if part:
                    yield part
        except KafkaError as error:
            where = f"{place.topic}[{place.partition}] from {position}"
            raise RecordingError(f"records must be readable, found {type(error).__name__} ({where})") from error
        finally:
            self._runner.run(consumer.stop())


async def _fetch(consumer: Any, place: TopicPartition) -> tuple[list[Any], int]:
    found = await consumer.getmany(place, timeout_ms=POLL_MS, max_records=RECORDS_MAX)
    return found.get(place, []), await consumer.position(place)
