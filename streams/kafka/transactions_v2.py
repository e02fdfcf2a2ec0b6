"""Kafka 4's transaction protocol (KIP-890, `transaction.version` 2), which aiokafka does not speak yet.

The broker adds partitions and groups to the transaction by itself when data and offsets arrive, and every end gives the
producer a new epoch. Three requests instead of five, and what a broken-off transaction left behind is fenced too.
"""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Any

import aiokafka.errors as errors
from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

_TEXT, _TAGS = CompactString("utf-8"), ("tags", TaggedFields)
FINALIZED_FEATURES = 2  # tag in the answer to ApiVersions
NO_FEATURES = b"\x01"  # an empty array
NO_GENERATION = -1
RETRY_SECONDS = 0.02


class _ApiVersionsResponse(Response):
    API_KEY, API_VERSION = 18, 3
    SCHEMA = Schema(
        ("error_code", Int16),
        ("api_keys", CompactArray(("api_key", Int16), ("min", Int16), ("max", Int16), _TAGS)),
        ("throttle_time_ms", Int32),
        _TAGS,
    )


class _ApiVersionsRequest(RequestStruct):
    API_KEY, API_VERSION, FLEXIBLE_VERSION, RESPONSE_TYPE = 18, 3, True, _ApiVersionsResponse
    SCHEMA = Schema(("client_software_name", _TEXT), ("client_software_version", _TEXT), _TAGS)

    def parse_response_header(self, read_buffer: BytesIO | bytes) -> ResponseHeader_v0:
        """The header of this answer is the old one in all versions (KIP-511)."""
        header: ResponseHeader_v0 = ResponseHeader_v0.decode(read_buffer)
        return header


class ApiVersions(Request[_ApiVersionsRequest]):
    """Asks what a broker can do, with the features that its cluster has turned on."""

    API_KEY = 18

    def build(self, request_struct_class: type[_ApiVersionsRequest]) -> _ApiVersionsRequest:
        return request_struct_class("crossmargin", "1", {})


class _ProduceResponse(Response):
    API_KEY, API_VERSION = 0, 12
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic", _TEXT),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("offset", Int64),
                        ("timestamp", Int64),
                        ("log_start_offset", Int64),
                        ("record_errors", CompactArray(("batch_index", Int32), ("message", _TEXT), _TAGS)),
                        ("error_message", _TEXT),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        ("throttle_time_ms", Int32),
        _TAGS,
    )


class _ProduceRequest(RequestStruct):
    API_KEY, API_VERSION, FLEXIBLE_VERSION, RESPONSE_TYPE = 0, 12, True, _ProduceResponse
    SCHEMA = Schema(
        ("transactional_id", _TEXT),
        ("required_acks", Int16),
        ("timeout", Int32),
        (
            "topics",
            CompactArray(
                ("topic", _TEXT),
                ("partitions", CompactArray(("partition", Int32), ("data", CompactBytes), _TAGS)),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class Produce(Request[_ProduceRequest]):
    """Data, whose partitions join the transaction by it."""

    API_KEY = 0

    def __init__(
        self,
        *,
        transactional_id: str,
        required_acks: int,
        timeout: int,
        topics: list[tuple[str, list[tuple[int, bytes]]]],
    ) -> None:
        self._start = (transactional_id, required_acks, timeout)
        self._topics = topics

    def build(self, request_struct_class: type[_ProduceRequest]) -> _ProduceRequest:
        topics: list[Any] = [(topic, [(number, data, {}) for number, data in rows], {}) for topic, rows in self._topics]
        return request_struct_class(*self._start, topics, {})


class _OffsetsResponse(Response):
    API_KEY, API_VERSION = 28, 5
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "errors",
            CompactArray(
                ("topic", _TEXT),
                ("partitions", CompactArray(("partition", Int32), ("error_code", Int16), _TAGS)),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class _OffsetsRequest(RequestStruct):
    API_KEY, API_VERSION, FLEXIBLE_VERSION, RESPONSE_TYPE = 28, 5, True, _OffsetsResponse
    SCHEMA = Schema(
        ("transactional_id", _TEXT),
        ("group_id", _TEXT),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("generation_id", Int32),
        ("member_id", _TEXT),
        ("group_instance_id", _TEXT),
        (
            "topics",
            CompactArray(
                ("topic", _TEXT),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32), ("offset", Int64), ("leader_epoch", Int32), ("metadata", _TEXT), _TAGS
                    ),
                ),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class Offsets(Request[_OffsetsRequest]):
    """Source offsets, whose group joins the transaction by it; of no member of the group, as in all versions."""

    API_KEY = 28

    def __init__(
        self,
        *,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        group_id: str,
        topics: list[tuple[str, list[tuple[int, int, str]]]],
    ) -> None:
        self._start = (transactional_id, group_id, producer_id, producer_epoch, NO_GENERATION, "", None)
        self._topics = topics

    def build(self, request_struct_class: type[_OffsetsRequest]) -> _OffsetsRequest:
        topics: list[Any] = [
            (topic, [(number, offset, -1, metadata, {}) for number, offset, metadata in rows], {})
            for topic, rows in self._topics
        ]
        return request_struct_class(*self._start, topics, {})


class _EndResponse(Response):
    API_KEY, API_VERSION = 26, 5
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        _TAGS,
    )


class _EndRequest(RequestStruct):
    API_KEY, API_VERSION, FLEXIBLE_VERSION, RESPONSE_TYPE = 26, 5, True, _EndResponse
    SCHEMA = Schema(
        ("transactional_id", _TEXT),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("transaction_result", Boolean),
        _TAGS,
    )


class End(Request[_EndRequest]):
    """The end of a transaction; the answer holds the producer's next id and epoch."""

    API_KEY = 26

    def __init__(
        self, *, transactional_id: str, producer_id: int, producer_epoch: int, transaction_result: bool
    ) -> None:
        self._fields = (transactional_id, producer_id, producer_epoch, transaction_result)

    def build(self, request_struct_class: type[_EndRequest]) -> _EndRequest:
        return request_struct_class(*self._fields, {})


async def is_spoken(client: Any) -> bool:
    """Whether the cluster has turned the protocol on: it is off on one that was upgraded and not told so.

    Raises
    ------
    KafkaError
        What the broker refuses for good. Passing faults are waited out.
    """
    while True:
        try:
            answer = await client.send(client.get_random_node(), ApiVersions())
        except NotImplementedError:  # a broker older than 2.4
            return False
        except errors.KafkaError as error:
            if not error.retriable:
                raise
            await asyncio.sleep(RETRY_SECONDS)
            continue
        if answer.error_code:
            raise errors.for_code(answer.error_code)()
        levels = _levels(answer.tags.get(FINALIZED_FEATURES, NO_FEATURES))
        return levels.get("transaction.version", 0) >= 2


def _levels(data: bytes) -> dict[str, int]:
    features = CompactArray(("name", _TEXT), ("max_level", Int16), ("min_level", Int16), _TAGS)
    return {name: level for name, level, _, _ in features.decode(BytesIO(data)) or ()}
