"""Bad messages: each becomes one dead letter with the right reason, and the good ones around it go on."""

import hashlib
import time

import pytest

from schemas.dead_letters import REASONS
from schemas.journal import liquidation_id
from schemas.sharding import shard_of
from tests import ingest_samples as samples
from tests.ingest_samples import BYTES_MAX, DEPOSIT, FILL, FUNDING, NOW_MS, SETTINGS, SHARDS, partition, take

ALICE = shard_of("alice", SHARDS)
TRANSFER = {**DEPOSIT, "type": "transfer", "to_account": "bob"}
CONVERSION = {**DEPOSIT, "type": "conversion", "to_asset": "ETH", "to_amount": "0.5"}


def fill(**changes):
    return {**FILL, **changes}


def deposit(**changes):
    return {**DEPOSIT, **changes}


def without(record, field):
    return {name: value for name, value in record.items() if name != field}


HOSTILE = [
    # code, topic, message, what the reason says
    ("tombstone", "fills", None, "must not be null on a topic that is not compacted"),
    ("tombstone", "collateral", None, "must not be null on a topic that is not compacted"),
    ("over_size", "fills", b"{" + b" " * BYTES_MAX, "at most 262144 bytes, found 262145"),
    ("not_utf8", "fills", b'{"fill_id": "\xfe\xff"}', "must be UTF-8, found byte 0xfe at 13"),
    ("not_utf8", "fills", b'{"a": "\xc3\x28"}', "must be UTF-8"),
    ("not_json", "fills", b"", "must be JSON"),
    ("not_json", "fills", b"fill t1 alice", "must be JSON, found 'fill t1 alice'"),
    ("not_json", "fills", b'{"fill_id": "t1", }', "must be JSON"),
    ("not_json", "fills", b"\x00\x01\x02", "must be JSON"),
    ("not_object", "fills", b"[1, 2]", "must be a JSON object"),
    ("not_object", "fills", b'"t1"', "must be a JSON object"),
    ("not_object", "fills", b"17", "must be a JSON object"),
    ("not_json", "fills", b"[1, 2", "must be JSON"),
    ("nested_too_deep", "fills", b"[" * 1000, "nested"),
    ("nested_too_deep", "fills", b'{"a":' + b"[" * 100_000, "nested"),
    ("nested_too_deep", "fills", b'{"quantity":' + b'{"a":' * 50_000, "nested"),
    ("missing_field", "fills", without(FILL, "account"), "account must be given"),
    ("missing_field", "fills", without(FILL, "quantity"), "quantity must be given"),
    ("missing_field", "collateral", without(DEPOSIT, "amount"), "amount must be given"),
    ("missing_field", "collateral", {**CONVERSION, "to_amount": None}, "to_amount must be given"),
    ("mistyped_field", "fills", fill(account=7), "account must be a string, found 7"),
    ("mistyped_field", "fills", fill(quantity="much"), "quantity must be a decimal number, found 'much'"),
    ("mistyped_field", "fills", fill(quantity=None), "quantity must be a decimal number, found null"),
    ("mistyped_field", "fills", fill(quantity=True), "found true"),
    ("mistyped_field", "fills", fill(price=[50010]), "price must be a decimal number, found an array"),
    ("mistyped_field", "fills", fill(price={"v": 1}), "found an object"),
    ("mistyped_field", "fills", fill(fee=""), "fee must be a decimal number, found ''"),
    ("mistyped_field", "fills", fill(time="yesterday"), "time must be epoch milliseconds or RFC 3339"),
    ("mistyped_field", "fills", fill(time=1.5), "time must be epoch milliseconds or an RFC 3339 string"),
    ("mistyped_field", "fills", fill(kind=3), "kind must be a string, found 3"),
    ("bad_value", "fills", fill(kind="gift"), "kind must be a value the field may have, found 'gift'"),
    ("bad_value", "fills", fill(margin_mode="both"), "margin_mode must be"),
    ("bad_value", "collateral", deposit(type="loan"), "type must be"),
    ("bad_value", "funding-rates", {**FUNDING, "instrument": "BTC-DEC"}, "instrument must be a perpetual"),
    ("not_finite", "fills", fill(price="NaN"), "price must be finite, found 'NaN'"),
    ("not_finite", "fills", fill(price="-Infinity"), "price must be finite"),
    ("not_finite", "fills", fill(fee=float("nan")), "fee must be finite, found NaN"),
    ("not_finite", "fills", fill(quantity=float("inf")), "quantity must be finite, found Infinity"),
    ("excess_decimals", "fills", fill(quantity="0.0001"), "quantity must have at most 3 decimals, found '0.0001'"),
    ("excess_decimals", "fills", fill(price="50010.05"), "price must have at most 1 decimals"),
    ("excess_decimals", "fills", fill(fee="0.0000001"), "fee must have at most 6 decimals"),
    ("excess_decimals", "collateral", deposit(amount=0.1234567), "amount must have at most 6 decimals"),
    ("excess_decimals", "funding-rates", {**FUNDING, "rate": "0.0000000000001"}, "rate must have at most 12"),
    ("over_range", "fills", fill(quantity="2147483.648"), "quantity must be below 2**31 lots"),
    ("over_range", "fills", fill(price="1e999999999"), "price must be 0 or between"),
    ("over_range", "fills", fill(price="1e-999999999"), "price must be 0 or between"),
    (
        "over_range",
        "fills",
        b'{"quantity": 1e999999999,' + samples.encoded(FILL)[1:-1] + b', "price": 1e99999}',
        "price",
    ),
    ("over_range", "fills", fill(price="9" * 10_000), "at most 64 characters, found '999"),
    ("over_range", "fills", fill(quantity=10**50), "a number of more than 40 digits"),
    ("over_range", "fills", b'{"price": ' + b"9" * 100_000 + b"}", "price must have at most 40 digits"),
    ("over_range", "fills", fill(price="1" + "0" * 30), "price must be below 2**62 ticks"),
    (
        "over_range",  # one lot of it is worth 10**(8-9-2) / ticks
        "fills",
        fill(instrument="FINE-INV", quantity="1", price="5000000000000000"),
        "price must be below 2**62 / 1000 ticks, found '5000000000000000'",
    ),
    ("over_range", "collateral", deposit(amount=10**13), "amount must be below 2**62 minor units of 'USDC'"),
    ("over_range", "funding-rates", {**FUNDING, "rate": "1.5"}, "rate must be -1 to 1, found '1.5'"),
    ("product_over_range", "fills", fill(quantity="2147483", price="50000000"), "quantity x price must be below"),
    ("product_over_range", "fills", fill(quantity="-2147483", price="50000000"), "quantity x price must be below"),
    (
        "product_over_range",  # coins of an inverse fill: 2**31 lots x 10**9 x 10**9 / ticks
        "fills",
        fill(instrument="BIG-INV", quantity="2147483647", price="50000"),
        "minor units of 'ETH'",
    ),
    ("over_range", "collateral", deposit(amount=-(10**13), type="adjustment"), "amount must be below 2**62"),
    ("unknown_instrument", "fills", fill(instrument="BTC-SWAP"), "must be a published instrument, found 'BTC-SWAP'"),
    ("unknown_instrument", "fills", fill(instrument="USDC"), "must be a published instrument, found 'USDC'"),
    ("unknown_instrument", "collateral", deposit(bucket="Cross"), "bucket must be a published instrument"),
    ("unknown_instrument", "funding-rates", {**FUNDING, "instrument": "X"}, "found 'X'"),
    ("unknown_asset", "collateral", deposit(asset="DOGE"), "asset must be a published asset, found 'DOGE'"),
    ("unknown_asset", "collateral", {**CONVERSION, "to_asset": "BTC-PERP"}, "to_asset must be a published asset"),
    ("closed_instrument", "fills", fill(instrument="OLD-PERP", kind="opening"), "found 'OLD-PERP' closed"),
    ("closed_asset", "collateral", deposit(asset="OLD", type="opening"), "found 'OLD' closed"),
    ("zero_quantity", "fills", fill(quantity="-0.000"), "quantity must not be 0"),
    ("non_positive_price", "fills", fill(price="0"), "price must be above 0, found '0'"),
    ("non_positive_price", "fills", fill(price="-1"), "price must be above 0"),
    ("non_positive_price", "funding-rates", {**FUNDING, "mark_price": "0"}, "mark_price must be above 0"),
    ("non_positive_amount", "collateral", deposit(amount="-5"), "amount must be above 0, found '-5'"),
    ("non_positive_amount", "collateral", deposit(amount="0", type="adjustment"), "amount must not be 0"),
    ("non_positive_amount", "collateral", {**CONVERSION, "to_amount": "-1"}, "to_amount must be above 0"),
    ("illegal_id", "fills", fill(account=""), "account must be at least 1 characters"),
    ("illegal_id", "fills", fill(account="a" * 129), "account must be at most 128 characters"),
    ("illegal_id", "fills", fill(account="alice\x00"), "account must be 1 to 128 visible characters"),
    ("illegal_id", "fills", fill(fill_id="t1\n"), "fill_id must be 1 to 128 visible characters"),
    ("illegal_id", "fills", fill(account="alice\u202e"), "account must be 1 to 128 visible characters"),
    ("illegal_id", "collateral", {**TRANSFER, "to_account": " bob"}, "to_account must be"),
    ("reserved_account", "fills", fill(account="~house"), "account must not begin with ~, found '~house'"),
    ("reserved_account", "collateral", {**TRANSFER, "to_account": "~fees"}, "to_account must not begin with ~"),
    ("future_time", "fills", fill(time=NOW_MS + 60_001), "time must be at most"),
    ("future_time", "fills", fill(time=NOW_MS * 1000), "time must be at most"),
    ("future_time", "collateral", deposit(time="2999-01-01T00:00:00Z"), "time must be at most"),
    ("bad_time", "fills", fill(time=-1), "time must not be before 1970, found -1"),
    ("contradiction", "collateral", {**TRANSFER, "to_account": "alice"}, "must differ from account and bucket"),
    ("contradiction", "collateral", {**TRANSFER, "to_account": None}, "must differ from account and bucket"),
    ("contradiction", "collateral", deposit(to_account="bob"), "to_account must be left out of a deposit"),
    ("contradiction", "collateral", deposit(to_bucket="BTC-PERP"), "to_bucket must be left out of a deposit"),
    ("contradiction", "collateral", deposit(to_amount="1"), "to_amount must be left out of a deposit"),
    ("contradiction", "collateral", {**CONVERSION, "to_asset": "USDC"}, "to_asset of a conversion must differ"),
    (
        "contradiction",
        "collateral",
        deposit(liquidation_id="0-1-alice-cross-liquidation"),
        "liquidation_id must be left",
    ),
    ("bad_liquidation_id", "fills", fill(liquidation_id="L1"), "issued for account 'alice', bucket 'cross'"),
    (
        "bad_liquidation_id",
        "fills",
        fill(liquidation_id=liquidation_id((ALICE + 1) % SHARDS, 5, "alice", "cross", "liquidation")),
        f"shard {ALICE}, found",
    ),
    (
        "bad_liquidation_id",
        "fills",
        fill(liquidation_id=liquidation_id(ALICE, 5, "bob", "cross", "liquidation")),
        "account 'alice'",
    ),
    (
        "bad_liquidation_id",
        "fills",
        fill(liquidation_id=liquidation_id(ALICE, 5, "alice", "BTC-PERP", "liquidation")),
        "bucket 'cross'",
    ),
    (
        "bad_liquidation_id",
        "fills",
        fill(liquidation_id=liquidation_id(ALICE, 5, "alice", "cross", "bankrupt")),
        "liquidation_id must be one issued",
    ),
    ("bad_key", "accounts", SETTINGS, "key must be UTF-8 text, found null"),
]


@pytest.mark.parametrize(("code", "topic", "message", "reason"), HOSTILE)
def test_hostile_messages(code, topic, message, reason):
    """A reason that misleads, or a good neighbour lost, costs a customer's books."""
    good = {"fills": FILL, "collateral": DEPOSIT, "funding-rates": FUNDING, "accounts": None}[topic]
    around = [good] if good else []
    begun = time.perf_counter()
    result = take(topic, *around, message, *around)
    assert time.perf_counter() - begun < 1.0
    letters = [letter for letter in result.dead_letters if topic != "accounts" or letter.value]
    assert [letter.code for letter in letters] == [code]
    assert reason in letters[0].reason
    assert "\n" not in letters[0].reason
    accepted = {row["source_offset"] for _, block in result.blocks for row in samples.rows(block)}
    assert accepted == ({100, 102} if good else set())


def test_every_code_of_ingest_has_an_example():
    """A code without an example may be one that no message can have."""
    elsewhere = {
        "arbitrage",
        "bad_terms",
        "identity_changed",
        "ledger_range",
        "model_refused",
        "unsigned",
        "unknown_key",
        "bad_signature",
    }
    assert {code for code, *_ in HOSTILE} == REASONS.keys() - elsewhere


def test_an_over_size_message_keeps_its_start():
    """The first 64 KiB tell whose it is; length and hash tell it from others."""
    value = samples.encoded({**FILL, "note": "x" * BYTES_MAX})
    (letter,) = partition("fills").take([(7, b"k", value, 5)], samples.all_terms(), NOW_MS).dead_letters
    headers = {name: text.decode() for name, text in letter.headers}
    assert letter.value == value[:65536]
    assert headers["value_length"] == str(len(value))
    assert headers["value_sha256"] == hashlib.sha256(value).hexdigest()
    assert headers["source_topic"] == "prod.fills"
    assert (headers["source_partition"], headers["source_offset"], headers["source_timestamp"]) == ("2", "7", "5")


def test_an_over_size_key_is_cut_too():
    """A dead letter that Kafka refuses for its size would stop the stream."""
    key = b"k" * 100_000
    (letter,) = partition("fills").take([(7, key, b"[]", 5)], samples.all_terms(), NOW_MS).dead_letters
    headers = dict(letter.headers)
    assert letter.key == key[:65536]
    assert headers["key_sha256"] == hashlib.sha256(key).hexdigest().encode()


def test_reasons_are_short():
    """Kafka headers have a limit, and people have patience."""
    (letter,) = take("fills", fill(account="\U0001f600" * 1000 + "\x00")).dead_letters
    assert len(letter.reason) <= 500
