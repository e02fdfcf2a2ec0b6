"""Instruments, assets and sources of the hostile run."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.signatures import public_key_text

USDC: dict[str, Any] = {"id": "USDC", "kind": "asset", "precision": 6}
ETH: dict[str, Any] = {"id": "ETH", "kind": "asset", "precision": 8, "haircut": "0.10", "borrow_haircut": "0.05"}
OLD: dict[str, Any] = {"id": "OLD", "kind": "asset", "precision": 2, "closed": True}
BTC_PERP: dict[str, Any] = {
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
ETH_INVERSE = {
    **BTC_PERP,
    "id": "ETH-INV",
    "type": "inverse_perpetual",
    "underlying": "ETH",
    "settlement": "ETH",
    "quantity_precision": 0,
}
#: Its positions are opened before its first funding rate and never traded, so the two topics' order is free.
FUND_PERP = {**BTC_PERP, "id": "FUND-PERP"}
#: Nobody quotes it, so its isolated positions, which have no margin of their own, are never judged.
DARK_PERP = {**BTC_PERP, "id": "DARK-PERP", "underlying": "DARK"}
BTC_FUTURE = {**BTC_PERP, "id": "BTC-DEC", "type": "future", "expiry": "2099-12-25T08:00:00Z"}
CLOSED_PERP = {**BTC_PERP, "id": "OLD-PERP", "closed": True}
#: What source two, and it alone, signs with.
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNED_SOURCE: dict[str, Any] = {
    "id": "~source:two",
    "kind": "source",
    "keys": [
        {"id": "k0", "public_key": public_key_text(KEY), "valid_from": 0, "valid_until": 1_000},
        {"id": "k1", "public_key": public_key_text(KEY), "valid_from": 1_000},
    ],
}
#: Nobody quotes it but those who may not.
SIGNED_ORACLE = {"id": "~oracle:VAULT", "kind": "oracle", "unsigned_sources": False}

TERMS = (
    USDC, ETH, OLD, BTC_PERP, ETH_INVERSE, FUND_PERP, DARK_PERP, BTC_FUTURE, CLOSED_PERP, SIGNED_SOURCE, SIGNED_ORACLE
)  # fmt: skip
