"""Records that hostile messages are made of: sound but for what a kind changes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.prices import Quote
from schemas.signatures import sign
from tests.worker.hostile_terms import KEY


def fill(now_ms: int, **changes: Any) -> dict[str, Any]:
    record = {"fill_id": "bad", "account": "mallory", "instrument": "BTC-PERP", "quantity": "1", "price": "50000"}
    return record | {"fee": "1", "time": now_ms} | changes


def move(now_ms: int, **changes: Any) -> dict[str, Any]:
    record = {"transfer_id": "bad", "type": "deposit", "account": "mallory", "asset": "USDC", "amount": "1"}
    return record | {"time": now_ms} | changes


def quote(now_ms: int, **changes: Any) -> dict[str, Any]:
    return {"symbol": "BTC", "source": "one", "price": "1", "time": now_ms, "sequence": 1 << 60} | changes


def signed(now_ms: int, key_id: str = "k1", key: Ed25519PrivateKey = KEY, **changes: Any) -> dict[str, Any]:
    """A quote of source two, signed before `changes` are made to it."""
    record = quote(now_ms, source="two")
    said = sign(msgspec.convert(record, Quote), key_id=key_id, private_key=key)
    return record | {"key_id": said.key_id, "signature": said.signature} | changes


def rate(now_ms: int, **changes: Any) -> dict[str, Any]:
    return {"instrument": "FUND-PERP", "rate": "0.5", "time": now_ms, "mark_price": "1"} | changes


def surface(now_ms: int, *smiles: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Volatilities of BTC, of one expiry in a month where none are given."""
    record = {"underlying": "BTC", "source": "desk", "time": now_ms, "smiles": smiles or [smile(now_ms)]}
    return record | changes


def smile(now_ms: int, highest: str = "0.5", **changes: Any) -> dict[str, Any]:
    points = [["-0.1", "0.5"], ["0", highest], ["0.1", "0.5"]]
    return {"expiry": now_ms + 30 * 86_400_000, "points": points} | changes


def text(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode()


def without(record: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != name}
