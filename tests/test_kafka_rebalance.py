"""The steps of a rebalance in every order that Faust and the group give them: what the transport holds after each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from faust.transport.drivers import aiokafka as driver

from streams.kafka.leases import Lease
from streams.kafka.transport import Consumer

FIRST, SECOND = TopicPartition("fills", 0), TopicPartition("fills", 1)


class Owner:
    """Opens every partition at 7."""

    async def open(self, lease: Lease) -> int:  # noqa: ARG002 - as partitions have it
        return 7

    async def close(self, leases: Sequence[Lease]) -> None:
        pass


class Thread:
    async def seek_to(self, tp: TopicPartition, offset: int) -> None:
        pass

    async def submit(self, coroutine: Any) -> None:
        await coroutine


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> Consumer:
    """The transport's consumer without Faust behind it; to be used inside one event loop."""

    async def nothing(*_: Any) -> None:
        pass

    for name in ("on_partitions_revoked", "on_partitions_assigned"):
        monkeypatch.setattr(driver.Consumer, name, nothing)
    monkeypatch.setattr(driver.Consumer, "resume_flow", lambda _: None)
    monkeypatch.setattr(Consumer, "should_stop", False)
    bare: Any = object.__new__(Consumer)
    bare._owner, bare._thread, bare._wake = Owner(), Thread(), asyncio.Event()
    bare._leases, bare._opening, bare._fetch = {}, [], None
    bare._rebalance, bare._resuming, bare._assigned = 0, -1, None
    bare.loop = SimpleNamespace(call_later=lambda *_: None)
    return bare  # type: ignore[no-any-return]


async def played(consumer: Consumer, steps: str) -> list[TopicPartition]:
    """Play steps: r revoked, 0 1 2 that many partitions assigned, s seek, f flow resumed; what is held and open."""
    for step in steps:
        if step == "r":
            await consumer.on_partitions_revoked(set())
        elif step == "s":
            await consumer.perform_seek()
        elif step == "f":
            consumer.resume_flow()
        else:
            await consumer.on_partitions_assigned({FIRST, SECOND} if step == "2" else {FIRST} if step == "1" else set())
    await asyncio.gather(*consumer._opening)
    return sorted(tp for tp, lease in consumer._leases.items() if lease.position == 7)


@pytest.mark.parametrize(
    ("steps", "held", "settled"),
    [
        ("", [], False),  # not joined yet
        ("r", [], False),
        ("r2", [], False),  # told, not open
        ("r2sf", [FIRST, SECOND], True),
        ("r0f", [], True),  # Faust seeks nothing where nothing is assigned
        ("r2sfr", [], False),
        ("r2sfr1sf", [FIRST], True),
        ("r2srf", [], False),  # late: the flow is resumed in the next rebalance
        ("r2rsf", [], False),  # late: both steps are
        ("r2rsf1sf", [FIRST], True),
        ("r1rsf2sf", [FIRST, SECOND], True),
    ],
)
def test_what_is_held_after(consumer: Consumer, steps: str, held: list[TopicPartition], settled: bool) -> None:
    """Partitions taken away must not be read on, and new ones must not be forgotten for a late step's sake."""

    async def play() -> tuple[list[TopicPartition], bool]:
        return await played(consumer, steps), consumer.settled

    assert asyncio.run(play()) == (held, settled)
