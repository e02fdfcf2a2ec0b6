"""A worker small enough to count on: sums per key, with changelog and outputs, on the block transport.

Run as a process by the fault tests: ``python counting_worker.py '{"brokers": ..., "prefix": ..., ...}'``.
Every source record gives one output record that names its offset, so a lost or doubled update shows in the
outputs and in the sums.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence

import faust
from aiokafka import TopicPartition

from streams.agents import blocks
from streams.agents.blocks import Flushing, Opening, Partitions, RoleSpec
from streams.kafka.batches import Record
from streams.kafka.leases import Block, Fetching
from streams.kafka.transactions import PartitionWriter
from streams.kafka.transport import faust_settings

APPLIED = b"~applied"


class Counting:
    """Count and sum of the integer values per key of one source partition."""

    def __init__(self, tp: TopicPartition, *, changelog: str, output: str, row_seconds: float) -> None:
        self.tp = tp
        self.sums: dict[bytes, list[int]] = {}
        self.applied: int | None = None
        self._changelog = TopicPartition(changelog, tp.partition)
        self._output = TopicPartition(output, tp.partition)
        self._row_seconds = row_seconds
        self._dirty: set[bytes] = set()
        self._outputs: list[Record] = []

    async def open(self, opening: Opening) -> int | None:
        async for records in opening.read(self._changelog.topic, self._changelog.partition):
            for record in records:
                if record.key == APPLIED:
                    self.applied = json.loads(record.value)
                else:
                    self.sums[record.key] = json.loads(record.value)
        return self.applied

    async def take(self, block: Block) -> bool:
        for record in block.records:
            total = self.sums.setdefault(record.key, [0, 0])
            total[0] += 1
            total[1] += int(record.value)
            self._dirty.add(record.key)
            self._outputs.append(Record(record.key, b"%d %d" % (record.offset, total[1])))
        self.applied = block.end
        if self._row_seconds:
            time.sleep(self._row_seconds * len(block.records))  # noqa: ASYNC251 - a fold that takes its time
        return False

    def tick(self) -> bool:
        return False

    def flush(self) -> Mapping[TopicPartition, Sequence[Record]]:
        changes = [Record(key, json.dumps(self.sums[key]).encode()) for key in sorted(self._dirty)]
        changes.append(Record(APPLIED, json.dumps(self.applied).encode()))
        outputs, self._outputs = self._outputs, []
        self._dirty.clear()
        return {self._changelog: changes, self._output: outputs}

    def committed(self) -> None:
        pass

    def closed(self) -> None:
        pass


class ApartWriter(PartitionWriter):
    """The control: records first, the source offset in a transaction of its own, a little later."""

    async def commit(
        self,
        records: Mapping[TopicPartition, Sequence[Record]],
        offsets: Mapping[TopicPartition, int],
        group: str,
    ) -> None:
        await super().commit(records, {}, group)
        await asyncio.sleep(0.2)
        await super().commit({}, offsets, group)


class ApartCounting(Counting):
    """The control's role: it trusts the group's offset instead of its own changelog."""

    async def open(self, opening: Opening) -> int | None:
        await super().open(opening)
        return None


def main() -> None:
    """Run the worker that the first argument describes."""
    options = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    prefix, source = options["prefix"], options["source"]
    client = {"bootstrap_servers": options["brokers"]}
    counting_role = Counting
    if options.get("apart"):
        blocks.PartitionWriter, counting_role = ApartWriter, ApartCounting  # type: ignore[misc]
    partitions = Partitions(
        [
            RoleSpec(
                name="count",
                topics=frozenset({source}),
                create=lambda tp: counting_role(
                    tp,
                    changelog=f"{prefix}-changelog",
                    output=f"{prefix}-output",
                    row_seconds=options.get("row_seconds", 0.0),
                ),
            )
        ],
        prefix=prefix,
        fetching=Fetching(client=client, **options.get("fetching", {})),
        flushing=Flushing(**options.get("flushing", {})),
    )
    app = faust.App(
        prefix,
        web_enabled=False,
        **faust_settings(
            options["brokers"],
            session_seconds=options.get("session_seconds", 6.0),
            instance_id=options.get("instance_id"),
        ),
    )
    app.block_owner = partitions

    @app.agent(app.topic(source, key_serializer="raw", value_serializer="raw"))
    async def counting(stream: faust.Stream) -> None:
        async for block in stream:
            partitions.take(block)

    faust.Worker(app, loglevel="INFO", redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main()
