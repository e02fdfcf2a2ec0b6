"""Good messages of every source topic, and an ingest partition to put them in: what the ingest tests start from."""

import json
from typing import Any

from schemas.journal import Block
from streams.ingest.messages import Message
from streams.ingest.partition import IngestPartition, IngestResult
from streams.ingest.terms import Terms

NOW_MS = 1_760_130_900_000
SHARDS = 4
BYTES_MAX = 262_144

USDC = {"id": "USDC", "kind": "asset", "precision": 6}
ETH = {"id": "ETH", "kind": "asset", "precision": 8, "haircut": "0.10", "borrow_haircut": "0.05"}
OLD = {"id": "OLD", "kind": "asset", "precision": 2, "closed": True}
BTC_PERP = {
    "id": "BTC-PERP",
    "kind": "instrument",
    "type": "perpetual",
    "underlying": "BTC",
    "settlement": "USDC",
    "multiplier": "1",
    "price_precision": 1,
    "quantity_precision": 3,
    "initial_margin": "0.10",
    "maintenance_margin": "0.05",
}
ETH_INVERSE = {**BTC_PERP, "id": "ETH-INV", "type": "inverse_perpetual", "settlement": "ETH", "quantity_precision": 0}
BIG_INVERSE = {**ETH_INVERSE, "id": "BIG-INV", "multiplier": "1000000000"}
FINE_INVERSE = {**ETH_INVERSE, "id": "FINE-INV", "price_precision": 0, "quantity_precision": 9, "multiplier": "0.01"}
BTC_FUTURE = {**BTC_PERP, "id": "BTC-DEC", "type": "future", "expiry": 1_766_649_600_000}
CLOSED_PERP = {**BTC_PERP, "id": "OLD-PERP", "closed": True}

FILL = {
    "fill_id": "t1",
    "account": "alice",
    "instrument": "BTC-PERP",
    "quantity": "-0.5",
    "price": "50010",
    "fee": "5.0",
    "time": NOW_MS,
    "liquidation_id": None,
    "margin_mode": "cross",
    "kind": "trade",
}
DEPOSIT = {
    "transfer_id": "d1",
    "type": "deposit",
    "account": "alice",
    "asset": "USDC",
    "amount": "1000",
    "time": NOW_MS,
    "to_account": None,
    "bucket": "cross",
}
FUNDING = {"instrument": "BTC-PERP", "rate": "0.0001", "time": NOW_MS}
SETTINGS = {"account": "alice", "mode": "cross", "margin_model": "standard", "levels": {"margin_call": "1.25"}}
QUOTE = {
    "symbol": "BTC",
    "source": "binance",
    "price": "50000.1",
    "confidence": "2.5",
    "time": NOW_MS,
    "sequence": 7,
}


def encoded(value: Any) -> bytes | None:
    """A message value: JSON of a dict, bytes as they are, None for a tombstone."""
    return value if isinstance(value, bytes | None) else json.dumps(value).encode()


def published(*records: dict[str, Any]) -> Terms:
    """A table with these records at offsets 0, 1, ..."""
    terms = Terms(BYTES_MAX)
    for offset, record in enumerate(records):
        terms.add(offset, record["id"].encode(), encoded(record))
    return terms


def all_terms() -> Terms:
    """A table with every sample instrument and asset."""
    return published(USDC, ETH, OLD, BTC_PERP, ETH_INVERSE, BIG_INVERSE, FINE_INVERSE, BTC_FUTURE, CLOSED_PERP)


def partition(topic: str, **settings: Any) -> IngestPartition:
    """A fresh partition 2 of a topic that the broker calls `prod.<topic>`."""
    given = {"shards": SHARDS, "message_bytes_max": BYTES_MAX, "max_future_ms": 60_000} | settings
    return IngestPartition(topic=topic, source_topic=f"prod.{topic}", partition=2, **given)


def messages(*values: Any, first: int = 100, key: bytes | None = None) -> list[Message]:
    """The values as messages at consecutive offsets."""
    return [(first + number, key, encoded(value), NOW_MS) for number, value in enumerate(values)]


def take(topic: str, *values: Any, terms: Terms | None = None, key: bytes | None = None) -> IngestResult:
    """What a fresh partition makes of the values, taken as final."""
    batch = messages(*values, key=key)
    return partition(topic).take(batch, terms or all_terms(), NOW_MS, final=True)


def rows(block: Block) -> list[dict[str, Any]]:
    """The rows of a block, its indexes replaced by names, as they are read back from bytes."""
    block = Block.decode(block.encode())
    tables = {"account": "accounts", "instrument": "instruments", "asset": "assets"}
    columns = {name: column.tolist() for name, column in block.columns.items() if not name.startswith("id_")}
    for column, table in tables.items():
        if column in columns:
            columns[column] = [block.names[table][index] for index in columns[column]]
    if "bucket" in columns:
        instruments = block.names.get("instruments", [])
        columns["bucket"] = ["cross" if index < 0 else instruments[index] for index in columns["bucket"]]
    if "id_end" in block.columns and len(block.columns["id_end"]):
        columns["id"] = block.ids()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
