"""A worker on a real Kafka, as its users run it: messages in, decisions out, state that survives a kill."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from schemas.liquidation import LiquidationEvent
from schemas.margin import MarginAccount, MarginCall
from streams.agents.margin import WALL_HEADER as DECIDED
from streams.agents.oracle import WALL_HEADER as TOLD
from streams.kafka.broker import LocalBroker
from tests.worker.harness import Message, Worker, read_all, running, send_all, until

pytestmark = pytest.mark.kafka

INSTRUMENTS: list[dict[str, Any]] = [
    {"id": "USDC", "kind": "asset", "precision": 6},
    {"id": "ETH", "kind": "asset", "precision": 8, "haircut": "0.10", "borrow_haircut": "0.05"},
    {
        "id": "BTC-PERP",
        "kind": "instrument",
        "type": "perpetual",
        "underlying": "BTC",
        "settlement": "USDC",
        "price_precision": 1,
        "quantity_precision": 3,
        "initial_margin": "0.10",
        "maintenance_margin": "0.05",
        "liquidation_fee": "0.005",
    },
]


def message(topic: str, record: dict[str, Any], key: str | None = None) -> Message:
    name = key or record.get("account") or record.get("id") or record.get("symbol")
    return topic, str(name).encode(), json.dumps(record).encode(), None


def quotes(prefix: str, prices: dict[str, str]) -> list[Message]:
    now = int(time.time() * 1000)
    return [
        message(f"{prefix}.oracle-prices", {"symbol": symbol, "source": source, "price": price, "time": now})
        for symbol, price in prices.items()
        for source in ("one", "two", "three")
    ]


def opening(prefix: str) -> list[Message]:
    now = int(time.time() * 1000)
    sent = []
    for name, cash in (("alice", "6000"), ("bob", "60000")):
        deposit = {"transfer_id": f"d-{name}", "type": "deposit", "account": name, "asset": "USDC", "amount": cash}
        sent.append(message(f"{prefix}.collateral", deposit | {"time": now}))
    for name, quantity in (("alice", "1"), ("bob", "-1")):
        fill = {"fill_id": f"f-{name}", "account": name, "instrument": "BTC-PERP", "quantity": quantity}
        sent.append(message(f"{prefix}.fills", fill | {"price": "50000", "fee": "5", "time": now}))
    return sent


def values(broker: LocalBroker, topic: str) -> list[dict[str, Any]]:
    return [json.loads(record.value) for record in asyncio.run(read_all(broker.bootstrap, topic))]


def test_crash_calls_then_liquidates_and_a_killed_worker_goes_on(broker: LocalBroker, tmp_path: Path) -> None:
    """Without this, a long that runs out of margin would keep its position, or a restart would forget it."""
    prefix = "e2e"
    worker = Worker(broker.bootstrap, prefix, tmp_path / "worker.log", quote_age_ms_max=60_000)
    with running(worker):
        terms = [message(f"{prefix}.instruments", record) for record in INSTRUMENTS]
        asyncio.run(send_all(broker.bootstrap, terms))
        asyncio.run(send_all(broker.bootstrap, opening(prefix)))
        asyncio.run(send_all(broker.bootstrap, quotes(prefix, {"BTC": "50000", "USDC": "1", "ETH": "2000"})))
        until(lambda: _account(worker, "alice").get("equity") == "5995")
        assert _account(worker, "alice")["status"] == "ok"

        asyncio.run(send_all(broker.bootstrap, quotes(prefix, {"BTC": "46900"})))
        calls = until(lambda: values(broker, f"{prefix}.margin-calls"))
        # equity 5,995 - 3,100 = 2,895; maintenance 2,345; ratio 1.2345...
        assert [(call["kind"], call["account"], call["report"]["equity"]) for call in calls] == [
            ("called", "alice", "2895")
        ]

        worker.signal(signal.SIGKILL)
        worker.process.wait()  # type: ignore[union-attr]
        worker.start()
        worker.wait_ready()

        asyncio.run(send_all(broker.bootstrap, quotes(prefix, {"BTC": "46000", "USDC": "1"})))
        events = until(lambda: values(broker, f"{prefix}.liquidations"))
        first = events[0]
        assert (first["kind"], first["account"], first["bucket"], first["step"]) == ("liquidation", "alice", "cross", 1)
        # equity 1,995; maintenance 2,300; 1.1 x 46,000 x 0.05 x (1 - q) = 1,995 - 230 q  =>  q = 0.23260...
        assert first["orders"][0]["instrument"] == "BTC-PERP"
        assert first["orders"][0]["quantity"] == "-0.233"
        assert len(values(broker, f"{prefix}.margin-calls")) == 1

        fill = {
            "fill_id": "liq-1", "account": "alice", "instrument": "BTC-PERP", "quantity": "-0.233", "price": "46000",
            "fee": "53.59", "time": int(time.time() * 1000), "liquidation_id": first["id"],
        }  # fmt: skip
        asyncio.run(send_all(broker.bootstrap, [message(f"{prefix}.fills", fill)]))
        until(lambda: any(e["kind"] == "liquidation_cleared" for e in values(broker, f"{prefix}.liquidations")))
        for shard in range(4):
            for name, entry in worker.get(f"/shards/{shard}")["assets"].items():
                assert entry["total"] == "0", (shard, name, entry)
    _matches_contract(broker, prefix)
    _tells_its_way(broker, prefix)


def _account(worker: Worker, name: str) -> dict[str, Any]:
    try:
        return dict(worker.get(f"/accounts/{name}"))
    except OSError:
        return {}


def _tells_its_way(broker: LocalBroker, prefix: str) -> None:
    """When a liquidation's prices were quoted, told, decided on and sent: else nobody could say who was late."""
    journal = asyncio.run(read_all(broker.bootstrap, f"{prefix}.journal"))
    told = {(one.partition, one.offset): dict(one.headers).get(TOLD) for one in journal}
    record = asyncio.run(read_all(broker.bootstrap, f"{prefix}.liquidations"))[0]
    value = json.loads(record.value)
    quoted = value["marks"]["BTC-PERP"]["quote_time"]
    spoken = told[value["journal"]["partition"], value["journal"]["offset"]]
    assert spoken is not None
    assert quoted <= int(spoken) <= int(dict(record.headers)[DECIDED]) <= record.timestamp


def _matches_contract(broker: LocalBroker, prefix: str) -> None:
    """Every record sent is one that the published types decode, with no unknown field."""
    import msgspec

    kinds = {"margin-calls": MarginCall, "liquidations": LiquidationEvent, "margin-accounts": MarginAccount}
    for topic, kind in kinds.items():
        found = values(broker, f"{prefix}.{topic}")
        assert found
        for value in found:
            assert _fields(msgspec.to_builtins(msgspec.convert(value, kind))) >= _fields(value)


def _fields(value: Any, path: str = "") -> set[str]:
    if not isinstance(value, dict):
        return {path}
    return {found for name, item in value.items() for found in _fields(item, f"{path}.{name}")}
