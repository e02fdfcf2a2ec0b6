"""A price stated in a symbol of another oracle partition, its record, a halt, and what is told of it all."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from schemas.codec import decode
from schemas.journal import Block
from schemas.marks import Mark
from schemas.sharding import shard_of
from streams.agents.oracle import WALL_HEADER
from streams.kafka.broker import LocalBroker
from tests.worker.harness import Message, Worker, read_all, running, send_all, until
from tests.worker.hostile_terms import BTC_PERP, USDC

pytestmark = pytest.mark.kafka

PREFIX = "prices"
#: What is told rests on two quotes that a slow machine may deliver late.
RULES = {"kind": "oracle", "id": "~oracle", "sources_min": 1, "max_age_ms": 600_000, "band_sigmas": "0"}
RULES |= {"recovery_ticks": 0, "recovery_ms": 0}
HALT = {"kind": "control", "id": "~control:btc", "action": "halt", "symbol": "BTC"}


def terms(record: dict[str, Any]) -> Message:
    return f"{PREFIX}.instruments", record["id"].encode(), json.dumps(record).encode(), None


def quote(symbol: str, price: str, **fields: Any) -> Message:
    record = {"symbol": symbol, "source": "one", "price": price, "time": int(time.time() * 1000)} | fields
    return f"{PREFIX}.oracle-prices", symbol.encode(), json.dumps(record).encode(), None


def test_price_by_a_leg_of_another_partition(broker: LocalBroker, tmp_path: Path) -> None:
    """A coin whose quotes come by another partition must convert all the same, before and after a restart."""
    assert shard_of("BTC", 2) != shard_of("ETH", 2)
    worker = Worker(broker.bootstrap, PREFIX, tmp_path / "worker.log", partitions=2)

    def send(*messages: Message) -> None:
        asyncio.run(send_all(broker.bootstrap, messages))

    def marks() -> list[Mark]:
        records = asyncio.run(read_all(broker.bootstrap, f"{PREFIX}.marks"))
        return [decode(Mark, record.value) for record in records if record.key == b"BTC"]

    def told(index: str, state: str) -> bool:
        found = marks()
        return bool(found) and (found[-1].index, found[-1].state) == (index, state)

    with running(worker):
        send(terms(USDC), terms(BTC_PERP), terms(RULES))
        send(quote("BTC", "25", quote_asset="ETH"), quote("ETH", "1800"))
        until(lambda: told("45000", "ok"))
        send(terms(HALT))
        until(lambda: told("45000", "halted"))
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/metrics", timeout=5) as answer:
            metrics = answer.read().decode()
    with running(worker):
        send(quote("ETH", "1600"))
        send(terms(HALT | {"action": "resume"}))
        until(lambda: told("40000", "ok"))

    last = marks()[-1]
    assert (last.sources, last.reasons, last.check) == (("one",), (), None)
    assert 'crossmargin_price_state{symbol="BTC"} 4.0' in metrics
    assert 'crossmargin_price_reasons_total{reason="halted",symbol="BTC"} 1.0' in metrics
    assert 'crossmargin_quote_age_seconds_count{at="index"}' in metrics
    records = asyncio.run(read_all(broker.bootstrap, f"{PREFIX}.journal"))
    blocks = [(record, Block.decode(record.value)) for record in records]
    spoken = [(record, block) for record, block in blocks if block.kind == "marks"]
    assert all(dict(record.headers)[WALL_HEADER].isdigit() for record, _ in spoken)
    assert all(len(block.columns["widening"]) == len(block.columns["symbol"]) for _, block in spoken)
    assert not {"oracle", "source"} & {row["kind"] for _, block in blocks for row in block.terms}
