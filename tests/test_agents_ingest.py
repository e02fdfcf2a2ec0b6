"""What ingest does with a block of one source partition, without a broker."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from aiokafka import TopicPartition

from streams.agents.context import Context
from streams.agents.ingest import Ingest
from streams.ingest.messages import Message, Messages
from streams.ingest.terms import Terms
from streams.kafka.leases import Lease
from streams.settings import load

FILLS = TopicPartition("fills", 0)


def test_a_block_is_written_at_once_unless_more_is_known_to_come() -> None:
    """A single fill must not wait; a backlog's must, or each block of it costs a transaction."""
    settings = load({})
    context: Any = SimpleNamespace(
        settings=settings, terms=SimpleNamespace(terms=Terms(1_000)), partition=TopicPartition
    )
    context.terms.refresh = lambda: asyncio.sleep(0)
    ingest = Ingest(FILLS, cast(Context, context))
    lease = Lease(FILLS, lambda: None)
    lease.begin(0)

    def urgent(offset: int, left: int) -> bool:
        lease.left = left
        (block,) = lease.cut(Messages.of([Message(offset, None, b"[]", 0)]), offset + 1, 10)
        return asyncio.run(ingest.take(block))

    assert [urgent(0, 0), urgent(1, 5_000), urgent(2, 3)] == [True, False, True]
