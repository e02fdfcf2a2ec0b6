"""Calls to the writers in their process: what comes back, and what becomes of either side without the other."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition

from streams.kafka import writer_process
from streams.kafka.batches import Record
from streams.kafka.transactions import TransactionFailed
from streams.kafka.writer_process import WriterProcess
from streams.rows import Rows

TP = TopicPartition("fills", 2)
OUT = TopicPartition("out", 0)


class Unspeakable(Exception):
    """Pickle can take it down, but not up again."""

    def __init__(self, *, why: str) -> None:
        super().__init__(why)


class Echo:
    """A writer whose committed offsets tell what was asked of it; `group` says what shall go wrong."""

    def __init__(self, transactional_id: str, client: Mapping[str, Any], *, transaction_timeout_ms: int, observe: Any):
        self._said: list[Any] = [transactional_id, client["servers"], transaction_timeout_ms, os.getpid()]
        self._observe = observe

    async def start(self) -> None:
        self._said.append("started")

    async def stop(self) -> None:
        self._said.append("stopped")

    async def committed(self, group: str, partitions: Sequence[TopicPartition]) -> Any:
        return {TP: (group, partitions, self._said)}

    async def commit(self, records: Mapping[Any, Any], offsets: Mapping[Any, Any], group: str) -> None:
        match group:
            case "fenced":
                raise TransactionFailed("transaction of x must commit, found ProducerFenced()")
            case "unspeakable":
                raise Unspeakable(why="it is so")
            case "never":
                try:
                    await asyncio.sleep(3600)
                finally:
                    self._said.append("cancelled")
        rows = {tp: [tuple(row) for row in part] for tp, part in records.items()}
        self._said.append((rows, dict(offsets)))
        self._observe(0.25)


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[WriterProcess]:
    def fatal(reason: str, _error: BaseException | None = None) -> None:
        ends.append(reason)

    ends: list[str] = []
    monkeypatch.setattr(writer_process, "fatal", fatal)
    made = WriterProcess({"servers": "here"}, Echo)  # type: ignore[arg-type]
    made.ends = ends  # type: ignore[attr-defined]
    yield made
    made.stop()


def run(check: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def timed() -> None:
        async with asyncio.timeout(20):
            await check()

    asyncio.run(timed())


def test_writers_do_elsewhere_what_they_are_asked(process: WriterProcess) -> None:
    """Records that came over otherwise than they went would be written so."""
    seconds: list[float] = []

    async def check() -> None:
        writer = process.writer("x-1", transaction_timeout_ms=77, observe=seconds.append)
        await writer.start()
        rows = Rows.of([(b"key", b"value"), (b"k", b"")])
        headers = (("reason", b"why"),)
        records = {OUT: [Record(None, b"row", headers, 5)], TP: rows}
        await writer.commit(records, {TP: 9}, "group")
        found: Any = await writer.committed("group", [TP])
        group, partitions, (name, servers, timeout_ms, pid, started, committed) = found[TP]
        assert (group, partitions, name, servers, timeout_ms, started) == ("group", [TP], "x-1", "here", 77, "started")
        assert pid != os.getpid()
        assert committed == ({OUT: [(None, b"row", headers, 5)], TP: [(b"key", b"value"), (b"k", b"")]}, {TP: 9})
        assert seconds == [0.25]
        await writer.stop()
        await writer.stop()  # it is no more

    run(check)


def test_what_goes_wrong_there_is_raised_here(process: WriterProcess) -> None:
    """A worker that is fenced and goes on as if it were not would write over the new owner's books."""

    async def check() -> None:
        writer = process.writer("x-1")
        await writer.start()
        with pytest.raises(TransactionFailed, match=r"found ProducerFenced\(\)"):
            await writer.commit({}, {}, "fenced")
        with pytest.raises(TransactionFailed, match="Unspeakable"):
            await writer.commit({}, {}, "unspeakable")
        await writer.commit({}, {TP: 1}, "group")

    run(check)


def test_many_calls_and_large_ones_keep_apart(process: WriterProcess) -> None:
    """An answer that came to another's call would let it take an offset for committed that is not."""

    async def check() -> None:
        writers = [process.writer(f"x-{number}") for number in range(20)]
        await asyncio.gather(*(writer.start() for writer in writers))
        large = [Record(None, bytes([number]) * (number * 100_000)) for number in range(20)]
        await asyncio.gather(
            *(w.commit({OUT: [record]}, {TP: n}, "g") for n, (w, record) in enumerate(zip(writers, large, strict=True)))
        )
        for number, writer in enumerate(writers):
            found: Any = await writer.committed("g", [TP])
            assert found[TP][2][-1] == ({OUT: [tuple(large[number])]}, {TP: number})

    run(check)


def test_a_call_cancelled_here_is_cancelled_there(process: WriterProcess) -> None:
    """A writer whose start is given up must not fence its successor later."""

    async def check() -> None:
        writer = process.writer("x-1")
        await writer.start()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(writer.commit({}, {}, "never"), 0.05)
        found: Any = await writer.committed("g", [TP])
        assert found[TP][2][-1] == "cancelled"

    run(check)


def test_a_worker_ends_without_its_writers(process: WriterProcess) -> None:
    """It would wait for ever for an answer, and hold its partitions meanwhile."""

    async def check() -> None:
        writer = process.writer("x-1")
        await writer.start()
        found: Any = await writer.committed("g", [TP])
        os.kill(found[TP][2][3], signal.SIGKILL)
        while not process.ends:  # type: ignore[attr-defined]  # noqa: ASYNC110 - told from no task
            await asyncio.sleep(0.01)
        assert process.ends == [  # type: ignore[attr-defined]
            "the process of the writers must live as long as the worker, it has ended"
        ]

    run(check)


PARENT = """
import asyncio, os, sys, threading, time
sys.path[:0] = sys.argv[1:]
from streams.kafka.writer_process import WriterProcess
from tests.test_kafka_writer_process import Echo, TP
threading.Thread(target=sys.stdin.read, daemon=True).start()  # its lock is held while the process forks
process = WriterProcess({"servers": "here"}, Echo)
async def main():
    writer = process.writer("x-1")
    await writer.start()
    found = await writer.committed("g", [TP])
    print(found[TP][2][3], flush=True)
    await asyncio.sleep(3600)
asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "told to stop"])
def test_writers_end_with_the_worker_and_not_before(number: signal.Signals) -> None:
    """Writers left behind would go on with a transaction that nobody knows of; gone too soon they lose the last one."""
    root = str(Path(__file__).parent.parent)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        writers = int(parent.stdout.readline())
        os.kill(writers, signal.SIGTERM)
        os.kill(writers, signal.SIGINT)
        time.sleep(0.2)
        assert parent.poll() is None
        os.kill(parent.pid, number)
        parent.wait(10)
        until = time.monotonic() + 10
        while _lives(writers):
            assert time.monotonic() < until, "the process of the writers must end with the worker"
            time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
