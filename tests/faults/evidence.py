"""What a run of workers left in Kafka, read once it is quiet: records as committed, and offsets of the groups."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from schemas.topics import TOPICS
from streams.settings import ROLES, Settings

Records = Mapping[int, list[ConsumerRecord]]


@dataclass(frozen=True)
class Evidence:
    """Parameters
    ----------
    settings : of the workers
    records : logical topic -> partition -> committed records, in order
    ends : log ends of `records`, transaction markers counted
    committed : role -> offsets of its group, by logical topic and partition
    """

    settings: Settings
    records: Mapping[str, Records]
    ends: Mapping[str, Mapping[int, int]]
    committed: Mapping[str, Mapping[tuple[str, int], int]]

    def last(self, logical: str, partition: int) -> dict[bytes, bytes]:
        """Last value of each key of a partition: what compaction leaves."""
        found = {record.key: record.value for record in self.records[logical][partition]}
        return {key: value for key, value in found.items() if value is not None}


def collect(settings: Settings) -> Evidence:
    """Read everything; nobody may write meanwhile."""
    return asyncio.run(_collect(settings))


async def _collect(settings: Settings) -> Evidence:
    consumer = AIOKafkaConsumer(
        **settings.client(), isolation_level="read_committed", enable_auto_commit=False, fetch_max_wait_ms=20
    )
    admin = AIOKafkaAdminClient(**settings.client())
    await consumer.start()
    await admin.start()
    try:
        records, ends = {}, {}
        for described in await admin.describe_topics([settings.topic(logical) for logical in TOPICS]):
            partitions = [TopicPartition(described["topic"], found["partition"]) for found in described["partitions"]]
            logical = next(name for name in TOPICS if settings.topic(name) == described["topic"])
            records[logical], ends[logical] = await _read(consumer, sorted(partitions))
        committed = {role: await _committed(admin, settings, role) for role in ROLES}
    finally:
        await consumer.stop()
        await admin.close()
    return Evidence(settings, records, ends, committed)


async def _read(consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> tuple[Records, Mapping[int, int]]:
    consumer.assign(partitions)
    await consumer.seek_to_beginning(*partitions)
    ends = await consumer.end_offsets(partitions)
    found: dict[int, list[ConsumerRecord]] = {tp.partition: [] for tp in partitions}
    waiting = set(partitions)
    while waiting := {tp for tp in waiting if await consumer.position(tp) < ends[tp]}:
        for tp, records in (await consumer.getmany(*waiting, timeout_ms=20)).items():
            found[tp.partition] += records
    return found, {tp.partition: end for tp, end in ends.items()}


async def _committed(admin: AIOKafkaAdminClient, settings: Settings, role: str) -> Mapping[tuple[str, int], int]:
    logical = {settings.topic(name): name for name in TOPICS}
    found = await admin.list_consumer_group_offsets(f"{settings.prefix}-{role}")
    return {(logical[tp.topic], tp.partition): meta.offset for tp, meta in found.items()}
