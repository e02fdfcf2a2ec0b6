"""The least a two-hop pipeline can take: consume, one transaction, consume, one transaction; nothing is computed.

``python -m benchmarks.relay --broker HOST:PORT --prefix P`` moves records from ``P.in`` over ``P.mid`` to ``P.out``
until it is told to stop. It is written as the transactional example of aiokafka's documentation is, one producer a hop.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal

import click
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer


async def hop(broker: str, prefix: str, source: str, target: str, backoff_ms: int) -> None:
    """Move what comes on one topic to another, each fetch in a transaction with its offsets."""
    group = f"{prefix}-{source}"
    consumer = AIOKafkaConsumer(
        f"{prefix}.{source}",
        bootstrap_servers=broker,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    producer = AIOKafkaProducer(bootstrap_servers=broker, transactional_id=group, retry_backoff_ms=backoff_ms)
    await consumer.start()
    await producer.start()
    try:
        while True:
            fetched = await consumer.getmany(timeout_ms=1_000)
            if not fetched:
                continue
            async with producer.transaction():
                for tp, records in fetched.items():
                    for record in records:
                        await producer.send(f"{prefix}.{target}", record.value, key=record.key, partition=tp.partition)
                offsets = {tp: records[-1].offset + 1 for tp, records in fetched.items()}
                await producer.send_offsets_to_transaction(offsets, group)
    finally:
        await consumer.stop()
        await producer.stop()


async def relay(broker: str, prefix: str, backoff_ms: int) -> None:
    """Both hops, in one process."""
    hops = asyncio.gather(hop(broker, prefix, "in", "mid", backoff_ms), hop(broker, prefix, "mid", "out", backoff_ms))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, hops.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await hops


@click.command(help=__doc__)
@click.option("--broker", required=True)
@click.option("--prefix", required=True)
@click.option("--retry-backoff-ms", default=100, show_default=True, help="As of aiokafka's producer.")
def main(broker: str, prefix: str, retry_backoff_ms: int) -> None:
    asyncio.run(relay(broker, prefix, retry_backoff_ms))


if __name__ == "__main__":
    main()
