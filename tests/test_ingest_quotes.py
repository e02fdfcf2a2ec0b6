"""Quotes as they come in: what is refused and why, and whose word is taken for a price."""

import json
from decimal import Decimal

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.prices import Quote
from schemas.signatures import public_key_text, sign
from streams.ingest.quotes import QuotePartition, QuoteResult
from streams.oracle.quotes import Quote as HeldQuote
from streams.oracle.quotes import refusal
from tests.ingest_samples import BTC_PERP, BYTES_MAX, ETH, NOW_MS, QUOTE, USDC, encoded, published
from tests.tables import Row, rows

KEYS = {name: Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number, name in enumerate(("k1", "k2"))}
STRANGER = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
TERMS = (USDC, ETH, BTC_PERP, {**BTC_PERP, "id": "ETH-PERP", "underlying": "ETH"})
OF_INSTRUMENT = {
    **QUOTE,
    "instrument": "BTC-PERP",
    "quote_asset": "USDT",
    "last": "50011.5",
    "funding_rate": "-0.0001",
    "next_funding_time": NOW_MS + 60_000,
    "funding_interval_ms": 3_600_000,
}


def key(id, valid_from=0, valid_until=None):
    public_key = public_key_text(KEYS[id])
    return {"id": id, "public_key": public_key, "valid_from": valid_from, "valid_until": valid_until}


def source(*keys, **fields):
    return {"id": "~source:binance", "kind": "source", "keys": keys} | fields


def signed(record, id="k1", private_key=None):
    """The record with a signature by the key of that id, or by another that is called so."""
    quote = sign(msgspec.convert(record, Quote), key_id=id, private_key=private_key or KEYS[id])
    return record | {"key_id": quote.key_id, "signature": quote.signature}


def take(*records, terms=None, final=True):
    """What a fresh partition makes of quotes whose message key is their symbol."""
    reader = QuotePartition(topic="quotes", partition=0, message_bytes_max=BYTES_MAX, max_future_ms=60_000)
    messages = [(offset, b"BTC", encoded(record), 0) for offset, record in enumerate(records)]
    return reader.take(messages, terms or published(*TERMS), NOW_MS, final=final)


def codes(result):
    return [letter.code for letter in result.dead_letters]


def changed(**fields):
    return QUOTE | fields


def of_instrument(**fields):
    return OF_INSTRUMENT | fields


def test_what_the_oracle_gets():
    """The oracle reads a row by place: a field out of place would be another number."""
    (row,) = take(OF_INSTRUMENT).rows
    assert HeldQuote(*row)._asdict() == {
        "symbol": "BTC",
        "source": "binance",
        "price": 50000.1,
        "confidence": 2.5,
        "time": NOW_MS,
        "sequence": 7,
        "quote_asset": "USDT",
        "instrument": "BTC-PERP",
        "last": 50011.5,
        "funding_rate": -0.0001,
        "next_funding_time": NOW_MS + 60_000,
        "funding_interval_ms": 3_600_000,
    }
    (row,) = take(QUOTE).rows
    assert HeldQuote(*row) == HeldQuote("BTC", "binance", 50000.1, 2.5, NOW_MS, 7)


REFUSED = [
    ("illegal_id", changed(quote_asset=" USDT"), "quote_asset must be 1 to 64 visible characters"),
    ("contradiction", changed(quote_asset="BTC"), "quote_asset must be another symbol than 'BTC', found the same"),
    ("contradiction", changed(last="1"), "last must be left out where instrument is null, found it given"),
    ("contradiction", changed(funding_rate="0"), "funding_rate must be left out where instrument is null"),
    ("contradiction", changed(next_funding_time=NOW_MS), "next_funding_time must be left out where instrument is null"),
    ("contradiction", changed(funding_interval_ms=1), "funding_interval_ms must be left out where instrument is null"),
    ("unknown_instrument", of_instrument(instrument="X"), "instrument must be a published instrument, found 'X'"),
    ("unknown_instrument", of_instrument(instrument="USDC"), "instrument must be a published instrument, found 'USDC'"),
    (
        "contradiction",
        of_instrument(instrument="ETH-PERP"),
        "symbol must be the underlying 'ETH' of 'ETH-PERP', found 'BTC'",
    ),
    ("non_positive_price", of_instrument(last="0"), "last must be above 0, found '0'"),
    ("over_range", of_instrument(last="1e30"), "last must be between 1e-18 and 1e18, found '1e30'"),
    ("not_finite", of_instrument(last="NaN"), "last must be finite"),
    ("over_range", of_instrument(funding_rate="1.01"), "funding_rate must be -1 to 1, found '1.01'"),
    ("over_range", of_instrument(funding_rate="-1.01"), "funding_rate must be -1 to 1, found '-1.01'"),
    ("mistyped_field", of_instrument(funding_rate="x"), "funding_rate must be a decimal number, found 'x'"),
    ("missing_field", of_instrument(funding_rate=None), "funding_rate must be given, as rate and time of funding go"),
    ("missing_field", of_instrument(next_funding_time=None), "next_funding_time must be given, as rate and time of"),
    ("bad_time", of_instrument(next_funding_time=-1), "next_funding_time must not be before 1970"),
    (
        "contradiction",
        of_instrument(next_funding_time=NOW_MS + 7_200_001),
        f"next_funding_time must be at most {NOW_MS + 7_200_000}, two intervals on, found {NOW_MS + 7_200_001}",
    ),
    ("over_range", of_instrument(funding_interval_ms=59_999), "funding_interval_ms must be a minute to a week"),
    ("over_range", of_instrument(funding_interval_ms=604_800_001), "funding_interval_ms must be a minute to a week"),
    ("mistyped_field", of_instrument(funding_interval_ms="8h"), "funding_interval_ms must be an integer, found '8h'"),
    ("missing_field", changed(key_id="k1"), "signature must be given, as key_id and signature go together"),
    ("missing_field", changed(signature="x"), "key_id must be given, as key_id and signature go together"),
]


@pytest.mark.parametrize(("code", "record", "reason"), REFUSED)
def test_refused_quotes(code, record, reason):
    """A price taken for what it isn't moves everybody's margin; and a good one beside it must not go with it."""
    result = take(QUOTE, record, QUOTE)
    assert codes(result) == [code]
    assert reason in result.dead_letters[0].reason
    assert dict(result.dead_letters[0].headers)["source_offset"] == b"1"
    assert len(result.rows) == 2


@pytest.mark.parametrize(
    "record",
    [
        changed(quote_asset="USDT"),
        of_instrument(next_funding_time=NOW_MS + 7_200_000),
        of_instrument(next_funding_time=0),
        of_instrument(funding_rate="1", funding_interval_ms=60_000),
        of_instrument(funding_rate=None, next_funding_time=None, funding_interval_ms=604_800_000),
        of_instrument(last=None),
        of_instrument(quote_asset=None),
    ],
)
def test_quotes_at_the_edge(record):
    """A quote refused without need is a source lost."""
    assert codes(take(record)) == []


WHO = """
case                                             | source    | rules    | quote     | found
nothing published, unsigned                      |           |          | unsigned  |
nothing published, signed                        |           |          | stranger  |
symbol takes anything, unsigned                  |           | open     | unsigned  |
symbol asks, unsigned                            |           | closed   | unsigned  | unsigned
symbol asks, signed, source not published        |           | closed   | good      | unsigned
symbol asks, source may                          | may       | closed   | unsigned  | unsigned
symbol asks, source may and does                 | may       | closed   | good      |
symbol asks, source must and does                | must      | closed   | good      |
source must, unsigned                            | must      |          | unsigned  | unsigned
source must, unsigned, symbol takes anything     | must      | open     | unsigned  | unsigned
source must and does                             | must      |          | good      |
source must, by a stranger                       | must      |          | stranger  | bad_signature
source must, of another quote                    | must      |          | other     | bad_signature
source must, no signature at all                 | must      |          | junk      | bad_signature
source must, key of another id                   | must      |          | k2        | unknown_key
source may, unsigned                             | may       |          | unsigned  |
source may and does                              | may       |          | good      |
source may, by a stranger                        | may       |          | stranger  | bad_signature
source may, without keys, signed                 | keyless   |          | good      | unknown_key
another source must                              | other     |          | unsigned  |
forgotten source, unsigned                       | forgotten |          | unsigned  |
forgotten source, symbol asks, signed            | forgotten | closed   | good      | unsigned
"""
SOURCES = {
    None: [],
    "may": [source(key("k1"), signed=False)],
    "must": [source(key("k1"))],
    "keyless": [source(signed=False)],
    "other": [source(key("k1"), id="~source:kraken")],
    "forgotten": [source(key("k1")), {"id": "~source:binance"}],
}
RULES = {
    None: [],
    "open": [{"id": "~oracle", "kind": "oracle"}],
    "closed": [{"id": "~oracle:BTC", "kind": "oracle", "unsigned_sources": False}],
}
QUOTES = {
    "unsigned": QUOTE,
    "good": signed(QUOTE),
    "stranger": signed(QUOTE, private_key=STRANGER),
    "other": signed(QUOTE) | {"price": "50000.2"},
    "junk": QUOTE | {"key_id": "k1", "signature": "c2lnbmVk"},
    "k2": signed(QUOTE, "k2"),
}


def table(*records):
    """Terms with these records; one that is an id alone is a tombstone."""
    terms = published(*TERMS)
    for record in records:
        value = None if record.keys() == {"id"} else encoded(record)
        terms.add(terms.next_offset, record["id"].encode(), value)
    return terms


@pytest.mark.parametrize("row", rows(WHO))
def test_whose_word_is_taken(row: Row):
    """Where a stranger's quote is taken, whoever may write to the topic liquidates whom he likes."""
    terms = table(*SOURCES[row["source"]], *RULES[row["rules"]])
    result = take(QUOTES[row["quote"]], terms=terms)
    assert codes(result) == ([row["found"]] if row["found"] else [])
    assert len(result.rows) == (0 if row["found"] else 1)


REASONS_SAID = {
    "unsigned": "a quote of 'binance' must be signed by a published source, found no signature",
    "k2": "key_id must be a key of 'binance', found 'k2'",
    "stranger": "signature must be that of key 'k1' of 'binance', found another",
}


@pytest.mark.parametrize("name", REASONS_SAID)
def test_reasons_name_source_and_key(name):
    """The publisher must find his fault in the dead letter alone."""
    assert take(QUOTES[name], terms=table(source(key("k1")))).dead_letters[0].reason == REASONS_SAID[name]


# Moments are in ms after the time of the quote.
ROTATION = """
case                              | k1 from | k1 until | k2 from | signed by | found
only key, its first moment        | 0       |          |         | k1        |
only key, a moment too early      | 1       |          |         | k1        | unknown_key
only key, its last moment         | -10     | 1        |         | k1        |
only key, a moment too late       | -10     | 0        |         | k1        | unknown_key
overlap, the old one              | -10     | 5        | -5      | k1        |
overlap, the new one              | -10     | 5        | -5      | k2        |
new one not yet                   | -10     | 5        | 1       | k2        | unknown_key
handed over at T, the old one     | -10     | 0        | 0       | k1        | unknown_key
handed over at T, the new one     | -10     | 0        | 0       | k2        |
"""


@pytest.mark.parametrize("row", rows(ROTATION))
def test_rotation_of_keys(row: Row):
    """A gap between two keys silences a source; a key that outlives its end is one that a thief can use."""
    until = None if row["k1 until"] is None else NOW_MS + int(row["k1 until"])
    keys = [key("k1", NOW_MS + int(row["k1 from"] or 0), until)]
    if row["k2 from"] is not None:
        keys.append(key("k2", NOW_MS + int(row["k2 from"])))
    result = take(signed(QUOTE, row["signed by"] or ""), terms=table(source(*keys)))
    assert codes(result) == ([row["found"]] if row["found"] else [])


def test_a_key_taken_out_of_the_record_is_no_key():
    """A stolen key must end at once, whatever time its quotes state."""
    terms = table(source(key("k1"), key("k2")))
    assert codes(take(signed(QUOTE), terms=terms)) == []
    terms.add(terms.next_offset, b"~source:binance", encoded(source(key("k2"))))
    assert codes(take(signed(changed(time=NOW_MS - 1)), signed(QUOTE, "k2"), terms=terms)) == ["unknown_key"]


@given(st.sampled_from(sorted(OF_INSTRUMENT)), st.data())
@settings(max_examples=200, deadline=None)
def test_no_field_of_a_signed_quote_can_be_changed(field, data):
    """Somebody between source and engine would set the price, or pass one instrument's price for another's."""
    others = {
        "symbol": st.just("BTC"),
        "source": st.sampled_from(["binance", "kraken"]),
        "instrument": st.sampled_from(["BTC-PERP", "BTC-TWO", None]),
        "quote_asset": st.sampled_from(["USDT", "USDC", None]),
        "time": st.integers(NOW_MS - 10_000, NOW_MS + 50_000),
        "sequence": st.none() | st.integers(0, 1 << 62),
        "next_funding_time": st.integers(NOW_MS, NOW_MS + 100_000),
        "funding_interval_ms": st.integers(3_500_000, 3_700_000),
        "funding_rate": st.decimals("-0.01", "0.01", places=6).map(str),
    }
    value = data.draw(others.get(field, st.decimals("0.01", "100000", places=2).map(str)))
    said, before = signed(OF_INSTRUMENT), OF_INSTRUMENT[field]
    terms = table({**BTC_PERP, "id": "BTC-TWO"}, source(key("k1")), source(key("k1"), id="~source:kraken"))
    result = take(said | {field: value}, terms=terms)
    if field in ("price", "confidence", "last", "funding_rate"):
        value, before = Decimal(value), Decimal(before)
    same = value == before
    assert len(result.rows) == (1 if same else 0)
    if not same and result.dead_letters[0].code != "bad_signature":
        assert (field, value) == ("instrument", None)  # a contradiction, found before


def test_an_old_signed_quote_sent_again_is_not_the_later_one():
    """Its signature is as good as ever: what keeps a recorded crash from being played back is its order."""
    old, new = signed(QUOTE), signed(changed(price="60000", time=NOW_MS + 1_000, sequence=8))
    unnumbered = [signed({**json.loads(encoded(quote)), "sequence": None}) for quote in (QUOTE, new)]
    result = take(old, new, *unnumbered, terms=table(source(key("k1"))))
    assert codes(result) == []
    first, second, early, late = (HeldQuote(*row) for row in result.rows)
    assert refusal(first, second, restart_ms=10_000) == ""
    assert refusal(second, first, restart_ms=10_000) == "out_of_order"
    assert refusal(second, second, restart_ms=10_000) == "repeated"
    assert refusal(late, early, restart_ms=10_000) == "out_of_order"


UNKNOWN = [
    (changed(instrument="LATE"), "LATE"),
    (signed(QUOTE, "k2"), "~source:binance"),
    (QUOTE, "~source:binance"),
]


@pytest.mark.parametrize(("record", "id"), UNKNOWN)
def test_what_is_unknown_is_looked_up_before_it_is_refused(record, id):
    """Quotes and terms are two topics: the quote of a source just published may be there first."""
    terms = table(source(key("k1")))
    assert take(signed(QUOTE), record, QUOTE, terms=terms, final=False) == QuoteResult([], [], frozenset([id]))
    assert len(codes(take(record, terms=terms))) == 1
    for more in ({**BTC_PERP, "id": "LATE"}, source(key("k1"), key("k2"), signed=False)):
        terms.add(terms.next_offset, more["id"].encode(), encoded(more))
    result = take(record, terms=terms, final=False)
    assert (codes(result), len(result.rows), result.unknown_ids) == ([], 1, frozenset())


def test_a_wrong_signature_is_not_looked_up():
    """A flood of forged quotes must not make the oracle wait for the broker again and again."""
    result = take(QUOTES["stranger"], terms=table(source(key("k1"))), final=False)
    assert (codes(result), result.unknown_ids) == (["bad_signature"], frozenset())


def test_unknown_fields_count_once():
    """A batch that waits for terms is read twice; a mistyped field in it came once."""
    reader = QuotePartition(topic="quotes", partition=0, message_bytes_max=BYTES_MAX, max_future_ms=60_000)
    misspelt, unknown = changed(confidance="1"), of_instrument(instrument="X")
    messages = [(offset, b"BTC", encoded(record), 0) for offset, record in enumerate((misspelt, unknown))]
    found = [reader.take(messages, published(*TERMS), NOW_MS, final=final) for final in (False, True, True)]
    assert [(len(result.rows), result.unknown_fields) for result in found] == [(0, 0), (1, 1), (1, 1)]
