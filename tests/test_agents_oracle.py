"""The oracle agent without a broker: what it asks of other partitions, and which metrics it leaves."""

import asyncio
import json
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from aiokafka import ConsumerRecord, TopicPartition
from prometheus_client import REGISTRY

from schemas.journal import Block as JournalBlock
from streams.agents.context import Context
from streams.agents.oracle import Oracle
from streams.engine.shard import Shard
from streams.ingest.terms import Terms
from streams.kafka.leases import Block, Lease
from streams.kafka.marks_reader import MarkRow
from streams.kafka.volatilities_reader import VolatilitiesReader
from streams.settings import Settings

TP = TopicPartition("oracle-prices", 0)
T = 1_760_130_900_000


class Known:
    """In place of the reader of `instruments`."""

    def __init__(self) -> None:
        self.terms = Terms(10_000)

    async def refresh(self) -> None:
        pass


class Elsewhere:
    """In place of the reader of `marks`."""

    def __init__(self) -> None:
        self.rows = {name: MarkRow(name, price, 0.0, 0, T) for name, price in (("USDT", 0.9), ("EURC", 1.25))}
        self.edition = 1
        self.wanted: set[str] = set()

    def want(self, symbols: Collection[str]) -> None:
        self.wanted |= set(symbols)


def agent(elsewhere: Elsewhere) -> Oracle:
    settings = Settings(clock="event", partitions=1)
    context: Any = Context(
        settings=settings,
        counts={settings.topic(name): 1 for name in ("oracle-prices", "journal", "marks", "dead-letters")},
        terms=Known(),
        marks=elsewhere,
        volatilities=VolatilitiesReader({}, "volatilities-changelog", 1),
        progress_ms=lambda _: None,
        backlog=lambda: False,
    )
    return Oracle(TP, context)


def block(lease: Lease, *quotes: dict[str, Any]) -> Block:
    values = [json.dumps({"symbol": "BTC", "source": "a", "price": "100", "time": T} | quote) for quote in quotes]
    rows = [
        ConsumerRecord(TP.topic, 0, lease.delivered + at, T, 0, b"BTC", value.encode(), None, 0, 0, ())
        for at, value in enumerate(values)
    ]
    (found,) = lease.cut(rows, lease.delivered + len(rows), 1_000)
    return found


def told(oracle: Oracle) -> dict[str, float]:
    """What one flush says of indices in the journal."""
    records: Sequence[Any] = oracle.flush().get(TopicPartition("journal", 0), ())
    blocks = [JournalBlock.decode(record.value) for record in records]
    return {
        name: float(index)
        for one in blocks
        for name, index in zip(one.names["symbols"], one.columns["index"], strict=True)
    }


def gauges() -> dict[str, Any]:
    found = {("crossmargin_price_state", "BTC"): {"symbol": "BTC"}}
    found[("crossmargin_quotes_refused", "repeated")] = {"partition": "0", "reason": "repeated"}
    return {reason: REGISTRY.get_sample_value(name, labels) for (name, reason), labels in found.items()}


def test_rates_of_other_partitions_as_they_are_wanted() -> None:
    """The rate was read long ago for nobody; a quote that is first stated in it must not wait for it to move."""

    async def check() -> None:
        elsewhere, lease = Elsewhere(), Lease(TP, lambda: None)
        oracle = agent(elsewhere)
        lease.begin(0)
        await oracle.take(block(lease, {"quote_asset": "USDT"}))
        assert told(oracle) == {}
        assert elsewhere.wanted == {"USDT"}
        assert told(oracle) == {"BTC": 90.0}
        await oracle.take(block(lease, {"quote_asset": "EURC", "time": T + 1}))
        told(oracle)
        assert told(oracle)["BTC"] == 125.0

    asyncio.run(check())


def test_metrics_of_a_partition_end_with_it() -> None:
    """A state that stays on the page of a worker that lost the symbol contradicts the one that has it now."""

    async def check() -> None:
        oracle, lease = agent(Elsewhere()), Lease(TP, lambda: None)
        lease.begin(0)
        await oracle.take(block(lease, {}, {}))
        assert told(oracle) == {"BTC": 100.0}
        assert gauges() == {"BTC": 0.0, "repeated": 1.0}
        oracle.closed()
        assert gauges() == {"BTC": None, "repeated": None}

    asyncio.run(check())


def test_unknown_fields_are_counted() -> None:
    """A mistyped field of a quote must be seen as one of any other topic is."""

    def count() -> float:
        return REGISTRY.get_sample_value("crossmargin_unknown_fields_total", {"topic": "oracle-prices"}) or 0.0

    async def check() -> None:
        oracle, lease, before = agent(Elsewhere()), Lease(TP, lambda: None), count()
        lease.begin(0)
        await oracle.take(block(lease, {"confidance": "1"}))
        assert count() == before + 1
        oracle.closed()

    asyncio.run(check())


def test_terms_of_many_instruments_go_ahead_of_their_marks() -> None:
    """The first marks block of 2,000 instruments would be longer than a record may be: their terms are told before it,
    in records that the broker takes, and a shard knows every instrument when its mark comes."""

    async def check() -> None:
        oracle, lease = agent(Elsewhere()), Lease(TP, lambda: None)
        terms = oracle._context.terms.terms
        asset = {"kind": "asset", "id": "USDC", "precision": 6}
        perpetual = {
            "kind": "instrument", "type": "perpetual", "underlying": "BTC", "settlement": "USDC", "price_precision": 1,
            "quantity_precision": 3, "initial_margin": "0.1", "maintenance_margin": "0.05",
        }  # fmt: skip
        records = [asset, *({**perpetual, "id": f"BTC-{at:04d}"} for at in range(2_000))]
        for offset, record in enumerate(records):
            terms.add(offset, record["id"].encode(), json.dumps(record).encode())
        lease.begin(0)
        await oracle.take(block(lease, {}))
        sent = oracle.flush()[TopicPartition("journal", 0)]
        blocks = [JournalBlock.decode(record.value) for record in sent]
        assert [one.kind for one in blocks] == ["terms"] * (len(blocks) - 1) + ["marks"]
        assert len(blocks) > 2
        assert all(len(record.value) < 512 * 1024 for record in sent)
        shard = Shard(0)
        for offset, record in enumerate(sent):
            shard.apply(offset, record.value)
        assert len(shard.terms.instruments) == 2_000
        assert not np.isnan(shard.prices.marks).any()

    asyncio.run(check())
