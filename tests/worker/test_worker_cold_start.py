"""A worker that starts on an hour of backlog, is killed in it, or has a source that lags, calls nobody for that."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.app import prepare_topics
from streams.kafka.broker import LocalBroker
from streams.settings import load
from tests.worker.backlog import HOUR_MS, NEVER, TERMS, Event, backlog, group_of
from tests.worker.harness import Worker, read_all, running, send_all, until
from tests.worker.in_order import Decision, at_the_end, decision, step_by_step

pytestmark = pytest.mark.kafka

SHARDS = 2
#: As if there were no guard: no source ever lags.
UNGUARDED_MS = 10**14
QUOTE_AGE_MS = 10_000


def produce(broker: LocalBroker, prefix: str, events: Sequence[Event], *, stamped: bool, slow: str) -> None:
    """Topics as a worker would create them, and the events in them before any worker runs.

    Parameters
    ----------
    stamped : with the events' times; else as records that a mirror wrote just now
    """
    given = {"broker": broker.bootstrap, "prefix": prefix, "topic_prefix": f"{prefix}.", "partitions": str(SHARDS)}
    asyncio.run(prepare_topics(load(given)))
    messages = [
        (f"{prefix}.{event.topic}", event.key.encode(), event.value(slow), event.time if stamped else None)
        for event in events
    ]
    asyncio.run(send_all(broker.bootstrap, messages))


def wait_judged(worker: Worker, workers: Sequence[Worker], prefix: str, events: Sequence[Event]) -> None:
    """Until all is read and every shard judges at the time of the last event."""
    counts = Counter(event.topic for event in events)

    def judged() -> bool:
        at = {topic: offsets for one in workers for topic, offsets in one.get("/progress").items()}
        taken = {topic: sum(offset or 0 for offset in at.get(f"{prefix}.{topic}", {}).values()) for topic in counts}
        shards = [worker.get(f"/shards/{shard}") for shard in range(SHARDS)]
        return taken == counts and all(view["live"] and view["time"] >= events[-1].time for view in shards)

    until(judged, 60)
    # What the last marks decided is applied; what it sends is committed with the next flush.
    until(lambda: all(worker.get(f"/shards/{shard}")["time"] >= events[-1].time for shard in range(SHARDS)))
    time.sleep(0.5)


def decisions(broker: LocalBroker, prefix: str) -> list[Decision]:
    """All margin calls and liquidations so far, in order per topic."""
    return [
        decision(record.value or b"")
        for topic in ("margin-calls", "liquidations")
        for record in asyncio.run(read_all(broker.bootstrap, f"{prefix}.{topic}"))
    ]


def cold_start(
    broker: LocalBroker,
    folder: Path,
    prefix: str,
    *,
    stamped: bool,
    how: str,
    slow: str,
    guard: bool = True,
    **settings: Any,
) -> set[Decision]:
    """A backlog, then a worker; what it decided once it had caught up.

    Parameters
    ----------
    how : together, all roles in one process; killed, the same and killed in the backlog; apart, ingest in a process of
        its own, which starts when the other has begun, and stands still for a while when the fills are read
    slow : the topic that is read last
    guard : whether the oracle waits for the sources
    """
    events = backlog(int(time.time() * 1000) - HOUR_MS)
    produce(broker, prefix, events, stamped=stamped, slow=slow)

    def worker(roles: str) -> Worker:
        log = folder / f"{roles}.log"
        started = Worker(broker.bootstrap, prefix, log, partitions=SHARDS, roles=roles, **settings)
        if not guard:
            started.command = [sys.executable, "-m", "tests.worker.hasty_worker"]
        return started

    with contextlib.ExitStack() as stack:
        if how == "apart":
            judge, ingest = worker("oracle,margin"), worker("ingest")
            stack.enter_context(running(judge))
            until(lambda: any(judge.get("/progress").get(f"{prefix}.oracle-prices", {}).values()))
            stack.callback(ingest.stop)
            ingest.start()
            _pause(ingest, prefix, events)
            workers = [judge, ingest]
        else:
            judge = worker("ingest,oracle,margin")
            if how == "killed":
                judge.start()
                asyncio.run(_journal_begun(broker.bootstrap, f"{prefix}.journal"))
                judge.signal(signal.SIGKILL)
                judge.process.wait()  # type: ignore[union-attr]
            stack.enter_context(running(judge))
            workers = [judge]
        wait_judged(judge, workers, prefix, events)
    return set(decisions(broker, prefix))


def _pause(ingest: Worker, prefix: str, events: Sequence[Event]) -> None:
    """Stop ingest between two topics: all fills are in the journal, collateral in part."""
    counts = Counter(event.topic for event in events)

    def fills_taken() -> bool:
        with contextlib.suppress(OSError):
            found = ingest.get("/progress").get(f"{prefix}.fills", {})
            return sum(offset or 0 for offset in found.values()) == counts["fills"]
        return False

    until(fills_taken, step=0.005)
    ingest.signal(signal.SIGSTOP)
    time.sleep(1.5)
    ingest.signal(signal.SIGCONT)


async def _journal_begun(bootstrap: str, topic: str) -> None:
    """Until the first records are in the journal: the backlog has been begun, not finished."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, shard) for shard in range(SHARDS)]
        while not any((await consumer.end_offsets(partitions)).values()):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    finally:
        await consumer.stop()


@cache
def references() -> tuple[set[Decision], set[Decision]]:
    """Decisions in order of time, and of the final books at the final prices. The fillers decide nothing."""
    events = backlog(int(time.time() * 1000) - HOUR_MS, fillers=0)
    return step_by_step(events, SHARDS, QUOTE_AGE_MS), at_the_end(events, SHARDS, QUOTE_AGE_MS)


@pytest.mark.parametrize(
    ("clock", "stamped", "how", "slow"),
    [
        pytest.param("wall", True, "together", "collateral", id="wall", marks=pytest.mark.long),
        pytest.param("wall", False, "killed", "oracle-prices", id="wall, mirrored, killed in it"),
        pytest.param("event", True, "killed", "collateral", id="event, killed in it", marks=pytest.mark.long),
        pytest.param("event", False, "apart", "collateral", id="event, mirrored, ingest later"),
        pytest.param(
            "event", False, "together", "oracle-prices", id="event, mirrored, quotes last", marks=pytest.mark.long
        ),
    ],
)
def test_a_cold_start_decides_nothing_that_the_same_inputs_in_order_would_not(
    broker: LocalBroker, tmp_path: Path, clock: str, stamped: bool, how: str, slow: str
) -> None:
    """Sources are read at their own speeds: the crash of an hour ago must not meet the books of half an hour ago."""
    prefix = f"cold-{clock}-{stamped}-{how}-{slow}".lower()
    found = cold_start(broker, tmp_path, prefix, stamped=stamped, how=how, slow=slow, clock=clock)
    in_order, final = references()
    assert not _innocent(in_order | final)
    assert not _innocent(found)
    assert found <= in_order | final
    assert final <= found, "what is true in the end must be said"


@pytest.mark.long
def test_without_the_guard_a_cold_start_calls_the_innocent(broker: LocalBroker, tmp_path: Path) -> None:
    """The test above must be able to fail."""
    found = cold_start(broker, tmp_path, "cold-control", stamped=True, how="apart", slow="collateral", guard=False)
    assert _innocent(found)


def _innocent(found: set[Decision]) -> set[Decision]:
    """Decisions on accounts that were never near a call."""
    return {one for one in found if group_of(one[0]) in NEVER}


# -- a source that lags while live -----------------------------------------------------------------------------------


class Market(threading.Thread):
    """Quotes of one price twice a second, so that marks are young."""

    def __init__(self, bootstrap: str, prefix: str, price: float) -> None:
        super().__init__(daemon=True)
        self.price = price
        self._broker, self._topics = bootstrap, prefix
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.5):
            asyncio.run(send_all(self._broker, list(self._quotes())))

    def _quotes(self) -> Iterator[tuple[str, bytes, bytes, None]]:
        for symbol, price in (("BTC", self.price), ("USDC", 1.0)):
            record = {"symbol": symbol, "source": "one", "price": str(price), "time": int(time.time() * 1000)}
            yield f"{self._topics}.oracle-prices", symbol.encode(), json.dumps(record).encode(), None

    def stop(self) -> None:
        self._over.set()
        self.join()


def deposit(prefix: str, account: str, amount: str) -> tuple[str, bytes, bytes, None]:
    now = int(time.time() * 1000)
    record = {"transfer_id": f"{account}-{amount}", "type": "deposit", "account": account, "asset": "USDC"}
    value = json.dumps(record | {"amount": amount, "time": now}).encode()
    return f"{prefix}.collateral", account.encode(), value, None


def bought(prefix: str, account: str) -> tuple[str, bytes, bytes, None]:
    record = {"fill_id": account, "account": account, "instrument": "BTC-PERP", "quantity": "1", "price": "50000"}
    return f"{prefix}.fills", account.encode(), json.dumps(record | {"time": int(time.time() * 1000)}).encode(), None


@pytest.mark.parametrize(
    "skew_ms",
    [pytest.param(2_000, id="guarded"), pytest.param(UNGUARDED_MS, id="control", marks=pytest.mark.long)],
)
def test_a_source_that_lags_stops_judging_until_it_is_back(broker: LocalBroker, tmp_path: Path, skew_ms: int) -> None:
    """A deposit that waits in a stuck reader is the customer's all the same."""
    prefix = f"lag-{skew_ms}"
    common: dict[str, Any] = {"partitions": SHARDS, "session_seconds": 30, "max_source_skew_ms": skew_ms}
    ingest = Worker(broker.bootstrap, prefix, tmp_path / "ingest.log", roles="ingest", **common)
    judge = Worker(broker.bootstrap, prefix, tmp_path / "judge.log", roles="oracle,margin", **common)

    def live() -> bool:
        return all(judge.get(f"/shards/{shard}")["live"] for shard in range(SHARDS))

    with running(ingest), running(judge):
        terms = [(f"{prefix}.instruments", str(t["id"]).encode(), json.dumps(t).encode(), None) for t in TERMS]
        books = [deposit(prefix, name, "6000") for name in ("alice", "bob")]
        fills = [bought(prefix, name) for name in ("alice", "bob")]
        asyncio.run(send_all(broker.bootstrap, [*terms, *books]))
        until(lambda: sum(n or 0 for n in ingest.get("/progress")[f"{prefix}.collateral"].values()) == len(books))
        asyncio.run(send_all(broker.bootstrap, fills))
        market = Market(broker.bootstrap, prefix, 50_000.0)
        market.start()
        try:
            until(lambda: live() and _status(judge, "alice") == _status(judge, "bob") == "ok")
            ingest.signal(signal.SIGSTOP)
            asyncio.run(send_all(broker.bootstrap, [deposit(prefix, "alice", "10000")]))
            if skew_ms != UNGUARDED_MS:
                until(lambda: not live(), 10)
            market.price = 46_000.0  # bob's equity is 2,000 against 2,300, and alice's 12,000
            time.sleep(2.0)
            early = {account for account, _, _ in decisions(broker, prefix)}
            if skew_ms == UNGUARDED_MS:
                assert early == {"alice", "bob"}, "without the guard alice is called for her deposit's delay"
                return
            assert not early
            assert not live()
            ingest.signal(signal.SIGCONT)
            until(lambda: live() and decisions(broker, prefix))
            time.sleep(1.0)
            assert {account for account, _, _ in decisions(broker, prefix)} == {"bob"}
            assert _status(judge, "alice") == "ok"
        finally:
            market.stop()


def _status(worker: Worker, account: str) -> str:
    with contextlib.suppress(OSError):
        return str(worker.get(f"/accounts/{account}")["status"])
    return "absent"
