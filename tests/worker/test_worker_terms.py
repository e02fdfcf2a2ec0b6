"""A bad message on the compacted topic `instruments`, and a worker that starts after compaction kept it alone."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from schemas.prices import Quote
from schemas.signatures import sign
from streams.kafka.broker import LocalBroker
from tests.worker.harness import Message, Worker, read_all, running, send_all, until
from tests.worker.hostile_terms import BTC_PERP, KEY, SIGNED_SOURCE, USDC

pytestmark = pytest.mark.kafka


def fill(prefix: str, number: int) -> Message:
    record = {"fill_id": f"f{number}", "account": "alice", "instrument": "BTC-PERP", "quantity": "0.001"}
    record |= {"price": "50000", "time": int(time.time() * 1000)}
    return f"{prefix}.fills", b"alice", json.dumps(record).encode(), None


def terms(prefix: str, record: dict[str, Any]) -> Message:
    return f"{prefix}.instruments", record["id"].encode(), json.dumps(record).encode(), None


def quantity(worker: Worker) -> str:
    try:
        return str(worker.get("/accounts/alice")["positions"][0]["quantity"])
    except (OSError, LookupError):
        return ""


async def create(bootstrap: str, topic: str) -> None:
    """The topic as its user may have it: one that `forget` may cut."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"cleanup.policy": "compact,delete"})])
    await admin.close()


async def forget(bootstrap: str, topic: str, before: int) -> None:
    """Remove what compaction would remove, at once."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=before)})
    await admin.close()


def test_terms_outlive_the_message_that_brought_them(broker: LocalBroker, tmp_path: Path) -> None:
    """One bad message would stop every worker for good, or have all good fills of the instrument refused."""
    prefix = "terms"
    asyncio.run(create(broker.bootstrap, f"{prefix}.instruments"))
    worker = Worker(broker.bootstrap, prefix, tmp_path / "worker.log", partitions=1)
    with running(worker):
        asyncio.run(send_all(broker.bootstrap, [terms(prefix, USDC), terms(prefix, BTC_PERP)]))
        asyncio.run(send_all(broker.bootstrap, [fill(prefix, 1)]))
        until(lambda: quantity(worker) == "0.001")
        asyncio.run(send_all(broker.bootstrap, [terms(prefix, BTC_PERP | {"price_precision": 2})]))
        until(lambda: asyncio.run(read_all(broker.bootstrap, f"{prefix}.dead-letters")))
    asyncio.run(forget(broker.bootstrap, f"{prefix}.instruments", 2))
    with running(worker):
        asyncio.run(send_all(broker.bootstrap, [fill(prefix, 2)]))
        until(lambda: quantity(worker) == "0.002")
    assert len(asyncio.run(read_all(broker.bootstrap, f"{prefix}.dead-letters"))) == 1


def quote(prefix: str, key_id: str | None = None, **fields: Any) -> Message:
    record = {"symbol": "BTC", "source": "two", "price": "50000", "time": int(time.time() * 1000) - 1_000} | fields
    if key_id is not None:
        said = sign(msgspec.convert(record, Quote), key_id=key_id, private_key=KEY)
        record |= {"key_id": said.key_id, "signature": said.signature}
    return f"{prefix}.oracle-prices", b"BTC", json.dumps(record).encode(), None


def test_an_oracle_alone_reads_on_in_the_terms(broker: LocalBroker, tmp_path: Path) -> None:
    """A worker that ingests nothing would price no new instrument, and take unsigned quotes until its next start."""
    prefix = "oracle-alone"
    worker = Worker(broker.bootstrap, prefix, tmp_path / "worker.log", partitions=1, roles="oracle")

    def send(*messages: Message) -> None:
        asyncio.run(send_all(broker.bootstrap, messages))

    def refused() -> list[str]:
        letters = asyncio.run(read_all(broker.bootstrap, f"{prefix}.dead-letters"))
        return [dict(letter.headers)["reason_code"].decode() for letter in letters]

    def marked() -> bool:
        told = asyncio.run(read_all(broker.bootstrap, f"{prefix}.marks"))
        return any("BTC-PERP" in json.loads(record.value)["marks"] for record in told)

    def unsigned_is_refused() -> bool:
        send(quote(prefix))
        return bool(refused())

    with running(worker):
        send(quote(prefix))
        send(terms(prefix, USDC), terms(prefix, BTC_PERP))
        until(marked)
        send(terms(prefix, SIGNED_SOURCE))
        until(unsigned_is_refused)
        new = {"id": "k2", "public_key": SIGNED_SOURCE["keys"][1]["public_key"], "valid_from": 0}
        send(terms(prefix, SIGNED_SOURCE | {"keys": [*SIGNED_SOURCE["keys"], new]}))
        send(quote(prefix, "k2"), quote(prefix, "k3"))
        until(lambda: "unknown_key" in refused())
    assert [code for code in refused() if code != "unsigned"] == ["unknown_key"]
