"""Committed offsets of a group, settled ones only.

aiokafka asks with version 3 of OffsetFetch, which answers with the last settled offset while a transaction
that commits a newer one is still being settled; a new owner would then read the same source rows twice.
Version 7 (Kafka 2.5, KIP-447) has ``require_stable``: such a partition answers UNSTABLE_OFFSET_COMMIT, and we
ask again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import aiokafka.errors as errors
from aiokafka import TopicPartition
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

UNSTABLE_OFFSET_COMMIT = 88
RETRY_SECONDS = 0.01


class OffsetFetchResponseV7(Response):
    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class OffsetFetchRequestV7(RequestStruct):
    API_KEY = 9
    API_VERSION = 7
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = OffsetFetchResponseV7
    SCHEMA = Schema(
        ("group", CompactString("utf-8")),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)
            ),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class StableOffsetFetch(Request[OffsetFetchRequestV7]):
    """OffsetFetch with ``require_stable``, of one group and some partitions."""

    API_KEY = 9

    def __init__(self, group: str, partitions: Sequence[TopicPartition]) -> None:
        self._group = group
        self._topics: dict[str, list[int]] = defaultdict(list)
        for topic, partition in partitions:
            self._topics[topic].append(partition)

    def build(self, request_struct_class: type[OffsetFetchRequestV7]) -> OffsetFetchRequestV7:
        topics: list[Any] = [(topic, partitions, {}) for topic, partitions in self._topics.items()]
        return request_struct_class(self._group, topics, True, {})


async def committed_offsets(
    client: Any, group: str, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, int | None]:
    """Return the settled committed offsets of ``group``, None where there is none.

    Parameters
    ----------
    client : AIOKafkaClient
        Bootstrapped; that of a producer will do.

    Raises
    ------
    KafkaError
        What the broker refuses for good, an authorization for example. Passing faults are waited out.
    """
    while True:
        try:
            node = await client.coordinator_lookup(CoordinationType.GROUP, group)
            if await client.ready(node, group=ConnectionGroup.COORDINATION):
                request = StableOffsetFetch(group, partitions)
                answer = await client.send(node, request, group=ConnectionGroup.COORDINATION)
                offsets = _read(answer)
                if offsets is not None:
                    return {tp: offsets.get(tp) for tp in partitions}
        except errors.KafkaError as error:
            if not error.retriable:
                raise
        await asyncio.sleep(RETRY_SECONDS)


def _read(answer: Any) -> dict[TopicPartition, int] | None:
    """Return the offsets that an answer holds; None while a transaction on them is being settled."""
    if answer.error_code:
        raise errors.for_code(answer.error_code)()
    offsets = {}
    for topic, partitions, _ in answer.topics:
        for partition, offset, _epoch, _metadata, error, _ in partitions:
            if error == UNSTABLE_OFFSET_COMMIT:
                return None
            if error:
                raise errors.for_code(error)()
            if offset >= 0:
                offsets[TopicPartition(topic, partition)] = offset
    return offsets
