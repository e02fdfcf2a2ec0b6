"""What the engine writes is what the contract says: ingest to shard to schema, over a small crash."""

import json
from collections import Counter
from pathlib import Path

import jsonschema
import numpy as np

from schemas.codec import Reader, encode
from schemas.export import record_types
from schemas.journal import Block
from schemas.sharding import shard_of
from schemas.topics import TOPICS
from streams.engine.shard import Shard
from tests.ingest_samples import DEPOSIT, FILL, NOW_MS, SETTINGS, SHARDS, take

SCHEMAS = Path(__file__).parent.parent / "docs" / "schemas"
ALICE = shard_of("alice", SHARDS)


def marks(bitcoin: float, step: int) -> Block:
    """BTC and ETH at 20 to 1, live, ten seconds a step."""
    time = NOW_MS + 10_000 * step
    columns = {
        "symbol": [0, 1, 2],
        "index": [bitcoin, bitcoin / 20, 1.0],
        "confidence": [0.0] * 3,
        "check": [np.nan] * 3,
        "symbol_state": [0] * 3,
        "quote_time": [time] * 3,
        "instrument": [0, 1],
        "mark": [bitcoin, bitcoin / 20],
        "mark_state": [0, 0],
    }
    return Block(
        kind="marks",
        names={"symbols": ["BTC", "ETH", "USDC"], "instruments": ["BTC-PERP", "ETH-INV"]},
        columns={name: np.array(values) for name, values in columns.items()},
        extra={"time": time, "oracle": {"partition": 0, "of": 1, "mode": "live"}},
    )


def test_outputs_are_records_of_the_contract():
    """A consumer written from the schemas must be able to read every decision, and none may have more to say."""
    sources = [
        take("accounts", SETTINGS, key=b"alice"),
        take(
            "collateral",
            DEPOSIT,
            {**DEPOSIT, "transfer_id": "d2", "asset": "ETH", "amount": "0.1"},
            {**DEPOSIT, "transfer_id": "d3", "type": "transfer", "amount": "300", "to_bucket": "BTC-PERP"},
        ),
        take(
            "fills",
            {**FILL, "quantity": "0.1", "price": "50000", "fee": "0"},
            {**FILL, "fill_id": "t2", "quantity": "0.05", "price": "50000", "fee": "0", "margin_mode": "isolated"},
        ),
    ]
    blocks = [block for result in sources for shard, block in result.blocks if shard == ALICE]
    path = (50_000.0, 43_700.0, 50_000.0, 43_000.0, 41_000.0, 55_000.0, 20_000.0)
    blocks += [marks(price, step) for step, price in enumerate(path)]
    shard = Shard(ALICE)
    outputs = [output for offset, block in enumerate(blocks) for output in shard.apply(offset, block.encode())]

    seen: Counter[str] = Counter()
    for output in outputs:
        record = json.loads(output.value)
        names = {kind.__struct_config__.tag: name for name, kind in record_types().items() if output.topic in name}
        name = names[record["kind"] if len(TOPICS[output.topic].records) > 1 else None]
        jsonschema.validate(record, json.loads((SCHEMAS / f"{name}.json").read_text()))
        reader = Reader(record_types()[name])
        assert json.loads(encode(reader.read(output.value))).keys() >= record.keys()
        assert reader.unknown_fields == 0, record
        seen[f"{name} {record.get('kind')}"] += 1
    assert set(seen) == {
        "margin-accounts None",
        "margin-calls called",
        "margin-calls cleared",
        "liquidations.Liquidation liquidation",
        "liquidations.LiquidationCleared liquidation_cleared",
        "liquidations.Bankrupt bankrupt",
    }
