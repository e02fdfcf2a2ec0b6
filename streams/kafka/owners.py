"""Who holds a partition now, by the group's own word.

Each worker's client id ends with the address it answers at, so the group's description says where to ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

_SEPARATOR = "@"


def client_id(prefix: str, url: str) -> str:
    """The client id of a worker that answers at `url`."""
    return f"{prefix}{_SEPARATOR}{url}"


async def owner_of(client: Mapping[str, Any], group: str, tp: TopicPartition) -> str | None:
    """Address of the member of `group` that holds the partition; None where no member does."""
    admin = AIOKafkaAdminClient(**client)
    await admin.start()
    try:
        answers = await admin.describe_consumer_groups([group])
    finally:
        await admin.close()
    for answer in answers:
        for described in answer.groups:
            for member in described[5]:
                _, member_client, _, _, assignment = member[:5]
                if assignment and tp in _assigned(assignment):
                    return str(member_client).partition(_SEPARATOR)[2] or None
    return None


def _assigned(data: bytes) -> set[TopicPartition]:
    assignment = ConsumerProtocolMemberAssignment.decode(data)
    return {TopicPartition(topic, partition) for topic, partitions in assignment.assignment for partition in partitions}
