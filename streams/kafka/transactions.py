"""The transactional writer of one source partition: records and source offset, all or nothing.

One writer owns one source partition of one role. Its transactional id names that partition, so that starting
a writer fences the one before it (a worker that lost the partition and doesn't know it yet) and settles its
open transaction. This module knows records and offsets; it knows nothing of what they mean.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from streams.kafka import aiokafka_patches
from streams.kafka.batches import BATCH_BYTES_MAX, Records, build_batches
from streams.kafka.offsets import committed_offsets
from streams.kafka.transactions_v2 import is_spoken
from streams.kafka.transactor import Transactor

aiokafka_patches.apply()


class TransactionFailed(Exception):
    """A transaction is not known to be committed: the process must end, and the next one reads the truth."""


class PartitionWriter:
    """Writes for one source partition, one transaction at a time.

    Parameters
    ----------
    transactional_id : str
        ``<prefix>-<role>-<topic>-<partition>``.
    client : mapping
        aiokafka's connection settings (``bootstrap_servers``, ``security_protocol``, ``ssl_context``,
        ``sasl_*``).
    transaction_timeout_ms : int
        The broker aborts a transaction of a dead writer after this long. Until then it holds back every
        ``read_committed`` reader of every partition that it touched.
    observe : callable
        Called with the seconds of each committed transaction, for metrics.
    """

    def __init__(
        self,
        transactional_id: str,
        client: Mapping[str, Any],
        *,
        transaction_timeout_ms: int = 10_000,
        observe: Callable[[float], None] | None = None,
    ) -> None:
        self.transactional_id = transactional_id
        self._observe = observe
        self._settings = {
            **client,
            "client_id": transactional_id,
            "transactional_id": transactional_id,
            "transaction_timeout_ms": transaction_timeout_ms,
            "acks": "all",
            "linger_ms": 0,
            "max_batch_size": BATCH_BYTES_MAX,
            "max_request_size": BATCH_BYTES_MAX,
            "request_timeout_ms": transaction_timeout_ms + 5_000,
            "retry_backoff_ms": 20,
        }
        self._producer: Any = None  # made by `start`, in the event loop that it shall live in
        self._transactor: Transactor | None = None

    async def start(self) -> None:
        """Fence the writer before us, settle its open transaction, and be ready to write.

        When this returns, everything the writer before us did is decided: committed or aborted, offsets
        included.
        """
        self._producer = AIOKafkaProducer(**self._settings)
        await self._producer.start()
        # Data without a leader is given up after this long; the transaction has timed out by then.
        self._transactor = Transactor(
            self._producer,
            implicit=await is_spoken(self._producer.client),
            data_seconds_max=self._settings["request_timeout_ms"] / 1000,
        )

    async def stop(self) -> None:
        """Close the connections; an open transaction is left to the next writer or the broker's time-out."""
        if self._producer is not None:
            await self._producer.stop()

    async def committed(self, group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int | None]:
        """Return the committed offsets of ``group``, None where there is none; call it after ``start``."""
        return await committed_offsets(self._producer.client, group, partitions)

    async def commit(
        self,
        records: Mapping[TopicPartition, Records],
        offsets: Mapping[TopicPartition, int],
        group: str,
    ) -> None:
        """Write records and source offsets in one transaction; when it returns, the broker has committed it.

        Batches are built before the transaction opens, so that it holds nothing but round trips. Broker
        faults that pass (a restart, a changed leader) are waited out.

        Raises
        ------
        ValueError
            When a record is larger than a batch may be; nothing was begun.
        TransactionFailed
            When the transaction is not known to be committed: fenced, timed out, refused. The process must
            end.
        """
        assert self._transactor is not None
        batches = {tp: build_batches(self._producer, tp, rows) for tp, rows in records.items() if rows}
        began = time.perf_counter()
        try:
            await self._transactor.commit(batches, offsets, group)
        except KafkaError as error:
            raise TransactionFailed(f"transaction of {self.transactional_id} must commit, found {error!r}") from error
        if self._observe is not None:
            self._observe(time.perf_counter() - began)
