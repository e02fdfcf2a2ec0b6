"""A worker killed inside the settlement window of an option, on a real Kafka: the mean that is paid misses nothing."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest

from schemas.journal import Block
from streams.kafka.broker import LocalBroker
from tests.worker.harness import Message, Worker, read_all, running, send_all, until
from tests.worker.hostile_terms import BTC_PERP, USDC
from tests.worker.test_worker_options import fill, message, now, option, quotes, values

pytestmark = pytest.mark.kafka

PREFIX = "settlement"
#: Seconds from the start to the expiry, and ms of it that are the window.
SOON, WINDOW_MS = 24, 14_000
STRIKE = 45_000


def told(broker: LocalBroker) -> list[tuple[int, float]]:
    """Time and index of BTC of each marks block of journal partition 0."""
    records = asyncio.run(read_all(broker.bootstrap, f"{PREFIX}.journal"))
    blocks = [Block.decode(record.value) for record in records if record.partition == 0]
    marks = [block for block in blocks if block.kind == "marks" and "BTC" in block.names["symbols"]]
    rows = [(block, block.names["symbols"].index("BTC")) for block in marks]
    return [
        (int(block.extra["time"]), float(block.columns["index"][list(block.columns["symbol"]).index(at)]))
        for block, at in rows
        if at in block.columns["symbol"]
    ]


def mean(prices: list[tuple[int, float]], start: int, end: int) -> float:
    """Of prices that hold each until the next, over a stretch of time."""
    total, covered = Fraction(0), 0
    for (since, price), (next_one, _) in zip(prices, [*prices[1:], (end, 0.0)], strict=True):
        held = min(next_one, end) - max(since, start)
        if held > 0:
            total += Fraction(repr(price)) * held
            covered += held
    assert covered > (end - start) // 2
    return float(total / covered)


def test_a_kill_inside_the_settlement_window(broker: LocalBroker, tmp_path: Path) -> None:
    """50,000 at first, 60,000 from before the kill to after it, 52,000 at the end: the option pays the mean of them."""
    worker = Worker(broker.bootstrap, PREFIX, tmp_path / "worker.log", partitions=2, quote_age_ms_max=60_000)

    def send(*messages: Message) -> None:
        asyncio.run(send_all(broker.bootstrap, messages))

    def balance(name: str) -> float:
        try:
            return float(worker.get(f"/accounts/{name}")["balances"]["USDC"])
        except (OSError, KeyError):
            return float("nan")

    def wait(until_ms: int) -> None:
        time.sleep(max(0, until_ms - now()) / 1000)

    with running(worker):
        expiry = (int(time.time()) + SOON) * 1000
        call = option("SOON", str(STRIKE), expiry // 1000) | {"settlement_window_ms": WINDOW_MS}
        rules = {"kind": "oracle", "id": "~oracle", "max_age_ms": 600_000, "band_sigmas": "0"}
        send(*(message("instruments", record, record["id"], PREFIX) for record in (USDC, BTC_PERP, call, rules)))
        send(*quotes("50000", PREFIX))
        for name in ("buyer", "seller"):
            deposit = {"transfer_id": name, "type": "deposit", "account": name, "asset": "USDC", "amount": "90000"}
            send(message("collateral", deposit | {"time": now()}, name, PREFIX))
        send(fill("buyer", "SOON", "2", "5000", PREFIX), fill("seller", "SOON", "-2", "5000", PREFIX))
        until(lambda: balance("seller") == 90_000.0)
        wait(expiry - WINDOW_MS + 2_000)
        send(*quotes("60000", PREFIX))
        until(lambda: told(broker)[-1][1] == 60_000.0)
        worker.signal(signal.SIGKILL)
        assert worker.process is not None
        worker.process.wait()
        worker.start()
        worker.wait_ready()
        assert now() < expiry
        send(*quotes("52000", PREFIX))
        until(lambda: balance("buyer") != 90_000.0)
        paid = mean(told(broker), expiry - WINDOW_MS, expiry) - STRIKE
        assert balance("buyer") == pytest.approx(90_000.0 + 2.0 * (paid - 5_000.0), abs=0.01)
        assert balance("seller") == pytest.approx(90_000.0 - 2.0 * (paid - 5_000.0), abs=0.01)
        for shard in range(2):
            for name, entry in worker.get(f"/shards/{shard}")["assets"].items():
                assert entry["total"] == "0", (shard, name, entry)

    assert not values(broker, "dead-letters", PREFIX)
    where = ["--broker", broker.bootstrap, "--topic-prefix", f"{PREFIX}.", "--verify"]
    replay = subprocess.run([sys.executable, "-m", "streams.cli", "replay", *where], capture_output=True, text=True)
    assert replay.returncode == 0, replay.stdout + replay.stderr
