"""Options and portfolio margin through a worker on a real Kafka: marked, margined by either model, paid out."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from streams.kafka.broker import LocalBroker
from tests.worker.harness import Message, Worker, read_all, running, send_all, until
from tests.worker.hostile_terms import BTC_PERP, USDC

pytestmark = pytest.mark.kafka

PREFIX = "options"
DAY = 86_400_000
RISK = {"kind": "risk", "id": "~risk", "window": 100, "horizon_ms": 9 * DAY, "buffer": "0"}
#: Seconds until the option that is paid out in the test expires.
SOON = 20


def option(name: str, strike: str, expiry: int) -> dict[str, Any]:
    kept = {name: BTC_PERP[name] for name in ("kind", "underlying", "settlement", "price_precision")}
    terms = {"id": name, "type": "option", "option_type": "call", "strike": strike, "quantity_precision": 3}
    return kept | terms | {"expiry": datetime.fromtimestamp(expiry, UTC).isoformat()}


def message(topic: str, record: dict[str, Any], key: str, prefix: str = PREFIX) -> Message:
    return f"{prefix}.{topic}", key.encode(), json.dumps(record).encode(), None


def now() -> int:
    return int(time.time() * 1000)


def quotes(price: str, prefix: str = PREFIX) -> list[Message]:
    return [
        message("oracle-prices", {"symbol": symbol, "source": source, "price": told, "time": now()}, symbol, prefix)
        for symbol, told in (("BTC", price), ("USDC", "1"))
        for source in ("one", "two", "three")
    ]


def volatility(month: int) -> Message:
    """50 % at every strike of the month, forward at the index."""
    smile = {"expiry": datetime.fromtimestamp(month, UTC).isoformat(), "points": [["-0.5", "0.5"], ["0.5", "0.5"]]}
    return message("volatilities", {"source": "desk", "time": now(), "underlying": "BTC", "smiles": [smile]}, "BTC")


def closes() -> dict[str, Any]:
    """101 of BTC up to 50,000 yesterday, 8 % up and down in turn."""
    prices = [50_000.0]
    for day in range(100):
        prices.append(prices[-1] / (1.08 if day % 2 else 0.92))
    told = {"kind": "closes", "id": "~closes:BTC", "period_ms": DAY, "period": now() // DAY - 1}
    return told | {"closes": [repr(price) for price in reversed(prices)]}


def fill(account: str, instrument: str, quantity: str, price: str, prefix: str = PREFIX) -> Message:
    record = {"account": account, "instrument": instrument, "quantity": quantity, "price": price, "fee": "0"}
    return message("fills", record | {"fill_id": f"{account}-{instrument}", "time": now()}, account, prefix)


def values(broker: LocalBroker, topic: str, prefix: str = PREFIX) -> list[dict[str, Any]]:
    return [json.loads(record.value) for record in asyncio.run(read_all(broker.bootstrap, f"{prefix}.{topic}"))]


def test_options_are_marked_margined_and_paid_out(broker: LocalBroker, tmp_path: Path) -> None:
    """A spread on portfolio margin must outlive the rise that closes the same call sold alone, also past a kill."""
    # an oracle that is quoted by hand must not go stale while a slow machine takes its time
    worker = Worker(broker.bootstrap, PREFIX, tmp_path / "worker.log", partitions=2, quote_age_ms_max=60_000)

    def send(*messages: Message) -> None:
        asyncio.run(send_all(broker.bootstrap, messages))

    def book(name: str) -> dict[str, Any]:
        try:
            return dict(worker.get(f"/accounts/{name}"))
        except OSError:
            return {}

    with running(worker):
        begun = int(time.time())
        month, soon = begun + 30 * 86_400, begun + SOON
        calls = option("CALL-50", "50000", month), option("CALL-60", "60000", month), option("SOON-45", "45000", soon)
        unit = {"id": "~risk_unit:BTC", "kind": "risk_unit"}
        rules = {"kind": "oracle", "id": "~oracle", "max_age_ms": 600_000, "band_sigmas": "0"}
        send(*(message("instruments", record, record["id"]) for record in (USDC, BTC_PERP, *calls, unit, rules)))
        send(*quotes("50000"), volatility(month))
        for name, cash in (("spread", "12000"), ("naked", "12000"), ("buyer", "10000"), ("linear", "100000")):
            deposit = {"transfer_id": name, "type": "deposit", "account": name, "asset": "USDC", "amount": cash}
            send(message("collateral", deposit | {"time": now()}, name))
        send(*(message("accounts", {"account": n, "margin_model": "portfolio"}, n) for n in ("spread", "linear")))
        until(lambda: book("spread").get("equity") == "12000")
        send(fill("spread", "CALL-60", "1", "400"), fill("spread", "CALL-50", "-1", "2800"))
        send(fill("naked", "CALL-50", "-1", "2800"), fill("buyer", "SOON-45", "0.5", "4000"))
        send(fill("linear", "BTC-PERP", "1", "50000"))
        until(lambda: all(float(book(name).get("maintenance_margin", 0)) > 0 for name in ("spread", "naked")))
        # Black-76 at 50 % over 30 days: 50000 at the money 2,858, 60000 a fifth out 379; 9 % and its value for a short
        naked, spread = book("naked"), book("spread")
        assert float(naked["equity"]) == pytest.approx(12_000 + 2_800 - 2_858, abs=15)
        assert float(naked["maintenance_margin"]) == pytest.approx(4_500, abs=15)
        assert float(spread["equity"]) == pytest.approx(12_000 + 2_400 - 2_858 + 379, abs=15)
        # 16 % of 50,000 by the grid, and 2 % of it on top
        until(lambda: book("linear").get("initial_margin") == "9000")
        send(*(message("instruments", record, record["id"]) for record in (RISK, closes())))
        # each past day moved 8 %, which is three times that in nine days
        until(lambda: book("linear").get("initial_margin") != "9000")
        past = book("linear")["portfolio"]
        assert past["binds"] == "value_at_risk"
        assert float(past["value_at_risk"]) == pytest.approx(0.24 * 50_000)
        assert float(book("linear")["initial_margin"]) == pytest.approx(0.24 * 50_000 + 1_000)

        worker.signal(signal.SIGKILL)
        assert worker.process is not None
        worker.process.wait()
        worker.start()
        worker.wait_ready()
        time.sleep(max(0.0, soon + 1 - time.time()))
        send(*quotes("60000"))
        events = until(lambda: values(broker, "liquidations"))
        assert {event["account"] for event in events} == {"naked"}
        assert events[0]["report"]["positions"][0]["instrument"] == "CALL-50"
        # the buyer's call was paid out at the index of its expiry: 0.5 x (5,000 - 4,000)
        until(lambda: book("buyer").get("balances") == {"USDC": "10500"})
        restored = book("linear")["portfolio"]
        assert restored["binds"] == "value_at_risk"
        assert float(restored["value_at_risk"]) == pytest.approx(0.24 * 60_000)
        assert book("buyer")["positions"] == []
        assert book("spread")["status"] == "ok"
        for shard in range(2):
            for name, entry in worker.get(f"/shards/{shard}")["assets"].items():
                assert entry["total"] == "0", (shard, name, entry)

    assert not values(broker, "dead-letters")
    where = ["--broker", broker.bootstrap, "--topic-prefix", f"{PREFIX}.", "--verify"]
    replay = subprocess.run([sys.executable, "-m", "streams.cli", "replay", *where], capture_output=True, text=True)
    assert replay.returncode == 0, replay.stdout + replay.stderr
