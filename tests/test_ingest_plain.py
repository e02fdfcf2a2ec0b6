"""Which messages are read as columns, and that their accounts are routed as Kafka would."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.fills import Fill
from schemas.sharding import shard_of
from streams.ingest import fill_rows
from streams.ingest import scan as scan_module
from streams.ingest.fill_rows import FIELDS, plain_fills, rules
from streams.ingest.instrument_table import InstrumentTable
from streams.ingest.layout import route
from streams.ingest.messages import Messages
from streams.ingest.scan import fields_of, scan
from tests.ingest_samples import FILL, NOW_MS, all_terms, messages

GOOD = {
    "fill_id": "t1",
    "account": "alice",
    "instrument": "BTC-PERP",
    "quantity": "-0.5",
    "price": "50010.1",
    "fee": "5.0",
    "time": NOW_MS,
}


def test_the_kernel_knows_every_field():
    """A field that it took for unknown would send every fill that has it down the slow way."""
    assert set(FIELDS) == set(Fill.__struct_encode_fields__)
    for code in ("ABSENT", "STRING", "NUMBER"):
        assert getattr(fill_rows, code) == getattr(scan_module, code)


def is_plain(value):
    columns = Messages.of(messages(value))
    spans = scan(columns.data, columns.value_start, columns.value_length, fields_of(FIELDS))
    return bool(plain_fills(columns.data, spans, InstrumentTable(all_terms()).columns, rules(NOW_MS)).accepted[0])


@pytest.mark.parametrize(
    "change",
    [
        {},
        FILL,
        {"quantity": 2, "price": 50010.5, "fee": 0},
        {"quantity": "0.50000", "price": "0050010", "fee": "-0"},
        {"account": "a b", "fill_id": "x" * 128, "instrument": "ETH-INV", "quantity": "7"},
        {"liquidation_id": None, "margin_mode": None},
        {"margin_mode": "isolated", "kind": "bust"},
        {"kind": "opening", "time": 0},
        {"quantity": "2147483.647", "price": "1"},
        # 3 lots x 15372286728091293 ticks x 100 is 4 below 2**62
        {"quantity": "0.003", "price": "1537228672809129.3"},
        # (2**31 - 1) lots x (2**31 + 1) ticks is 1 below 2**62
        {"instrument": "ETH-INV", "quantity": "2147483647", "price": "214748364.9"},
    ],
)
def test_what_producers_write_is_plain(change):
    """A common form that is not plain would be read ten times slower, unseen."""
    record = {**GOOD, **change}
    assert is_plain(record)
    assert is_plain(json.dumps(dict(reversed(record.items())), separators=(",", ":")).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"quantity": "0"},
        {"quantity": "1.0005"},
        {"quantity": "1e3"},
        {"quantity": "2147483.648"},
        {"quantity": None},
        {"price": "-1"},
        {"price": "0"},
        {"price": "4611686018427387904"},
        {"quantity": "0.003", "price": "1537228672809129.4"},
        {"instrument": "ETH-INV", "quantity": "2147483647", "price": "214748365.0"},
        {"fee": "4611686018427.387904"},
        {"fee": None},
        {"time": NOW_MS + 1},
        {"time": -1},
        {"time": "2025-10-10T21:15:00Z"},
        {"instrument": "NONE"},
        {"instrument": "OLD-PERP", "kind": "opening"},
        {"account": "~fees"},
        {"account": " a"},
        {"fill_id": ""},
        {"fill_id": "x" * 129},
        {"fill_id": "a\u00e9"},
        {"kind": "trades"},
        {"margin_mode": "x"},
        {"liquidation_id": "0-1-alice-cross-liquidation"},
        {"more": 1},
    ],
)
def test_what_needs_a_second_look_is_not_plain(change):
    """The kernel gives no reasons: what it took wrongly nobody would hear of."""
    assert not is_plain({**GOOD, **change})


@pytest.mark.parametrize(
    "broken", [b"", b"{}", b"null", b"[1]", b'{"price":', b'{"price":1', b"{" * 9, b'{"a":"\\u0061"}']
)
def test_broken_messages_are_not_plain(broken):
    """A message cut short must not borrow its end from the next one."""
    data = json.dumps(GOOD).encode()
    assert not is_plain(broken)
    assert not is_plain(data + b"}")
    assert not is_plain(data + data)
    for end in range(len(data)):
        assert not is_plain(data[:end])


def test_a_field_given_twice_is_not_plain():
    """Which of two prices counts is for the defining reader to say."""
    assert not is_plain(json.dumps(GOOD).encode()[:-1] + b', "price": "1"}')


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=20), st.integers(1, 64))
def test_accounts_are_routed_as_kafka_does(accounts, shards):
    """A user who keys a topic by account must find it in our partition."""
    names = [account.encode(errors="replace") for account in accounts]
    bound = np.cumsum([0, *map(len, names)], dtype=np.int64)
    instrument = np.zeros(len(names), np.int64)
    text = np.frombuffer(b"".join(names), np.uint8)
    routes = route(text, bound[:-1], bound[1:], instrument, 1, shards)
    assert routes.shard.tolist() == [shard_of(name.decode(), shards) for name in names]
    seen = list(dict.fromkeys(names))
    assert routes.account.tolist() == [seen.index(name) for name in names]
