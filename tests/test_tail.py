"""`crossmargin tail`: one readable line a record."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner

from schemas.journal import Block
from schemas.topics import TOPICS
from streams.engine.shard import Shard
from streams.kafka.broker import LocalBroker
from streams.kafka.topics import TopicNeed, ensure_topics
from streams.tail import Tailed, json_line, readable, tail_command
from tests.golden.journals import HERE, read_journal

CRASH = HERE / "crash" / "journal.bin"

REPORT = {
    "account": "alice",
    "status": "liquidation",
    "equity": "1234.5",
    "margin_ratio": "0.98",
    "maintenance_margin": "1259.69",
    "positions": [{"instrument": "BTC-PERP", "quantity": "0.5"}],
}
EVENT = {"id": "x", "account": "alice", "bucket": "cross", "time": 1_760_130_900_000, "report": REPORT}
ISOLATED = {"bucket": "BTC-PERP", "status": "ok"}
ORDERS = [
    {"instrument": "BTC-PERP", "quantity": "-0.4", "limit_price": "49000.5", "expected_fee": "98.0"},
    {"sell_asset": "ETH", "amount": "2", "buy_asset": "USDC", "limit_price": "1999"},
]
MARGIN = "ratio 0.98  equity 1,234.5  maintenance 1,259.69"


def record(value: Any, key: bytes | None = b"alice", headers: Mapping[str, str] | None = None) -> Tailed:
    data = value if isinstance(value, bytes) or value is None else orjson.dumps(value)
    return Tailed(3, 17, key, data, headers or {})


@pytest.mark.parametrize(
    ("topic", "value", "line"),
    [
        (
            "margin-calls",
            {**EVENT, "kind": "called", "level": "1.25"},
            f"called              alice            cross      level 1.25  {MARGIN}",
        ),
        (
            "liquidations",
            {**EVENT, "kind": "liquidation", "step": 2, "orders": ORDERS},
            "liquidation         alice            cross      step 2: -0.4 BTC-PERP at 49000.5, "
            f"sell 2 ETH for USDC at 1999  {MARGIN}",
        ),
        (
            "liquidations",
            {**EVENT, "kind": "bankrupt", "shortfall": "12.5"},
            "bankrupt            alice            cross      shortfall 12.5",
        ),
        (
            "liquidations",
            {**EVENT, "kind": "liquidation_cleared"},
            f"liquidation_cleared alice            cross      {MARGIN}",
        ),
        (
            "margin-accounts",
            {**REPORT, "time": EVENT["time"], "balances": {"USDC": "-5"}, "isolated": [ISOLATED]},
            f"liquidation alice            {MARGIN}  -5 USDC, BTC-PERP ok",
        ),
        (
            "marks",
            {"symbol": "BTC", "index": "50001.5", "state": "ok", "sources": ["a", "b"], "time": EVENT["time"]},
            "BTC               50001.5 ok       a b",
        ),
    ],
)
def test_outputs_are_told_in_one_line(topic: str, value: dict[str, Any], line: str) -> None:
    """Someone who watches a crash reads whom, how bad and what to close, not JSON."""
    assert readable(topic)(record(value)) == f"3@17       2025-10-10 21:15:00.000 {line}"


def test_every_output_of_a_real_run_can_be_told() -> None:
    """The lines above are told of records written by hand; these are the engine's own."""
    shard = Shard(0)
    told = set()
    for offset, data in enumerate(read_journal(CRASH)):
        for sent in shard.apply(offset, data):
            told.add((sent.topic, *readable(sent.topic)(record(sent.value, sent.key)).split()[3:4]))
    kinds = {"called", "cleared", "liquidation", "liquidation_cleared", "bankrupt"}
    assert {kind for topic, kind in told if topic in ("margin-calls", "liquidations")} == kinds
    assert ("margin-accounts", "bankrupt") in told


def test_dead_letter_says_why_and_where_from() -> None:
    """The headers are the only place that says what was wrong."""
    headers = {
        "reason_code": "not_json",
        "reason": "value must be JSON, found '{'",
        "source_topic": "fills",
        "source_partition": "2",
        "source_offset": "11",
    }
    line = readable("dead-letters")(record(b"{\xff", headers=headers))
    assert line == "3@17       not_json             fills[2]@11  value must be JSON, found '{'  '{\ufffd'"


def test_journal_block_is_summed_up() -> None:
    """A block is bytes to anyone but the engine."""
    block = Block(
        kind="fills",
        source={"topic": "fills", "partition": 1, "first": 5, "next": 9},
        names={"accounts": ["a"], "instruments": ["BTC-PERP"]},
        columns={"account": [0, 0, 0], "lots": [1, 1, 1]},
        terms=[{"id": "BTC-PERP", "version": 4}],
    )
    line = readable("journal")(record(block.encode(), key=None))
    assert line.startswith("3@17       fills        3 rows")
    assert line.endswith("fills[1] 5..8  terms of BTC-PERP  BTC-PERP")
    assert json.loads(json_line(record(block.encode(), key=None)))["value"]["rows"]["account"] == 3
    assert readable("journal")(record(b"xmj1?")).split()[1] == "corrupt:"


def test_tombstone_and_foreign_bytes_are_no_error() -> None:
    """Compacted topics delete keys; anyone can write anything to an input topic."""
    assert readable("margin-accounts")(record(None)) == "3@17       alice deleted"
    assert readable("fills")(record(b"\xff{")) == "3@17       alice \\xff{"
    assert json.loads(json_line(record(None, key=None)))["value"] is None


@pytest.mark.kafka
def test_tail_reads_a_topic_of_a_broker(broker: LocalBroker) -> None:
    """From the beginning, at most so many, and to the end without waiting for more."""

    async def fill() -> None:
        options = {"bootstrap_servers": broker.bootstrap}
        await ensure_topics(options, [TopicNeed(name="tail.fills", partitions=1)], create=True)
        producer = AIOKafkaProducer(**options)
        await producer.start()
        for number in range(5):
            await producer.send_and_wait("tail.fills", orjson.dumps({"fill_id": number}), key=b"alice")
        await producer.stop()

    asyncio.run(fill())
    asked = ["fills", "--broker", broker.bootstrap, "--topic-prefix", "tail.", "--from-beginning", "--no-follow"]
    everything = CliRunner().invoke(tail_command, asked)
    assert everything.exit_code == 0
    assert everything.output.splitlines()[0] == '0@0        alice {"fill_id":0}'
    assert len(everything.output.splitlines()) == 5
    two = CliRunner().invoke(tail_command, [*asked, "--max", "2", "--json"])
    assert [json.loads(line)["value"]["fill_id"] for line in two.output.splitlines()] == [0, 1]
    missing = CliRunner().invoke(tail_command, [*asked[:3], "--topic-prefix", "none.", "--no-follow"])
    assert missing.exit_code == 2
    assert missing.output == f"crossmargin tail: topic none.fills must exist, found none at {broker.bootstrap}\n"
    unknown = CliRunner().invoke(tail_command, ["prices"])
    assert unknown.exit_code == 2
    assert set(TOPICS) >= {"marks", "journal"}
