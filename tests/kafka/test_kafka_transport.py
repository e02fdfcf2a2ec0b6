"""A Faust worker on the block transport, as a process of its own, sees every committed row once and in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from faults.counting import CountingRun
from faust.transport.drivers import TRANSPORTS

from streams.kafka.batches import Record
from streams.kafka.broker import LocalBroker
from streams.kafka.transactions import PartitionWriter
from streams.kafka.transport import Transport, faust_settings

pytestmark = pytest.mark.kafka


@pytest.fixture
def run(broker: LocalBroker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[CountingRun]:
    """One run with two partitions and blocks so small that there are many."""
    name = request.node.name.replace("_", "-")
    running = CountingRun(broker, tmp_path, name, partitions=2, fetching={"block_records_max": 7})
    yield running
    running.stop()


def test_faust_finds_the_transport_by_its_url() -> None:
    """Without the entry point a worker would run on Faust's own delivery, which loses and doubles."""
    settings = faust_settings("one:9092, two:9093")
    assert settings["broker"] == "blocks://one:9092;blocks://two:9093"
    assert TRANSPORTS.by_url("blocks://one:9092") is Transport
    assert (
        settings["broker_request_timeout"] > settings["broker_rebalance_timeout"] >= settings["broker_session_timeout"]
    )


def test_rows_count_once_across_markers_aborts_and_restarts(run: CountingRun) -> None:
    """Aborted rows never count, committed ones do once, wherever the worker was stopped."""

    async def abort_some() -> None:
        for partition in range(run.partitions):
            writer = PartitionWriter(f"{run.prefix}-aborting-{partition}", run.client)
            await writer.start()
            await writer._producer.begin_transaction()
            await writer._producer.send_and_wait(f"{run.prefix}-source", b"1000000", b"k0", partition=partition)
            await writer._producer.abort_transaction()
            await writer.stop()

    run.feed(700, batch=50)
    for _ in range(2):
        worker = run.start("w0")
        run.wait_done(30)
        worker.terminate()
        assert worker.wait(20) == 0, run.log()[-4000:]
        assert run.problems() == []
        asyncio.run(abort_some())
        run.feed(300, batch=20)
    run.start("w0")
    run.wait_done(30)
    assert run.problems() == []


def test_rows_that_retention_took_stop_the_worker(run: CountingRun) -> None:
    """Fills that were deleted before they were read must not be skipped in silence."""

    async def delete_first() -> None:
        admin = AIOKafkaAdminClient(**run.client)
        await admin.start()
        await admin.delete_records({TopicPartition(f"{run.prefix}-source", 0): RecordsToDelete(before_offset=60)})
        await admin.close()

    run.feed(10)
    worker = run.start("w0")
    run.wait_done(30)
    worker.terminate()
    assert worker.wait(20) == 0, run.log()[-4000:]
    run.feed(100)
    asyncio.run(delete_first())
    assert run.start("w0").wait(30) == 3
    line = f"stopped: the broker must still have what was not read yet, it has not: {run.prefix}-source[0] offset 11"
    assert line in run.log()


def test_a_record_that_does_not_add_up_stops_the_worker(run: CountingRun) -> None:
    """An exception in a fold is a broken invariant: nothing of that block may be committed, now or later."""

    async def send_nonsense() -> None:
        writer = PartitionWriter(f"{run.prefix}-nonsense", run.client)
        await writer.start()
        await writer.commit({TopicPartition(f"{run.prefix}-source", 1): [Record(b"k0", b"nonsense")]}, {}, "unused")
        await writer.stop()

    run.feed(20)
    asyncio.run(send_nonsense())
    worker = run.start("w0")
    assert worker.wait(30) == 3
    assert f"stopped: {run.prefix}-source[1] must be processed, found ValueError(" in run.log()
