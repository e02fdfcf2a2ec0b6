"""The agent of `volatilities` without a broker: what it counts of messages that it has to read twice."""

import asyncio
import json
from typing import Any

from aiokafka import TopicPartition
from prometheus_client import REGISTRY

from streams.agents.volatilities import Volatilities
from streams.ingest.messages import Message
from streams.ingest.terms import Terms
from streams.kafka.leases import Lease
from streams.settings import Settings

TP = TopicPartition("volatilities", 0)
T = 1_760_130_900_000


class Known:
    """In place of the reader of `instruments`: there are none, however often one looks."""

    def __init__(self) -> None:
        self.terms = Terms(10_000)
        self.looked_up = 0

    async def refresh(self) -> None:
        self.looked_up += 1


class Context:
    """In place of a worker."""

    def __init__(self) -> None:
        self.settings = Settings(clock="event", partitions=1)
        self.terms = Known()

    def partition(self, logical: str, partition: int) -> TopicPartition:
        return TopicPartition(logical, partition)


def test_a_field_is_counted_once_however_often_it_is_read() -> None:
    """Who watches the count for a producer that sends what nobody reads would see twice as many."""
    context: Any = Context()
    agent = Volatilities(TP, context)
    told = {"source": "a", "time": T, "instrument": "NONE", "volatility": "0.5", "shoe_size": 44}
    lease: Any = Lease(TP, lambda: None)
    lease.begin(0)
    (block,) = lease.cut([Message(0, b"NONE", json.dumps(told).encode(), T)], 1, 1_000)
    counted = "crossmargin_unknown_fields_total", {"topic": "volatilities"}
    before = REGISTRY.get_sample_value(*counted) or 0.0
    asyncio.run(agent.take(block))
    assert context.terms.looked_up == 1
    assert (REGISTRY.get_sample_value(*counted) or 0.0) - before == 1.0
    (letter,) = agent.flush()[TopicPartition("dead-letters", 0)]
    assert b"NONE" in letter.value
