"""More workers than shards: the spare one is well, answers for the others, and takes over."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from streams.kafka.broker import LocalBroker
from worker.harness import Worker, running, send_all, until

pytestmark = pytest.mark.kafka


def test_a_worker_without_partitions_is_ready_and_sends_to_the_one_that_holds_the_account(
    broker: LocalBroker, tmp_path: Path
) -> None:
    """A deploy would wait for ever for a spare that never says it is well; a user would be told of no account."""
    front = Worker(broker.bootstrap, "spare", tmp_path / "front.log", partitions=1, roles="ingest,oracle")
    first = Worker(broker.bootstrap, "spare", tmp_path / "first.log", partitions=1, roles="margin")
    second = Worker(broker.bootstrap, "spare", tmp_path / "second.log", partitions=1, roles="margin")
    deposit = {"transfer_id": "d", "type": "deposit", "account": "alice", "asset": "USDC", "amount": "7"}
    sent: list[tuple[str, bytes, dict[str, Any]]] = [
        ("spare.instruments", b"USDC", {"id": "USDC", "kind": "asset", "precision": 6}),
        ("spare.collateral", b"alice", {**deposit, "time": int(time.time() * 1000)}),
    ]
    with running(front), running(first):
        for topic, key, value in sent:
            asyncio.run(send_all(broker.bootstrap, [(topic, key, json.dumps(value).encode(), None)]))
        until(lambda: balances(first) == {"USDC": "7"})
        with running(second):
            assert until(lambda: settled(first, second)) == [1, 0]
            assert [balances(worker) for worker in (first, second)] == [{"USDC": "7"}] * 2
            assert first.stop() == 0
            until(lambda: balances(second) == {"USDC": "7"})


def settled(*workers: Worker) -> list[int]:
    """How many partitions each holds, once all are ready."""
    try:
        found = [worker.get("/health") for worker in workers]
    except OSError:
        return []
    return [health["partitions"] for health in found] if all(health["ready"] for health in found) else []


def balances(worker: Worker) -> dict[str, str]:
    try:
        found: dict[str, str] = worker.get("/accounts/alice")["balances"]
        return found
    except OSError:
        return {}
