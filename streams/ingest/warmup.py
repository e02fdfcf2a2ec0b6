"""Compile the kernels of ingest before a worker joins its group; instant once the compiled code is cached."""

import orjson

from streams.ingest.messages import Message
from streams.ingest.partition import IngestPartition
from streams.ingest.terms import Terms

_TERMS = (
    {"id": "CASH", "kind": "asset", "precision": 2},
    {
        "id": "LINEAR",
        "kind": "instrument",
        "type": "perpetual",
        "underlying": "COIN",
        "settlement": "CASH",
        "price_precision": 0,
        "quantity_precision": 0,
        "initial_margin": "0.2",
        "maintenance_margin": "0.1",
    },
)
_FILL = b'{"fill_id":"a","account":"one","instrument":"LINEAR","quantity":"1","price":"100","time":1}'


def warm_up() -> int:
    """Ingest one fill and return the number of its blocks (so that the work cannot be skipped)."""
    terms = Terms(1 << 16)
    for offset, record in enumerate(_TERMS):
        terms.add(offset, str(record["id"]).encode(), orjson.dumps(record))
    fold = IngestPartition(
        topic="fills", source_topic="fills", partition=0, shards=1, message_bytes_max=1 << 16, max_future_ms=0
    )
    return len(fold.take([Message(0, None, _FILL, 1)], terms, 1).blocks)
