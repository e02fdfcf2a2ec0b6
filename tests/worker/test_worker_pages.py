"""What workers answer over HTTP, on a real Kafka with two of them."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from streams.kafka.broker import LocalBroker
from tests.worker.harness import Worker, running, send_all, until
from tests.worker.test_worker_end_to_end import INSTRUMENTS, message, opening, quotes

pytestmark = pytest.mark.kafka


def test_any_worker_answers_for_any_account(broker: LocalBroker, tmp_path: Path) -> None:
    """A risk desk that asks the wrong worker would take an account for gone."""
    prefix = "pages"
    first = Worker(broker.bootstrap, prefix, tmp_path / "first.log", quote_age_ms_max=60_000)
    second = Worker(broker.bootstrap, prefix, tmp_path / "second.log", quote_age_ms_max=60_000)
    with running(first), running(second):
        until(lambda: _held(first) and _held(second) and not _held(first) & _held(second))
        asyncio.run(send_all(broker.bootstrap, [message(f"{prefix}.instruments", record) for record in INSTRUMENTS]))
        asyncio.run(send_all(broker.bootstrap, opening(prefix)))
        asyncio.run(send_all(broker.bootstrap, quotes(prefix, {"BTC": "50000", "USDC": "1", "ETH": "2000"})))
        for worker in (first, second):
            for account, equity in (("alice", "5995"), ("bob", "59995")):
                until(lambda w=worker, a=account, e=equity: _equity(w, a) == e)
        assert {first.get(f"/shards/{shard}")["partition"] for shard in range(4)} == {0, 1, 2, 3}
        with pytest.raises(urllib.error.HTTPError, match="404"):
            first.get("/accounts/nobody")
        for number in ("4", "-1", "01", "%C2%B2", "9" * 5000):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                first.get(f"/shards/{number}")
        with urllib.request.urlopen(f"http://127.0.0.1:{first.port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        assert "crossmargin_transaction_seconds_count" in text


def _held(worker: Worker) -> set[str]:
    try:
        held: dict[str, Any] = worker.get("/progress")
    except OSError:
        return set()
    return set(held.get("pages.journal", {}))


def _equity(worker: Worker, account: str) -> str | None:
    try:
        return str(worker.get(f"/accounts/{account}")["equity"])
    except OSError:
        return None
