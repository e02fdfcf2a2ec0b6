"""The peers' job in aiokafka and nothing else: a loop over fetched batches, dicts, and one transaction a batch.

Each transaction holds the changed accounts for a compacted changelog topic, the breaches, and the offsets of the group.
When partitions are assigned, their accounts are read back from the changelog.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.peers.account import Account, fill_of, price_of
from benchmarks.peers.options import options_of

log = logging.getLogger(__name__)
#: Key of the latest prices in the changelog; no account is called so.
PRICES = "~prices"


class Partition:
    """Accounts of one partition, latest prices, and what the present batch changed."""

    def __init__(self) -> None:
        self.accounts: defaultdict[str, Account] = defaultdict(Account)
        self.prices: dict[str, float] = {}
        self.changed: set[str] = set()
        self.breaches: list[dict[str, Any]] = []

    def on_fill(self, record: Any) -> None:
        fill = fill_of(record)
        self.accounts[fill.account].book(fill)
        self.changed.add(fill.account)
        self.value(fill.account)

    def on_price(self, record: Any) -> None:
        symbol, price = price_of(record)
        self.prices[symbol] = price
        self.changed.add(PRICES)
        for name, account in self.accounts.items():
            if account.holds(symbol):
                self.value(name)

    def value(self, name: str) -> None:
        if breach := self.accounts[name].breach(self.prices):
            self.breaches.append({"account": name, **breach})
            self.changed.add(name)

    def stored(self, name: str) -> bytes:
        """Return the value that the changelog keeps under a name."""
        if name == PRICES:
            return orjson.dumps(self.prices)
        account = self.accounts[name]
        return orjson.dumps((account.cash, account.positions, account.breached))

    def restore(self, name: str, value: bytes) -> None:
        """Take what `stored` returned."""
        if name == PRICES:
            self.prices = orjson.loads(value)
        else:
            self.accounts[name] = Account(*orjson.loads(value))


class Restoring(ConsumerRebalanceListener):
    """Reads the accounts of assigned partitions back; drops those of others.

    aiokafka hands out records of new partitions while `on_partitions_assigned` still waits, and takes partitions away
    between any two steps of the loop: `settled` is held from before the one until after the other, and by the loop.
    """

    def __init__(self, broker: str, changelog: str, breaches: str) -> None:
        self.broker, self.changelog, self.breaches = broker, changelog, breaches
        self.partitions: dict[int, Partition] = {}
        self.settled = asyncio.Lock()
        self.rebalancing = False

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        if not self.rebalancing:
            await self.settled.acquire()
            self.rebalancing = True
        for tp in revoked:
            self.partitions.pop(tp.partition, None)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        try:
            self.partitions = await self.restored({tp.partition for tp in assigned})
        finally:
            self.rebalancing = False
            self.settled.release()

    async def restored(self, numbers: set[int]) -> dict[int, Partition]:
        """Return partitions as the changelog has them."""
        partitions = {number: Partition() for number in numbers}
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.broker, isolation_level="read_committed", auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            tps = [TopicPartition(self.changelog, number) for number in numbers]
            consumer.assign(tps)
            await consumer.seek_to_beginning()
            ends = await consumer.end_offsets(tps)
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                for tp, records in (await consumer.getmany(timeout_ms=100)).items():
                    for record in records:
                        partitions[tp.partition].restore(record.key.decode(), record.value)
        finally:
            await consumer.stop()
        return partitions


def apply(partition: Partition, records: Iterable[ConsumerRecord]) -> None:
    """Apply fetched records of one topic and partition; bad ones are logged and dropped."""
    for record in records:
        try:
            decoded = orjson.loads(record.value)
            if record.key is None:
                partition.on_price(decoded)
            else:
                partition.on_fill(decoded)
        except ValueError as error:
            log.warning("dropped %s[%d]@%d: %s", record.topic, record.partition, record.offset, error)


async def commit(
    producer: AIOKafkaProducer,
    group: str,
    restoring: Restoring,
    fetched: Mapping[TopicPartition, list[ConsumerRecord]],
) -> None:
    """Write changed accounts, breaches and offsets in one transaction."""
    async with producer.transaction():
        for number, partition in restoring.partitions.items():
            for name in partition.changed:
                await producer.send(restoring.changelog, partition.stored(name), key=name.encode(), partition=number)
            for breach in partition.breaches:
                await producer.send(restoring.breaches, orjson.dumps(breach), key=breach["account"].encode())
            partition.changed.clear()
            partition.breaches.clear()
        offsets = {tp: records[-1].offset + 1 for tp, records in fetched.items()}
        await producer.send_offsets_to_transaction(offsets, group)


async def run(broker: str, prefix: str, partitions: int) -> None:
    """Consume, apply, commit, until cancelled."""
    changelog, group = f"{prefix}.changelog", f"{prefix}-loop"
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    await admin.create_topics([NewTopic(changelog, partitions, 1, topic_configs={"cleanup.policy": "compact"})])
    await admin.close()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        session_timeout_ms=45_000,  # as Kafka's own clients have it; aiokafka's default is 10 s
    )
    producer = AIOKafkaProducer(bootstrap_servers=broker, transactional_id=group)
    restoring = Restoring(broker, changelog, f"{prefix}.breaches")
    consumer.subscribe([f"{prefix}.fills", f"{prefix}.prices"], listener=restoring)
    await producer.start()
    await consumer.start()
    try:
        while True:
            async with restoring.settled:
                fetched = await consumer.getmany(timeout_ms=100)
                for tp, records in fetched.items():
                    apply(restoring.partitions[tp.partition], records)
                if fetched:
                    await commit(producer, group, restoring, fetched)
    finally:
        await consumer.stop()
        await producer.stop()


async def main() -> None:
    """Run until SIGTERM."""
    options = options_of("plain-aiokafka")
    running = asyncio.ensure_future(run(options.broker, options.prefix, options.partitions))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    await asyncio.wait([running])
    if not running.cancelled():
        running.result()


if __name__ == "__main__":
    asyncio.run(main())
