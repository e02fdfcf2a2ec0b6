"""One partition's blocks are folded in order and written in whole flushes, with a writer that only pretends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from aiokafka import TopicPartition

from streams.agents import blocks
from streams.kafka.transactions import TransactionFailed
from tests.pretended import HOUR, Adder, FakeWriter, Feed, Stopped, opened, settle, until


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> FakeWriter:
    def fatal(reason: str, _error: BaseException | None = None) -> NoReturn:
        raise Stopped(reason)

    async def first(_client: Any, _tp: TopicPartition) -> int:
        return 3

    monkeypatch.setattr(blocks, "fatal", fatal)
    monkeypatch.setattr(blocks, "first_offset", first)
    return FakeWriter()


def test_urgent_blocks_are_written_at_once_and_others_wait(writer: FakeWriter) -> None:
    """A liquidation must not wait for the interval that saves writing ordinary fills one by one."""

    async def check() -> None:
        async with opened(writer, Adder()) as feed:
            feed.put(b"1", b"2")
            await settle()
            assert writer.commits == []
            feed.put(b"urgent")
            await until(lambda: writer.commits == [([b"1", b"2", b"urgent"], 6)])

    asyncio.run(check())


def test_the_interval_and_the_row_limit_flush_too(writer: FakeWriter) -> None:
    """Work that is never written is work that a crash repeats."""

    async def check() -> None:
        async with opened(writer, Adder(), interval_ms=30) as feed:
            feed.put(b"1")
            await until(lambda: writer.commits == [([b"1"], 4)])
        writer.commits.clear()
        async with opened(writer, Adder(), interval_ms=30, behind=50) as feed:  # transactions cost whoever is behind
            feed.lease.left = 1_000
            feed.put(b"1")
            await asyncio.sleep(0.1)
            assert writer.commits == []
            feed.lease.left = 0
            feed.put(b"2")
            await until(lambda: writer.commits == [([b"1", b"2"], 5)])
        writer.commits.clear()
        async with opened(writer, Adder(), rows_max=3) as feed:
            feed.put(b"1", b"2")
            await settle()
            assert writer.commits == []
            feed.put(b"3")
            await until(lambda: writer.commits == [([b"1", b"2", b"3"], 6)])

    asyncio.run(check())


def test_flushes_of_a_stream_keep_their_distance(writer: FakeWriter) -> None:
    """Each costs every shard a block; but what comes alone must not wait, nor what is too much to hold."""

    async def check() -> None:
        async with opened(writer, Adder(), pause_ms=200, rows_max=3) as feed:
            feed.put(b"urgent")
            await until(lambda: writer.commits == [([b"urgent"], 4)])
            first = time.monotonic()
            feed.put(b"urgent")
            feed.put(b"2")
            await settle()
            assert len(writer.commits) == 1
            await until(lambda: len(writer.commits) == 2)
            assert writer.commits[1] == ([b"urgent", b"2"], 6)
            assert time.monotonic() - first > 0.15
            feed.put(b"1", b"2", b"3")
            await settle()
            assert writer.commits[2:] == [([b"1", b"2", b"3"], 9)]

    asyncio.run(check())


def test_what_comes_in_a_pause_is_taken_as_one_block(writer: FakeWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each take gives every shard a block, which costs it as much with five rows as with fifty."""

    async def check() -> None:
        role = Adder()
        async with opened(writer, role, pause_ms=100) as feed:
            feed.put(b"urgent")
            await until(lambda: len(writer.commits) == 1)
            for value in (b"1", b"urgent", b"3"):
                feed.put(value)
            await asyncio.sleep(0.03)
            assert role.takes == [1]
            assert feed.lease.in_flight == 3
            await until(lambda: len(writer.commits) == 2)
            assert writer.commits[1] == ([b"1", b"urgent", b"3"], 7)
            assert role.takes == [1, 3]
            assert feed.lease.in_flight == 0
            writer.gate.clear()  # a transaction in the air is a pause as well
            await asyncio.sleep(0.1)
            feed.put(b"urgent")
            await until(lambda: role.takes == [1, 3, 1])
            feed.put(b"2")
            feed.put(b"urgent")
            await asyncio.sleep(0.13)
            assert role.takes == [1, 3, 1]
            writer.gate.set()
            await until(lambda: len(writer.commits) == 4)
            assert role.takes == [1, 3, 1, 2]

    async def check_many() -> None:
        role = Adder()
        async with opened(writer, role, pause_ms=HOUR) as feed:
            feed.put(b"urgent")
            await until(lambda: len(writer.commits) == 1)
            feed.put(b"1", b"2")
            feed.put(b"3", b"4", b"5")
            await settle()
            assert role.takes == [1, 2]  # so many do not all wait, and no block grows larger
            assert feed.lease.in_flight == 1

    asyncio.run(check())
    writer.commits.clear()
    monkeypatch.setattr(blocks, "GATHERED_ROWS", 4)
    asyncio.run(check_many())


def test_blocks_taken_while_a_flush_is_in_the_air_are_of_the_next(writer: FakeWriter) -> None:
    """What is committed with an offset must be exactly what came of the rows below it."""

    async def check() -> None:
        async with opened(writer, Adder()) as feed:
            writer.gate.clear()
            feed.put(b"urgent")
            await settle()
            feed.put(b"2")
            feed.put(b"urgent", b"4")
            await until(lambda: feed.task.applied == 7)
            assert writer.commits == []
            writer.gate.set()
            await until(lambda: len(writer.commits) == 2)
            assert writer.commits == [([b"urgent"], 4), ([b"2", b"urgent", b"4"], 7)]

    asyncio.run(check())


def test_taking_pauses_when_too_much_waits_behind_a_flush(writer: FakeWriter) -> None:
    """A slow broker must not fill the memory."""

    async def check() -> None:
        async with opened(writer, Adder(), rows_max=2) as feed:
            writer.gate.clear()
            feed.put(b"urgent")
            await settle()
            for _ in range(5):
                feed.put(b"x")
            await settle()
            assert feed.task.applied == 6
            assert feed.lease.in_flight == 3
            writer.gate.set()
            await until(lambda: feed.task.applied == 9)

    asyncio.run(check())


def test_blocks_that_give_nothing_still_move_the_offset(writer: FakeWriter) -> None:
    """Else a restart would read them again, for ever."""

    async def check() -> None:
        async with opened(writer, Adder(), interval_ms=10) as feed:
            feed.put(b"nothing")
            await until(lambda: writer.commits == [([], 4)])

    asyncio.run(check())


def test_a_tick_writes_without_blocks(writer: FakeWriter) -> None:
    """Marks go on once a second though no quote comes: the heartbeat of the shards."""

    async def check() -> None:
        async with opened(writer, Adder(), tick_ms=5):
            await until(lambda: len(writer.commits) >= 3)
        assert writer.commits[0] == ([b"tick"], 3)  # the first commit says where reading began
        assert writer.commits[1] == ([b"tick"], None)

    asyncio.run(check())


def test_closing_writes_what_was_taken_and_no_more(writer: FakeWriter) -> None:
    """A partition that moves takes along what is committed; the rest is done again by its next owner."""

    async def check() -> None:
        role = Adder()
        async with opened(writer, role) as feed:
            feed.put(b"1")
            await until(lambda: feed.task.applied == 4)
            assert not role.let_go
        assert writer.commits == [([b"1"], 4)]
        assert writer.stopped
        assert role.let_go

    asyncio.run(check())


def test_closing_does_not_wait_for_ever(writer: FakeWriter) -> None:
    """A broker that hangs must not keep a worker from stopping."""

    async def check() -> None:
        async with asyncio.timeout(2), opened(writer, Adder(), close_seconds_max=0.05) as feed:
            writer.gate.clear()
            feed.put(b"urgent")
            await settle()
        assert writer.commits == []
        assert writer.stopped

    asyncio.run(check())


@pytest.mark.parametrize(
    ("restored", "stored", "start"),
    [(None, None, 3), (None, 17, 17), (17, 17, 17), (17, None, 17)],
    ids=["nothing known: the first there is", "as committed", "both agree", "the changelog knows alone"],
)
def test_where_reading_begins(writer: FakeWriter, restored: int | None, stored: int | None, start: int) -> None:
    """One offset too early counts a fill twice, one too late loses it."""
    writer.stored = stored

    async def check() -> None:
        async with opened(writer, Adder(restored)) as feed:
            assert feed.task.applied == start
            assert feed.task.role.opening.committed == stored  # type: ignore[attr-defined]

    asyncio.run(check())


def test_an_idle_partition_commits_what_is_committed_again(writer: FakeWriter) -> None:
    """The broker forgets an offset after a week: an instrument list that never changes would be read from the start."""
    writer.stored = 17

    async def check() -> None:
        async with opened(writer, Adder()):
            await until(lambda: writer.commits == [([], 17)])

    asyncio.run(check())


def stops_with(writer: FakeWriter, work: Callable[[Feed], None], *, restored: int | None = None) -> str:
    """Return why the process would have ended."""

    async def check() -> None:
        async with opened(writer, Adder(restored)) as feed:
            work(feed)
            await settle()

    with pytest.raises(Stopped) as stopped:
        asyncio.run(check())
    return str(stopped.value)


def test_a_hole_between_blocks_stops_the_worker(writer: FakeWriter) -> None:
    """A block that was lost on the way must never pass unseen."""

    def lose_one(feed: Feed) -> None:
        feed.put(b"1")
        feed.task._blocks.clear()
        feed.put(b"2")

    assert stops_with(writer, lose_one) == "fills[2] must go on at 3, a block begins at 4"


def test_a_role_that_fails_stops_the_worker(writer: FakeWriter) -> None:
    """A broken invariant must stop the books, not be skipped like a bad message."""
    why = "fills[2] must be processed, found ArithmeticError('does not add up') at 3"
    assert stops_with(writer, lambda feed: feed.put(b"bad")) == why
    assert writer.commits == []


def test_a_transaction_that_fails_stops_the_worker(writer: FakeWriter) -> None:
    """Whoever is fenced must not go on."""
    writer.failure = TransactionFailed("transaction of x must commit, found ProducerFenced()")
    assert stops_with(writer, lambda feed: feed.put(b"urgent")) == str(writer.failure)


def test_a_changelog_that_disagrees_with_the_group_stops_the_worker(writer: FakeWriter) -> None:
    """They are written in one transaction: if they differ, somebody moved one of them."""
    writer.stored = 18
    assert stops_with(writer, lambda _feed: None, restored=17) == (
        "changelog and group test-adding must name one offset of fills[2], found 17 and 18"
    )
