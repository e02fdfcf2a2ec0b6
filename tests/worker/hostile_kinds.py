"""Hostile messages by kind, each with the reason code that its dead letter must carry.

A kind makes its n-th message from a random generator that the caller seeds, so one seed gives one stream.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.worker.hostile_records import fill, move, quote, rate, signed, smile, surface, text, without
from tests.worker.hostile_terms import BTC_PERP, SIGNED_ORACLE, SIGNED_SOURCE, USDC

KEPT_BYTES = 65_536
#: The broker takes batches of at most 1,048,588 bytes.
VALUE_BYTES_MAX = 1_040_000
MESSAGE_BYTES_MAX = 262_144

#: "the key that belongs to the record"
OWN_KEY = b"\0own"


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to be wrong.

    Parameters
    ----------
    make : random generator, number, time in epoch ms -> value; a dict is sent as JSON
    key : the message's key; OWN_KEY: that of the record, as good messages have it
    heavy : large, so only a few of them are sent
    """

    name: str
    topic: str
    code: str
    make: Callable[[Random, int, int], Any]
    key: bytes | None = OWN_KEY
    headers: tuple[tuple[str, bytes], ...] = ()
    heavy: bool = False


@dataclass
class _Table:
    """Kinds under construction: `topic` and `record` stay for the rows that follow."""

    kinds: list[Kind] = field(default_factory=list)
    topic: str = ""
    record: Callable[..., dict[str, Any]] = fill

    def add(self, code: str, name: str, make: Callable[[Random, int, int], Any], **more: Any) -> None:
        self.kinds.append(Kind(f"{self.topic}: {name}", self.topic, code, make, **more))

    def changed(self, code: str, name: str, **changes: Any) -> None:
        """The topic's record with these fields."""
        record = self.record
        self.add(code, name, lambda _r, _n, now: record(now, **changes))

    def spoiled(self, code: str, name: str, old: bytes, new: bytes, **more: Any) -> None:
        """The bytes of the topic's record with one part of them replaced."""
        record = self.record
        self.add(code, name, lambda _r, _n, now: text(record(now)).replace(old, new, 1), **more)


def _bytes_of_any_topic(table: _Table) -> None:
    """What is wrong before a field is looked at; the same on every topic."""
    add, record = table.add, table.record
    if table.topic not in ("accounts", "instruments", "volatilities"):
        add("tombstone", "tombstone", lambda *_: None)
        add("tombstone", "headers only", lambda *_: None, headers=(("type", b"fill"), ("id", b"7")))
    add("not_json", "empty", lambda *_: b"")
    add("not_json", "blanks", lambda *_: b"  \n\t ")
    add("not_json", "NUL bytes", lambda r, *_: b"\0" * r.randrange(1, 400))
    add("not_json", "cut short", lambda r, _n, now: (data := text(record(now)))[: r.randrange(1, len(data))])
    add("not_json", "twice in one", lambda _r, _n, now: text(record(now)) * 2)
    add("not_json", "schema registry prefix", lambda _r, n, now: b"\0\0\0\0" + bytes([n % 128]) + text(record(now)))
    add("not_json", "byte order mark", lambda _r, _n, now: b"\xef\xbb\xbf" + text(record(now)))
    add("not_json", "UTF-16", lambda _r, _n, now: text(record(now)).decode().encode("utf-16-le"))
    add("not_json", "trailing comma", lambda _r, _n, now: text(record(now))[:-1] + b",}")
    add("not_json", "single quotes", lambda _r, _n, now: text(record(now)).replace(b'"', b"'"))
    add("not_json", "XML", lambda *_: b"<?xml version='1.0'?><fill id='1'/>")
    add("not_utf8", "noise", lambda r, *_: b"\xff" + r.randbytes(r.randrange(1, 300)))
    add("not_utf8", "gzip", lambda r, *_: b"\x1f\x8b\x08\0" + r.randbytes(60))
    add("not_object", "array", lambda _r, _n, now: b"[" + text(record(now)) + b"]")
    add("not_object", "null", lambda *_: b"null")
    add("not_object", "number", lambda r, *_: str(r.getrandbits(60)).encode())
    add("not_object", "string", lambda _r, _n, now: json.dumps(text(record(now)).decode()).encode())
    add("nested_too_deep", "arrays", lambda r, *_: b"[" * r.randrange(2_000, 60_000), heavy=True)
    add("nested_too_deep", "objects", lambda *_: b'{"price":' * 20_000, heavy=True)
    add(
        "nested_too_deep",
        "deep unknown field",
        lambda _r, _n, now: text(record(now))[:-1] + b', "x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        heavy=True,
    )
    add("over_size", "a byte too long", lambda _r, _n, now: text(record(now)).ljust(MESSAGE_BYTES_MAX + 1), heavy=True)
    add("over_size", "a megabyte", lambda r, *_: r.randbytes(1000) * (VALUE_BYTES_MAX // 1000), heavy=True)


def _fields(table: _Table, **fields: str) -> None:
    """Every field in `fields` left out, and of a type it may not have: its name -> what it is (number, text, time)."""
    record = table.record
    for name, kind in fields.items():
        table.add("missing_field", f"no {name}", lambda _r, _n, now, name=name: without(record(now), name))
        for wrong in ([], {}, True) if kind != "number" else ([1], {"v": 1}, False, "", "1,000", "0x1f", "+1", "١"):
            table.changed("mistyped_field", f"{name} {wrong!r}", **{name: wrong})
        if kind == "number":
            table.changed("not_finite", f"{name} NaN", **{name: "NaN"})
            table.changed("not_finite", f"{name} -Infinity", **{name: "-Infinity"})
            table.changed("not_finite", f"{name} bare NaN", **{name: float("nan")})
            table.changed("over_range", f"{name} 1e999999", **{name: "1e999999"})
            table.changed("over_range", f"{name} 1e-999999", **{name: "1e-999999"})
            table.changed("over_range", f"{name} of 10,000 digits", **{name: "9" * 10_000})
            table.add(
                "over_range",
                f"{name} an integer of 10,000 digits",
                lambda _r, _n, now, name=name: _raw(record(now), name, b"7" * 10_000),
            )
            table.add(
                "over_range",
                f"{name} bare 1e999999",
                lambda _r, _n, now, name=name: _raw(record(now), name, b"1e999999"),
            )
        if kind == "time":
            table.changed("mistyped_field", f"{name} in words", **{name: "now"})
            table.changed("mistyped_field", f"{name} 30 February", **{name: "2025-02-30T00:00:00Z"})
            table.changed("mistyped_field", f"{name} in seconds, a fraction", **{name: 1_760_130_900.5})
            table.changed("bad_time", f"{name} before 1970", **{name: -1})
            table.add(
                "future_time",
                f"{name} in an hour",
                lambda _r, _n, now, name=name: record(now, **{name: now + 3_600_000}),
            )
            table.add(
                "future_time",
                f"{name} in microseconds",
                lambda _r, _n, now, name=name: record(now, **{name: now * 1000}),
            )
        if kind == "text":
            _texts(table, name)


def _raw(record: dict[str, Any], name: str, digits: bytes) -> bytes:
    return text(record | {name: "@"}).replace(b'"@"', digits)


def _texts(table: _Table, name: str) -> None:
    changed = table.changed
    changed("mistyped_field", f"{name} a number", **{name: 7})
    changed("illegal_id", f"{name} empty", **{name: ""})
    changed("illegal_id", f"{name} of 200 characters", **{name: "n" * 200})
    record = table.record
    for what, escape in (("lone surrogate", b"\\ud800"), ("raw control character", b"\x01"), ("bad escape", b"\\x41")):
        table.add(
            "not_json",
            f"{name} with {what}",
            lambda _r, _n, now, escape=escape: _raw(record(now), name, b'"a' + escape + b'"'),
        )
    for what, raw in (("a raw surrogate", b"\xed\xa0\x80"), ("an overlong byte", b"\xc0\xaf"), ("half", b"\xe2\x82")):
        table.add(
            "not_utf8", f"{name} with {what}", lambda _r, _n, now, raw=raw: _raw(record(now), name, b'"a' + raw + b'"')
        )


def _ids(table: _Table, *names: str) -> None:
    """Names that may not be: what cannot be seen, and what the engine keeps for itself."""
    for name in names:
        for what in ("a\0", "a\n", " a", "a ", "a\u202eb", "a\u200bb", "\u00a0a", "\ue000"):
            table.changed("illegal_id", f"{name} {what!r}", **{name: what})
    for name in (name for name in names if "account" in name):
        for what in ("~house", "~", "~market:BTC-PERP", "~\u00fc"):
            table.changed("reserved_account", f"{name} {what!r}", **{name: what})


def _fills(table: _Table) -> None:
    table.topic, table.record = "fills", fill
    _bytes_of_any_topic(table)
    _fields(table, fill_id="text", account="text", instrument="text", quantity="number", price="number", time="time")
    _ids(table, "fill_id", "account")
    changed = table.changed
    table.add("unknown_instrument", "unknown instrument", lambda _r, n, now: fill(now, instrument=f"NONE-{n}"))
    changed("unknown_instrument", "an asset for an instrument", instrument="USDC")
    changed("closed_instrument", "opening of a closed one", instrument="OLD-PERP", kind="opening")
    changed("excess_decimals", "a tenth of a lot", quantity="0.0001")
    changed("excess_decimals", "a tenth of a tick", price="50000.01")
    changed("zero_quantity", "minus zero", quantity="-0.000")
    changed("over_range", "2**31 lots", quantity="2147483.648")
    changed("non_positive_price", "price 0", price="0")
    changed("non_positive_price", "price below 0", price="-50000")
    changed("product_over_range", "cash beyond 2**62", quantity="-2147483", price="50000000")
    changed("bad_value", "kind", kind="gift")
    changed("bad_value", "margin mode", margin_mode="both")
    changed("bad_liquidation_id", "liquidation id made up", liquidation_id="0-1-mallory-cross-liquidation\0")
    changed("bad_liquidation_id", "liquidation id of another", liquidation_id="0-1-alice-cross-liquidation")
    changed("bad_liquidation_id", "liquidation id without end", liquidation_id="9" * 10_000)
    table.add("not_json", "a long key", lambda *_: b"{", key=b"k" * 200_000, heavy=True)


def _collateral(table: _Table) -> None:
    table.topic, table.record = "collateral", move
    _bytes_of_any_topic(table)
    _fields(table, transfer_id="text", account="text", asset="text", amount="number", time="time")
    _ids(table, "transfer_id", "account")
    changed = table.changed
    for account in ("~fees", "~external"):
        changed("reserved_account", f"transfer to {account}", type="transfer", to_account=account)
    table.add("unknown_asset", "unknown asset", lambda _r, n, now: move(now, asset=f"COIN{n}"))
    table.add("unknown_instrument", "unknown bucket", lambda _r, n, now: move(now, bucket=f"NONE-{n}"))
    changed("closed_asset", "opening in a closed asset", asset="OLD", type="opening")
    changed("excess_decimals", "a tenth of a minor unit", amount="0.0000001")
    changed("over_range", "2**62 minor units", amount="4611686018427.387904")
    changed("non_positive_amount", "a negative deposit", amount="-5")
    changed("non_positive_amount", "an adjustment of nothing", type="adjustment", amount="0")
    changed("contradiction", "to itself", type="transfer", to_account="mallory")
    changed("contradiction", "a deposit to another", to_account="alice")
    changed("contradiction", "a conversion into itself", type="conversion", to_asset="USDC", to_amount="1")
    changed("missing_field", "a conversion into nothing", type="conversion")
    changed("bad_value", "type", type="loan")
    changed(
        "bad_liquidation_id", "liquidation id", type="conversion", to_asset="ETH", to_amount="1", liquidation_id="L1"
    )


def _funding(table: _Table) -> None:
    table.topic, table.record = "funding-rates", rate
    _bytes_of_any_topic(table)
    _fields(table, instrument="text", rate="number", time="time")
    changed = table.changed
    changed("unknown_instrument", "unknown instrument", instrument="NONE-1")
    changed("bad_value", "rate of a future", instrument="BTC-DEC")
    changed("over_range", "rate above 1", rate="1.000001")
    changed("excess_decimals", "13 decimals", rate="0.0000000000001")
    changed("non_positive_price", "mark price 0", mark_price="0")


def _accounts(table: _Table) -> None:
    def settings(_now: int, **changes: Any) -> dict[str, Any]:
        return {"account": "mallory", "mode": "cross"} | changes

    table.topic, table.record = "accounts", settings
    _bytes_of_any_topic(table)
    changed = table.changed
    # A compacted topic takes no message without a key: that much the broker itself refuses.
    for what, key in (("empty key", b""), ("key of another", b"alice"), ("key in noise", b"\xff\xfe")):
        code = "illegal_id" if key == b"" else "bad_key"
        table.add(code, what, lambda _r, _n, now: settings(now), key=key)
        if key != b"alice":
            table.add(code, f"tombstone, {what}", lambda *_: None, key=key)
    table.add("reserved_account", "tombstone of the house", lambda *_: None, key=b"~house")
    changed("reserved_account", "the house's settings", account="~house")
    changed("bad_value", "mode", mode="portfolio")
    changed("bad_value", "margin model", margin_model="secret")
    changed("mistyped_field", "levels a list", levels=[1])
    changed("not_finite", "level NaN", levels={"margin_call": "NaN"})
    changed("bad_terms", "level below 1", levels={"margin_call": "0.5"})
    changed("bad_terms", "exit below its level", levels={"margin_call": "1.5", "margin_call_exit": "1.4"})


def _instruments(table: _Table) -> None:
    def terms(_now: int, **changes: Any) -> dict[str, Any]:
        return BTC_PERP | {"id": "EVIL-PERP"} | changes

    table.topic, table.record = "instruments", terms
    _bytes_of_any_topic(table)
    changed = table.changed
    table.add("tombstone", "tombstone of what is not there", lambda *_: None, key=b"NOTHING")
    for what, key in (("empty key", b""), ("key of another", b"USDC"), ("key in noise", b"\xff\xfe")):
        table.add("bad_key", what, lambda _r, _n, now: terms(now), key=key)
    for name in ("type", "underlying", "settlement", "price_precision", "kind"):
        table.add("missing_field", f"no {name}", lambda _r, _n, now, name=name: without(terms(now), name))
    for name, value in (("price_precision", 2), ("multiplier", "10"), ("underlying", "ETH"), ("settlement", "ETH")):
        changed("identity_changed", f"{name} of BTC-PERP", id="BTC-PERP", **{name: value})
    table.add("identity_changed", "precision of USDC", lambda *_: USDC | {"precision": 2})
    table.add("identity_changed", "an instrument called USDC", lambda _r, _n, now: terms(now, id="USDC"))
    changed("bad_terms", "initial below maintenance", initial_margin="0.01")
    changed("bad_terms", "a margin rate above 1", initial_margin="1.01")
    changed("bad_terms", "tiers do not start at 0", tiers=[_tier("5")])
    changed("bad_terms", "tiers twice the same", tiers=[_tier("0"), _tier("0")])
    changed("bad_terms", "too many tiers", tiers=[_tier(str(n)) for n in range(101)])
    changed("bad_terms", "future without expiry", type="future")
    changed("bad_terms", "a lot worth less than a minor unit", multiplier="0.0000001")
    changed("bad_terms", "price precision 10", price_precision=10)
    changed("bad_terms", "an option with rates", type="option")
    changed("bad_value", "kind", kind="bond")
    changed("illegal_id", "called cross", id="cross")
    changed("illegal_id", "called ~x", id="~x")
    for name, fields in (("without keys", {"keys": []}), ("a key of zeros", {"keys": [_key("A" * 43 + "=")]})):
        table.add("bad_terms", f"a source {name}", lambda *_, fields=fields: SIGNED_SOURCE | fields)
    table.add(
        "identity_changed",
        "another key called k1",
        lambda *_: SIGNED_SOURCE | {"keys": [_key("//////////////////////////////////////////8=")]},
    )
    table.add("illegal_id", "a source without a name", lambda *_: SIGNED_SOURCE | {"id": "~source:"})
    for fields in ({"max_weight": "0"}, {"sources": {"a": {}}}, {"sources": {"a": {}, "b": {}}, "check_source": "a"}):
        table.add("bad_terms", f"rules with {fields}", lambda *_, fields=fields: SIGNED_ORACLE | fields)
    table.add("bad_value", "rules with a method", lambda *_: SIGNED_ORACLE | {"method": "mean"})
    table.add("bad_terms", "a window of nothing", lambda *_: {"kind": "engine", "id": "~engine", "duplicate_window": 0})
    table.add(
        "illegal_id",
        "a control without a name",
        lambda *_: {"kind": "control", "id": "~control:", "action": "pause_liquidations"},
    )


def _tier(start: str) -> dict[str, str]:
    return {"notional_from": start, "initial_margin": "0.1", "maintenance_margin": "0.05"}


def _key(public_key: str) -> dict[str, Any]:
    return {"id": "k1", "public_key": public_key, "valid_from": 0}


def _quotes(table: _Table) -> None:
    table.topic, table.record = "oracle-prices", quote
    _bytes_of_any_topic(table)
    _fields(table, symbol="text", source="text", price="number", time="time")
    _ids(table, "symbol", "source")
    changed = table.changed
    for what, key in (("no key", None), ("key of another", b"ETH"), ("key in noise", b"\xff\xfe")):
        table.add("bad_key", what, lambda _r, _n, now: quote(now), key=key)
    changed("non_positive_price", "price 0", price="0")
    changed("non_positive_price", "price below 0", price="-1")
    changed("over_range", "price 1e30", price="1e30")
    changed("over_range", "price 1e-30", price="1e-30")
    changed("over_range", "negative confidence", confidence="-1")
    changed("over_range", "negative sequence", sequence=-1)
    changed("contradiction", "stated in itself", quote_asset="BTC")
    changed("contradiction", "funding of a symbol", funding_rate="0.0001", next_funding_time=0)
    changed("contradiction", "another symbol's instrument", instrument="ETH-INV")
    changed("unknown_instrument", "unknown instrument", instrument="NONE-1")
    changed("over_range", "funding above 1", instrument="BTC-PERP", funding_rate="1.1", next_funding_time=0)
    _signatures(table)


def _volatilities(table: _Table) -> None:
    table.topic, table.record = "volatilities", surface
    _bytes_of_any_topic(table)
    _fields(table, source="text", time="time")
    _ids(table, "underlying", "source")
    add, key = table.add, b"BTC"
    for what, wrong in (("key of another", b"ETH"), ("key in noise", b"\xff\xfe")):
        add("bad_key", what, lambda _r, _n, now: surface(now), key=wrong)
    add("contradiction", "of nothing", lambda _r, _n, now: surface(now, underlying=None), key=key)
    add("contradiction", "of two", lambda _r, _n, now: surface(now, instrument="BTC-PERP"), key=key)
    add("bad_value", "without smiles", lambda _r, _n, now: surface(now, smiles=[]))
    add("bad_value", "expired", lambda _r, _n, now: surface(now, smile(now, expiry=now - 1)))
    add("bad_value", "an expiry twice", lambda _r, _n, now: surface(now, smile(now), smile(now)))
    add("missing_field", "a forward without index", lambda _r, _n, now: surface(now, smile(now, forward="50000")))
    add("not_finite", "a volatility NaN", lambda _r, _n, now: surface(now, smile(now, "NaN")))
    add("over_range", "a volatility of 20,000 %", lambda _r, _n, now: surface(now, smile(now, "200")))
    add("arbitrage", "a butterfly that wins", lambda _r, _n, now: surface(now, smile(now, "5")))
    own = {"instrument": "BTC-PERP", "underlying": None, "smiles": [], "volatility": "0.5"}
    add("bad_value", "of a perpetual", lambda _r, _n, now: surface(now) | own, key=b"BTC-PERP")


def _signatures(table: _Table) -> None:
    """Quotes of source two, who signs, and of a symbol that takes signed quotes alone."""
    stranger = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)

    def add(code: str, name: str, **changes: Any) -> None:
        table.add(code, name, lambda _r, _n, now: signed(now, **changes))

    add("unsigned", "no signature", key_id=None, signature=None)
    add("missing_field", "signature without its key", key_id=None)
    add("unknown_key", "a key that nobody published", key_id="k9")
    add("unknown_key", "a key that has ended", key_id="k0")
    add("bad_signature", "another's signature", key=stranger)
    for name, value in (("price", "2"), ("confidence", "1"), ("sequence", 1), ("time", 1_760_130_900_000)):
        add("bad_signature", f"{name} changed", **{name: value})
    add("bad_signature", "a signature cut short", signature="c2hvcnQ=")
    add("bad_signature", "no base64", signature="\u00e9" * 88)
    table.changed("unsigned", "of a symbol that asks for one", symbol="VAULT")


def kinds() -> list[Kind]:
    """Every kind that ingest or the oracle refuses."""
    table = _Table()
    for add in (_fills, _collateral, _funding, _accounts, _instruments, _quotes, _volatilities):
        add(table)
    return table.kinds
