"""Workers are killed, frozen and stopped in the middle of their work; every source row must count once."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.counting import CountingRun

from streams.kafka.broker import LocalBroker

pytestmark = pytest.mark.kafka

SESSION_SECONDS = 4.0


@pytest.fixture
def run(broker: LocalBroker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[CountingRun]:
    """One run, with workers slow enough to be caught in the act."""
    name = request.node.name.replace("_", "-")
    running = CountingRun(
        broker,
        tmp_path,
        name,
        row_seconds=2e-5,
        session_seconds=SESSION_SECONDS,
        fetching={"block_records_max": 500},
        flushing={"transaction_timeout_ms": 5000},
    )
    yield running
    running.stop()


def opened(run: CountingRun, count: int, seconds: float = 30.0) -> None:
    """Wait until workers have opened ``count`` partitions in all."""
    until = time.monotonic() + seconds
    while run.log().count(" opened at ") < count:
        assert time.monotonic() < until, f"{count} partitions must be opened\n{run.log()[-4000:]}"
        time.sleep(0.05)


def kill_some(run: CountingRun, **options: Any) -> str:
    """Kill a worker twice at random moments, let another one finish; return how to do the same again."""
    seed = random.SystemRandom().randrange(1 << 30)
    rng = random.Random(seed)
    for turn in range(2):
        worker = run.start("w0", **options)
        opened(run, 4 * (turn + 1))
        time.sleep(rng.uniform(0.05, 0.6))
        worker.kill()
        worker.wait()
    last = run.start("w0", **options)
    opened(run, 12)  # it may find all done; before it is up it cannot be told to stop
    run.wait_done(60)
    last.terminate()
    assert last.wait(20) == 0, run.log()[-4000:]
    return f"seed {seed}"


def test_killed_workers_lose_and_double_nothing(run: CountingRun) -> None:
    """A crash between a fill and its commit would book the fill twice, or never."""
    run.feed(25_000)
    seed = kill_some(run)
    assert run.problems() == [], seed


@pytest.mark.long
def test_control_without_one_transaction_rows_are_doubled(run: CountingRun) -> None:
    """If this passes unharmed, the test above proves nothing."""
    run.feed(15_000)
    seed = kill_some(run, apart=True)
    assert run.problems() != [], seed


def test_a_thawed_worker_is_fenced(run: CountingRun) -> None:
    """A frozen worker that wakes up with its partitions gone must not write over the new owner's books."""
    run.feed(30_000)
    frozen = run.start()
    opened(run, 4)
    time.sleep(0.5)
    frozen.send_signal(signal.SIGSTOP)
    other = run.start()
    opened(run, 8)
    time.sleep(0.3)
    frozen.send_signal(signal.SIGCONT)
    run.wait_done(60)
    for worker in (frozen, other):
        worker.terminate()
    # Whether it had something to write when it woke up decides if it was fenced (3) or just joined again (0).
    assert frozen.wait(20) in (0, 3), run.log()[-4000:]
    assert other.wait(20) == 0, run.log()[-4000:]
    assert run.problems() == []


@pytest.mark.long
def test_workers_come_and_go(run: CountingRun) -> None:
    """Partitions move while work is in the air: a deploy must not cost a fill."""
    run.feed(30_000)
    first = run.start()
    opened(run, 4)
    second = run.start()
    opened(run, 8)
    time.sleep(0.5)
    first.terminate()
    assert first.wait(20) == 0, run.log()[-4000:]
    opened(run, 12)
    third = run.start()
    opened(run, 16)
    run.wait_done(60)
    for worker in (second, third):
        worker.terminate()
        assert worker.wait(20) == 0, run.log()[-4000:]
    assert run.problems() == []
