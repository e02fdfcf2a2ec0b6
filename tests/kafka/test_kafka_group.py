"""How a real group's workers share partitions as they come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from faults.counting import CountingRun
from worker.harness import until

from streams.kafka.broker import LocalBroker

pytestmark = pytest.mark.kafka


@pytest.fixture
def run(broker: LocalBroker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[CountingRun]:
    """One run of four partitions, and workers that the group misses soon."""
    running = CountingRun(broker, tmp_path, request.node.name.replace("_", "-"), session_seconds=3.0)
    yield running
    running.stop()


def held(run: CountingRun) -> list[int]:
    """How many partitions each member of the group holds, ascending."""

    async def ask() -> list[int]:
        admin = AIOKafkaAdminClient(**run.client)
        await admin.start()
        try:
            answers = await admin.describe_consumer_groups([run.prefix])
        finally:
            await admin.close()
        members = [member for answer in answers for group in answer.groups for member in group[5]]
        shares = [ConsumerProtocolMemberAssignment.decode(member[4]) for member in members if member[4]]
        return sorted(len(share.partitions()) for share in shares)

    return asyncio.run(ask())


def test_a_worker_that_comes_or_comes_back_is_given_its_share(run: CountingRun) -> None:
    """A worker left without partitions is paid for and does nothing, while the others fall behind."""
    run.feed(100)
    run.start("first")
    run.wait_done(30)
    run.start("second")
    until(lambda: held(run) == [2, 2], 60)
    third = run.start("third")
    until(lambda: held(run) == [1, 1, 2], 60)
    third.kill()
    until(lambda: held(run) == [2, 2], 60)
    run.start("third")
    until(lambda: held(run) == [1, 1, 2], 60)
    run.feed(100)
    run.wait_done(60)
    assert run.problems() == []
