"""What we change in aiokafka 0.14 (pinned): how often it says the same, that a consumer may have columns, and how fast
answers to fetches are read.

All is applied once, by importing the transport or the writer; nothing else of aiokafka is touched.
"""

from __future__ import annotations

import logging
import time

from aiokafka.consumer import fetcher
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


def apply() -> None:
    """Put the changes in place; doing it again changes nothing."""
    if fetcher.MemoryRecords is RawRecords:
        return
    fetcher.MemoryRecords = RawRecords
    fetcher.PartitionRecords = ColumnRecords
    FetchResponse_v11.decode = staticmethod(decoded)
    for name in LOGGERS:
        logging.getLogger(name).addFilter(SparingFilter())
