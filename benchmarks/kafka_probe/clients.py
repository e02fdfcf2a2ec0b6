"""What every probe uses: topics, producers, one batch, reading as recovery does, and children to be killed."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

VALUE = b"x" * 200


def out(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)


def quantile(values: list[float], share: float) -> float:
    """Return the value below which ``share`` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def create(bootstrap: str, name: str, partitions: int = 1, **configs: str) -> str:
    """Create a topic and return its name."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs)])
    await admin.close()
    return name


def transactional(bootstrap: str, name: str, **options: Any) -> AIOKafkaProducer:
    """Return a transactional producer, not yet started."""
    return AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=name, **options)


async def put(producer: AIOKafkaProducer, topic: str, partition: int, value: bytes = VALUE) -> Any:
    """Hand one batch of one record to the producer; return the future of its acknowledgement."""
    batch = producer.create_batch()
    batch.append(key=b"k", value=value, timestamp=None)
    batch.close()
    return await producer.send_batch(batch, topic, partition=partition)


async def read_all(bootstrap: str, topic: str, partition: int = 0) -> tuple[list[bytes], int, int]:
    """Read a partition as recovery does: read_committed, until position() reaches end_offsets()."""
    where = TopicPartition(topic, partition)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await consumer.start()
    consumer.assign([where])
    await consumer.seek_to_beginning(where)
    end = (await consumer.end_offsets([where]))[where]
    values: list[bytes] = []
    deadline = time.monotonic() + 30
    while await consumer.position(where) < end and time.monotonic() < deadline:
        for records in (await consumer.getmany(timeout_ms=100)).values():
            values += [record.value for record in records]
    position = await consumer.position(where)
    await consumer.stop()
    return values, position, end


def child(*arguments: object) -> subprocess.Popen[str]:
    """Start a child of this package that is going to be killed."""
    command = [sys.executable, "-m", __package__, "--child", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
