"""Records from bytes and back."""

import json
from decimal import Decimal

import msgspec
import pytest

from schemas.codec import Reader, decode, encode
from schemas.collateral import Transfer
from schemas.dead_letters import Refused, dead_letter
from schemas.export import record_types
from schemas.fields import exact
from schemas.fills import Fill
from schemas.instruments import Asset, Instrument, TermsMessage
from schemas.liquidation import LiquidationCleared, LiquidationEvent
from schemas.margin import AccountReport, JournalPlace, Order
from schemas.oracle_terms import OracleRules
from schemas.prices import Quote
from tests.ingest_samples import BTC_PERP, DEPOSIT, ETH, FILL, QUOTE

DIGITS = "123456789012345678901234567890.123456789"


@pytest.mark.parametrize("price", [f'"{DIGITS}"', DIGITS], ids=["string", "number"])
def test_no_digit_is_lost(price):
    """A price that went through a float is another price."""
    quote = decode(Quote, b'{"symbol": "BTC", "source": "a", "time": 0, "price": %s}' % price.encode())
    assert exact(quote.price, "price") == Decimal(DIGITS)


def test_decode_gives_the_record_itself():
    """A record read back must equal the one that was meant."""
    assert decode(Fill, encode(FILL)) == Fill(**FILL)


def test_unknown_fields_are_ignored_and_counted():
    """A producer that adds a field must not stop the market, nor pass unseen."""
    reader = Reader(Fill)
    reader.read(encode(FILL))
    assert reader.unknown_fields == 0
    assert reader.read(encode({**FILL, "venue": {"a": [1]}, "note": "x"})).fill_id == "t1"
    assert reader.unknown_fields == 2
    reader.read(encode({**FILL, "venue": "a", "account": "mañana"}))
    assert reader.unknown_fields == 3
    reader.read(encode(FILL))
    assert reader.unknown_fields == 3


def test_unknown_fields_are_counted_at_any_depth():
    """A mistyped name of a level or tier would otherwise silently leave the default in force."""
    reader: Reader[Instrument] = Reader(TermsMessage)  # type: ignore[arg-type]
    tier = {"notional_from": "0", "initial_margin": "0.1", "maintenance_margin": "0.05"}
    reader.read(encode({**BTC_PERP, "tiers": [tier, {**tier, "cap": 1}], "lot": "1"}))
    assert reader.unknown_fields == 2


def test_new_fields_have_defaults():
    """A producer written before a field was added stays valid: only these were asked for from the start."""
    required = {
        name: {field.name for field in msgspec.structs.fields(kind) if field.required}
        for name, kind in record_types().items()
    }
    assert required["fills"] == {"fill_id", "account", "instrument", "quantity", "price", "time"}
    assert required["collateral"] == {"transfer_id", "type", "account", "asset", "amount", "time"}
    assert required["oracle-prices"] == {"symbol", "source", "price", "time"}
    assert required["funding-rates"] == {"instrument", "rate", "time"}
    assert required["accounts"] == {"account"}
    assert required["instruments.Asset"] == {"id", "precision"}
    assert required["instruments.Control"] == {"id", "action"}
    assert required["instruments.EngineRules"] == set()
    assert required["instruments.Instrument"] == {
        "id",
        "type",
        "underlying",
        "settlement",
        "price_precision",
        "quantity_precision",
    }


@pytest.mark.parametrize(
    ("code", "data", "reason"),
    [
        ("not_utf8", b'{"fill_id": "\xff"}', "the value must be UTF-8, found byte 0xff at 13"),
        ("not_json", b"", "the value must be JSON, found ''"),
        ("not_json", b"{", "the value must be JSON, found '{'"),
        ("not_json", b'{"fill_id": "t1"} {}', "trailing characters"),
        ("not_json", b'{"fill_id": "\\ud800"}', "the value must be JSON"),
        ("not_json", b"\xef\xbb\xbf{}", "the value must be JSON"),
        ("not_json", b'{"fill_id": 5, "account": nul}', "the value must be JSON"),
        ("not_object", b"[]", r"found '\[\]'"),
        ("not_object", b"null", "found 'null'"),
        ("not_object", b'"x"', "found"),
        ("not_finite", b'{"fill_id": "t1", "price": NaN}', "price must be finite, found NaN"),
        ("not_finite", b'{"price": -Infinity}', "price must be finite, found -Infinity"),
        ("nested_too_deep", b'{"quantity": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested"),
        ("nested_too_deep", b'{"new": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}", "nested"),
        ("missing_field", b"{}", "fill_id must be given"),
        ("mistyped_field", b'{"fill_id": 5}', "fill_id must be a string, found 5"),
        ("mistyped_field", b'{"fill_id": null}', "fill_id must be a string, found null"),
        ("illegal_id", b'{"fill_id": ""}', "fill_id must be at least 1 characters, found ''"),
        ("illegal_id", b'{"fill_id": "%s"}' % (b"x" * 200), r"at most 128 characters, found 'xxx.*\(200 characters\)"),
        ("mistyped_field", b'{"time": 1.5}', "time must be epoch milliseconds or an RFC 3339 string, found '1.5'"),
        ("mistyped_field", b'{"time": true}', "found true"),
        ("over_range", b'{"time": ' + b"9" * 5000 + b"}", "time must have at most 40 digits"),
        ("over_range", b'{"price": ' + b"9" * 5000 + b"}", "price must have at most 40 digits"),
        ("bad_value", b'{"kind": "gift"}', "kind must be a value the field may have, found 'gift'"),
        ("mistyped_field", b'{"kind": 7}', "kind must be a string, found 7"),
    ],
)
def test_bad_bytes_have_a_code_and_a_reason(code, data, reason):
    """Whoever sent it must be able to mend it from the reason alone."""
    with pytest.raises(Refused, match=reason) as refused:
        Reader(Fill).read(data)
    assert refused.value.code == code
    assert "\n" not in refused.value.reason


def test_the_last_of_two_equal_keys_holds():
    """JSON leaves it open; all our readers must agree."""
    assert decode(Transfer, encode(DEPOSIT)[:-1] + b', "amount": "7"}').amount == "7"


def test_numbers_are_checked_by_decode():
    """A consumer must not get a number that is none."""
    with pytest.raises(Refused, match=r"haircut_tiers\[0\].haircut must be a decimal number, found 'much'"):
        decode(Asset, encode({**ETH, "haircut_tiers": [{"from": "0", "haircut": "much"}]}))
    with pytest.raises(Refused, match=r"sources.a.weight must be a decimal number, found 'much'"):
        decode(OracleRules, encode({"id": "~oracle", "kind": "oracle", "sources": {"a": {"weight": "much"}}}))
    with pytest.raises(Refused, match="price must be a decimal number, found null"):
        decode(Quote, encode({**QUOTE, "price": None}))
    assert decode(Asset, encode({**ETH, "initial_haircut": None})).initial_haircut is None


def _cleared() -> LiquidationCleared:
    amounts = dict.fromkeys(
        ("equity", "adjusted_equity", "initial_equity", "initial_margin", "maintenance_margin", "free_margin"), "1"
    )
    return LiquidationCleared(
        id="3-7-alice-cross-liquidation_cleared",
        account="alice",
        bucket="cross",
        replaces=None,
        report=AccountReport(account="alice", status="ok", margin_ratio=None, **amounts),
        marks={},
        journal=JournalPlace(partition=3, offset=7),
        time=0,
    )


def test_outputs_round_trip_with_sorted_keys():
    """Byte comparison of two runs rests on one order of keys."""
    data = encode(_cleared())
    keys = list(json.loads(data))
    assert keys == sorted(keys)
    assert json.loads(data)["kind"] == "liquidation_cleared"
    assert decode(LiquidationEvent, data) == _cleared()


def test_orders_leave_out_what_they_do_not_have():
    """A conversion with a null instrument reads like a mistake."""
    order = Order(sell_asset="ETH", amount="1", buy_asset="USDC", limit_price="1900")
    assert set(json.loads(encode(order))) == {"sell_asset", "amount", "buy_asset", "limit_price"}


def test_encode_refuses_what_json_cannot_say():
    """orjson writes NaN as null, and null means something else."""
    with pytest.raises(ValueError, match=r"\$\.a\[1\]\.b must be finite, found nan"):
        encode({"a": [1, {"b": float("nan")}]})


def test_output_records_hold_no_floats():
    """Only then need `encode` not look for NaN in records."""
    for kind in record_types().values():
        assert not any(field.type is float for field in msgspec.structs.fields(kind)), kind


def test_records_are_frozen():
    """A record that changes after it was checked was not checked."""
    for kind in record_types().values():
        assert kind.__struct_config__.frozen, kind


def test_a_dead_letter_keeps_the_original_and_its_place():
    """Without the bytes and the place nobody can send it again."""
    letter = dead_letter(
        Refused("zero_quantity", "quantity must not be 0, found '0'"),
        topic="prod.fills",
        partition=2,
        offset=101,
        timestamp=5,
        key=b"k",
        value=b"{}",
        value_bytes_max=10,
    )
    assert (letter.key, letter.value) == (b"k", b"{}")
    assert dict(letter.headers) == {
        "source_topic": b"prod.fills",
        "source_partition": b"2",
        "source_offset": b"101",
        "source_timestamp": b"5",
        "reason_code": b"zero_quantity",
        "reason": b"quantity must not be 0, found '0'",
    }
