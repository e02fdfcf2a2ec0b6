"""Good messages as rows of the journal: scaled, signed and in the right partition."""

import pytest

from schemas.journal import FILL_KINDS, TRANSFER_TYPES, Block, liquidation_id
from schemas.sharding import shard_of
from streams.ingest.terms import Terms
from tests.ingest_samples import (
    BTC_FUTURE,
    BTC_PERP,
    BYTES_MAX,
    DEPOSIT,
    ETH,
    FILL,
    FUNDING,
    NOW_MS,
    SETTINGS,
    SHARDS,
    USDC,
    all_terms,
    encoded,
    messages,
    partition,
    published,
    rows,
    take,
)

ALICE = shard_of("alice", SHARDS)
BOB = shard_of("bob", SHARDS)


def only(result):
    """The journal partition, block and row of a message that became one row."""
    assert result.dead_letters == []
    ((shard, block),) = result.blocks
    (row,) = rows(block)
    return shard, block, row


def legs(result):
    """(journal partition, leg, account, asset, amount, bucket) of every row."""
    assert result.dead_letters == []
    return [
        (shard, row["leg"], row["account"], row["asset"], row["amount"], row["bucket"])
        for shard, block in result.blocks
        for row in rows(block)
    ]


def test_a_fill():
    """-0.5 is -500 lots, 50010 is 500100 ticks, a fee of 5 is 5000000 millionths."""
    shard, block, row = only(take("fills", FILL))
    assert shard == ALICE
    assert (block.kind, block.source) == (
        "fills",
        {"topic": "prod.fills", "partition": 2, "first": 100, "next": 101},
    )
    assert row == {
        "id": "t1",
        "account": "alice",
        "instrument": "BTC-PERP",
        "lots": -500,
        "ticks": 500100,
        "fee": 5_000_000,
        "time": NOW_MS,
        "mode": 0,
        "fill_kind": FILL_KINDS.index("trade"),
        "liquidation": -1,
        "source_offset": 100,
    }


@pytest.mark.parametrize(
    ("change", "column", "expected"),
    [
        ({"quantity": 2147483.647}, "lots", 2**31 - 1),
        ({"quantity": "1e-3"}, "lots", 1),
        ({"fee": "-0.25"}, "fee", -250_000),
        ({"fee": 0}, "fee", 0),
        ({"time": "2025-10-10T21:14:59.999Z"}, "time", NOW_MS - 1),
        ({"time": NOW_MS + 60_000}, "time", NOW_MS + 60_000),
        ({"time": 0}, "time", 0),
        ({"kind": "opening"}, "fill_kind", 1),
        ({"kind": "bust"}, "fill_kind", 2),
        ({"kind": "bust"}, "lots", -500),
        ({"margin_mode": None}, "mode", -1),
        ({"margin_mode": "isolated"}, "mode", 1),
        ({"fill_id": "\u5b57" * 128}, "id", "\u5b57" * 128),
        ({"instrument": "ETH-INV", "quantity": "7"}, "lots", 7),
        ({"instrument": "OLD-PERP"}, "instrument", "OLD-PERP"),
    ],
)
def test_fill_fields(change, column, expected):
    """Boundaries: the largest quantity and time that pass; a trade on a closed instrument may be its end."""
    assert only(take("fills", {**FILL, **change}))[2][column] == expected


@pytest.mark.parametrize(
    ("mode", "bucket", "expected"),
    [(None, "cross", 0), (None, "BTC-PERP", 1), ("cross", "cross", 0), ("isolated", "BTC-PERP", 1)],
)
def test_a_fill_belongs_to_the_bucket_of_its_liquidation(mode, bucket, expected):
    """Else the fill of a liquidated isolated position would open a cross one."""
    identity = liquidation_id(ALICE, 1811, "alice", bucket, "liquidation")
    row = only(take("fills", {**FILL, "margin_mode": mode, "liquidation_id": identity}))[2]
    assert (row["mode"], row["liquidation"]) == (expected, 1811)


@pytest.mark.parametrize(
    ("type", "amount", "expected"),
    [
        ("deposit", "1000", 10**9),
        ("withdrawal", "1000", -(10**9)),
        ("adjustment", "-1.5", -1_500_000),
        ("adjustment", "1.5", 1_500_000),
        ("opening", "-1.5", -1_500_000),
        ("deposit", "0.000001", 1),
    ],
)
def test_collateral_of_one_leg(type, amount, expected):
    """Signed: what the bucket receives."""
    result = take("collateral", {**DEPOSIT, "type": type, "amount": amount})
    assert legs(result) == [(ALICE, 0, "alice", "USDC", expected, "cross")]
    assert only(result)[2]["transfer_type"] == TRANSFER_TYPES.index(type)


def test_a_closed_asset_can_still_move():
    """Facts go on: what is closed is still to be paid out."""
    assert legs(take("collateral", {**DEPOSIT, "asset": "OLD"})) == [(ALICE, 0, "alice", "OLD", 100_000, "cross")]


def test_a_transfer_has_two_legs():
    """What one end gives the other receives, each in its own journal partition."""
    assert ALICE != BOB
    result = take("collateral", {**DEPOSIT, "type": "transfer", "to_account": "bob", "to_bucket": "BTC-PERP"})
    assert sorted(legs(result), key=lambda leg: leg[1]) == [
        (ALICE, 0, "alice", "USDC", -(10**9), "cross"),
        (BOB, 1, "bob", "USDC", 10**9, "BTC-PERP"),
    ]
    assert {row["id"] for _, block in result.blocks for row in rows(block)} == {"d1"}
    told = {shard: [record["id"] for record in block.terms] for shard, block in result.blocks}
    assert told == {ALICE: ["USDC"], BOB: ["USDC", "BTC-PERP"]}


def test_a_transfer_between_buckets_of_an_account_needs_no_name():
    """Margin moved to an isolated position."""
    result = take("collateral", {**DEPOSIT, "type": "transfer", "to_bucket": "BTC-PERP"})
    assert legs(result) == [
        (ALICE, 0, "alice", "USDC", -(10**9), "cross"),
        (ALICE, 1, "alice", "USDC", 10**9, "BTC-PERP"),
    ]
    assert len(result.blocks) == 1


def test_a_conversion_has_two_legs():
    """One asset goes, another comes, in one bucket and one block."""
    conversion = {
        **DEPOSIT,
        "type": "conversion",
        "to_asset": "ETH",
        "to_amount": "0.5",
        "bucket": "BTC-PERP",
        "liquidation_id": liquidation_id(ALICE, 7, "alice", "BTC-PERP", "liquidation"),
    }
    result = take("collateral", conversion)
    assert legs(result) == [
        (ALICE, 0, "alice", "USDC", -(10**9), "BTC-PERP"),
        (ALICE, 1, "alice", "ETH", 50_000_000, "BTC-PERP"),
    ]
    assert [row["liquidation"] for row in rows(result.blocks[0][1])] == [7, 7]


def test_funding_goes_to_every_partition():
    """Positions of one instrument are in all shards."""
    result = take("funding-rates", FUNDING, {**FUNDING, "rate": -1, "mark_price": "50000.5"})
    assert [shard for shard, _ in result.blocks] == list(range(SHARDS))
    for _, block in result.blocks:
        assert rows(block) == [
            {"instrument": "BTC-PERP", "rate": 10**8, "price": -1, "time": NOW_MS, "source_offset": 100},
            {"instrument": "BTC-PERP", "rate": -(10**12), "price": 500005, "time": NOW_MS, "source_offset": 101},
        ]
        assert [record["id"] for record in block.terms] == ["USDC", "BTC-PERP"]


def test_account_settings():
    """Levels as given, and a tombstone brings the defaults back."""
    result = take("accounts", {**SETTINGS, "mode": "isolated"}, None, key=b"alice")
    ((shard, block),) = result.blocks
    assert shard == ALICE
    assert Block.decode(block.encode()).extra["accounts"] == [
        {
            "account": "alice",
            "mode": "isolated",
            "margin_model": "standard",
            "levels": {"margin_call": "1.25"},
            "source_offset": 100,
        },
        {"account": "alice", "mode": "cross", "margin_model": "standard", "levels": {}, "source_offset": 101},
    ]


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        (b"bob", SETTINGS, "bad_key"),
        (b"~fees", {"account": "~fees"}, "reserved_account"),
        (b"", None, "illegal_id"),
        (b"alice", {**SETTINGS, "levels": {"margin_call": "0.5"}}, "bad_terms"),
        (b"alice", {**SETTINGS, "levels": {"margin_call": "1.5", "margin_call_exit": "1.4"}}, "bad_terms"),
        (b"alice", {**SETTINGS, "levels": {"margin_call": "much"}}, "mistyped_field"),
        (b"alice", {**SETTINGS, "margin_model": "span"}, "bad_value"),
        (b"alice", {**SETTINGS, "shadow": "yes"}, "mistyped_field"),
    ],
)
def test_account_settings_refused(key, value, code):
    """A level below 1 would call an account after it was liquidated."""
    assert [letter.code for letter in take("accounts", value, key=key).dead_letters] == [code]


def test_terms_go_to_every_partition():
    """Each record once per partition, in order, with its version; bad ones are dead letters."""
    terms = published()
    records = [USDC, BTC_PERP, {**BTC_PERP, "type": "swap"}, ETH, {**BTC_FUTURE, "settlement": "EUR"}, None]
    batch = [
        (offset, b"BTC-PERP" if record is None else record["id"].encode(), *message[2:])
        for offset, (record, message) in enumerate(zip(records, messages(*records), strict=True))
    ]
    result = partition("instruments").take(batch, terms, NOW_MS)
    assert [letter.code for letter in result.dead_letters] == ["bad_value"]
    assert [shard for shard, _ in result.blocks] == list(range(SHARDS))
    for _, block in result.blocks:
        told = [(record["id"], record["version"]) for record in block.terms]
        assert told == [("USDC", 0), ("USDC", 0), ("BTC-PERP", 1), ("ETH", 3), ("USDC", 0), ("BTC-PERP", 5)]
        assert block.terms[-1]["closed"]


def test_terms_are_told_once_per_partition():
    """A shard must know an instrument before its first row, and need not hear of it again."""
    fills = partition("fills")
    bob = {**FILL, "account": "bob"}
    first = fills.take(messages(FILL), all_terms(), NOW_MS)
    second = fills.take(messages(FILL, bob, first=101), all_terms(), NOW_MS)
    told = [
        {shard: [record["id"] for record in block.terms] for shard, block in result.blocks}
        for result in (first, second)
    ]
    assert told == [{ALICE: ["USDC", "BTC-PERP"]}, {ALICE: [], BOB: ["USDC", "BTC-PERP"]}]


def test_unknown_ids_are_reported_before_they_are_refused():
    """The caller reads `instruments` to its end and asks again; nothing of the first try may remain."""
    fills = partition("fills")
    batch = messages(FILL, {**FILL, "instrument": "ETH-INV", "quantity": "1"}, {**FILL, "instrument": "X"})
    first = fills.take(batch, published(USDC, BTC_PERP), NOW_MS)
    assert first.unknown_ids == {"ETH-INV", "X"}
    assert (first.blocks, first.dead_letters, first.rows) == ([], [], 0)
    second = fills.take(batch, all_terms(), NOW_MS, final=True)
    assert [letter.code for letter in second.dead_letters] == ["unknown_instrument"]
    assert [record["id"] for record in second.blocks[0][1].terms] == ["USDC", "BTC-PERP", "ETH", "ETH-INV"]
    assert second.rows == 3


def test_counts():
    """What the metrics show."""
    result = take("fills", {**FILL, "venue": 1, "desk": 2}, {**FILL, "time": NOW_MS - 5}, b"{", terms=all_terms())
    assert (result.rows, result.unknown_fields, result.newest_ms) == (3, 2, NOW_MS)
    empty = partition("fills").take([], all_terms(), NOW_MS)
    assert (empty.rows, empty.blocks, empty.dead_letters) == (0, [], [])


def test_unknown_fields_of_terms_count_once():
    """A field that a writer mistyped must show as one: the table reads each record more than once."""
    terms, reader = Terms(BYTES_MAX), partition("instruments")
    result = reader.take([(0, b"USDC", encoded({**USDC, "hair_cut": "0.1"}), 0)], terms, NOW_MS)
    assert result.unknown_fields == 1
    again = partition("instruments").take([(0, b"USDC", encoded({**USDC, "hair_cut": "0.1"}), 0)], terms, NOW_MS)
    assert again.unknown_fields == 1
