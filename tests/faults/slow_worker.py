"""A worker whose shards are slow, and that logs how much they hold that is not applied yet.

It fetches and writes in small pieces, so that a small journal is far beyond what it may hold.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from functools import partial
from typing import Any

from aiokafka import TopicPartition

from streams import app
from streams.agents.blocks import Flushing, Partitions
from streams.agents.margin import Margin
from streams.cli import main
from streams.kafka.leases import Block, Fetching

#: How long a shard takes for a journal record, beside what it really takes.
SLOW_SECONDS = float(os.environ.get("CROSSMARGIN_SLOW_SECONDS", "0.05"))
FETCH = {"blocks_in_flight_max": 2, "partition_fetch_bytes": 32 << 10}
FLUSH = {"rows_max": 500}


class SlowMargin(Margin):
    """The product's agent, late: everything else goes on while it waits."""

    async def take(self, block: Block) -> Any:
        await asyncio.sleep(SLOW_SECONDS * len(block.records))
        return await super().take(block)


class Held:
    """Bytes and blocks delivered and not released, by partition."""

    def __init__(self) -> None:
        self.bytes: Counter[TopicPartition] = Counter()
        self.most: Counter[TopicPartition] = Counter()

    def add(self, block: Block, sign: int) -> None:
        """Count a block in (1) or out (-1)."""
        tp = block.tp
        self.bytes[tp] += sign * sum(len(record.value or b"") for record in block.records)
        if self.bytes[tp] > self.most[tp]:
            self.most[tp] = self.bytes[tp]
            print(f"most held of {tp.topic}: {self.most[tp]} bytes", flush=True)


def _count() -> None:
    held, take, release = Held(), Partitions.take, Block.release

    def taken(partitions: Partitions, block: Block) -> None:
        held.add(block, 1)
        take(partitions, block)

    def released(block: Block) -> None:
        held.add(block, -1)
        release(block)

    Partitions.take, Block.release = taken, released  # type: ignore[method-assign]


if __name__ == "__main__":
    _count()
    app.Margin = SlowMargin  # type: ignore[misc]
    app.Fetching, app.Flushing = partial(Fetching, **FETCH), partial(Flushing, **FLUSH)  # type: ignore[misc]
    main(["worker"])
