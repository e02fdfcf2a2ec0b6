"""What we change in aiokafka 0.14 (pinned): how long it waits on a live broker, how often it says the same, and that
a consumer may have records as columns.

All is applied once, by importing the transport or the writer; nothing else of aiokafka is touched.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import aiokafka.errors as errors
from aiokafka.consumer import fetcher
from aiokafka.producer import sender

from streams.kafka.records import ColumnRecords, RawRecords

#: Seconds between attempts while the broker settles the transaction before (CONCURRENT_TRANSACTIONS, KAFKA-5477).
#: It takes 1-5 ms; aiokafka waits 20 ms in one place and ``retry_backoff_ms`` in others.
SETTLING_SECONDS = 0.002
#: A warning of aiokafka, whatever its arguments, is logged at most this often, in seconds.
REPEAT_SECONDS = 5.0
LOGGERS = (
    "aiokafka",
    *(f"aiokafka.{name}" for name in ("cluster", "conn", "producer.sender")),
    *(f"aiokafka.consumer.{name}" for name in ("fetcher", "group_coordinator")),
)


class ProduceHandler(sender.SendProduceReqHandler):
    """A broker of Kafka 4 tells older clients "not enough replicas" while it settles the transaction before."""

    def handle_response(self, response: Any) -> None:
        super().handle_response(response)
        codes = {partition[1] for _, partitions in response.topics for partition in partitions}
        if codes <= {0, errors.NotEnoughReplicasError.errno}:
            self._default_backoff = SETTLING_SECONDS


class AddOffsetsHandler(sender.AddOffsetsToTxnHandler):
    """The first request of a transaction that holds nothing but offsets."""

    def handle_response(self, response: Any) -> float | None:
        backoff = super().handle_response(response)
        return SETTLING_SECONDS if response.error_code == errors.ConcurrentTransactions.errno else backoff


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
    if sender.SendProduceReqHandler is ProduceHandler:
        return
    sender.BACKOFF_OVERRIDE = SETTLING_SECONDS
    sender.SendProduceReqHandler = ProduceHandler
    sender.AddOffsetsToTxnHandler = AddOffsetsHandler
    fetcher.MemoryRecords = RawRecords
    fetcher.PartitionRecords = ColumnRecords
    for name in LOGGERS:
        logging.getLogger(name).addFilter(SparingFilter())
