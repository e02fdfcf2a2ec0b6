"""What we change in aiokafka 0.14 (pinned): how often it says the same, that a consumer may have columns, how fast
answers to fetches are read, and what a request to a closed connection comes to.

All is applied once, by importing the transport or the writer; nothing else of aiokafka is touched.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.fetch import FetchResponse_v11

from streams.kafka.fetch_response import decoded
from streams.kafka.records import ColumnRecords, RawRecords

#: A warning of aiokafka, whatever its arguments, is logged at most this often, in seconds.
REPEAT_SECONDS = 5.0
LOGGERS = (
    "aiokafka",
    *(f"aiokafka.{name}" for name in ("cluster", "conn", "producer.sender")),
    *(f"aiokafka.consumer.{name}" for name in ("fetcher", "group_coordinator")),
)


class SparingFilter(logging.Filter):
    """Lets a warning through that was not logged lately; a broker that is down is told of, not shouted about."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        now = time.monotonic()
        if now - self._last.get(str(record.msg), float("-inf")) < REPEAT_SECONDS:
            return False
        self._last[str(record.msg)] = now
        return True


_send = AIOKafkaConnection.send


def send(self: Any, request: Any, expect_response: bool = True) -> Any:
    """As before, but a transport that is closed is a lost connection.

    uvloop raises RuntimeError there, in the moment until aiokafka itself learns that the peer is gone. No task of
    aiokafka reckons with it: the one that finds the brokers died of it, and whoever asked it waited for ever.
    """
    try:
        return _send(self, request, expect_response)
    except RuntimeError as error:
        if isinstance(error, KafkaError):  # which is a RuntimeError too
            raise
        self.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"Connection at {self._host}:{self._port} broken: {error}") from error


def apply() -> None:
    """Put the changes in place; doing it again changes nothing."""
    if fetcher.MemoryRecords is RawRecords:
        return
    AIOKafkaConnection.send = send
    fetcher.MemoryRecords = RawRecords
    fetcher.PartitionRecords = ColumnRecords
    FetchResponse_v11.decode = staticmethod(decoded)
    for name in LOGGERS:
        logging.getLogger(name).addFilter(SparingFilter())
