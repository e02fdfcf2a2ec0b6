"""The table of instruments and assets, and the rules a record of `instruments` must keep."""

import pytest

from schemas.dead_letters import Refused
from streams.ingest.terms import POSITION_KEY, Terms
from tests.ingest_samples import (
    BTC_FUTURE,
    BTC_PERP,
    BYTES_MAX,
    ETH,
    ETH_INVERSE,
    FINE_INVERSE,
    USDC,
    encoded,
    published,
)

TIER = {"notional_from": "0", "initial_margin": "0.10", "maintenance_margin": "0.05"}
STEEPER = {"notional_from": "1000000", "initial_margin": "0.20", "maintenance_margin": "0.10"}


def add(terms, record, *, key=None):
    """Put the record at the table's end."""
    key = record["id"].encode() if key is None else key
    return terms.add(terms.next_offset, key, encoded(record))


def refusal(record, terms=None):
    """Code and reason with which the record is refused."""
    with pytest.raises(Refused) as refused:
        add(terms or published(USDC, ETH), record)
    return refused.value.code, refused.value.reason


BROKEN = [
    ("bad_value", {**BTC_PERP, "type": "swap"}, "type must be"),
    ("illegal_id", {**BTC_PERP, "id": "cross"}, "the name of the cross bucket"),
    ("illegal_id", {**BTC_PERP, "id": "~market:BTC"}, "id must not begin with ~"),
    ("illegal_id", {**USDC, "id": "US\nDC"}, "id must be 1 to 64 visible characters"),
    ("illegal_id", {**BTC_PERP, "settlement": " USDC"}, "settlement must be"),
    ("bad_terms", {**BTC_PERP, "multiplier": "0"}, "multiplier must be above 0"),
    ("bad_terms", {**BTC_PERP, "multiplier": "0.001"}, "must be an integer below 2**62, found 1/10"),
    ("bad_terms", {**BTC_PERP, "multiplier": "1" + "0" * 18}, "must be an integer below 2**62"),
    ("bad_terms", {**BTC_PERP, "quantity_precision": 9}, "must be an integer below 2**62, found 1/10000"),
    ("bad_terms", {**BTC_PERP, "price_precision": 10}, "price_precision must be 0 to 9, found 10"),
    ("bad_terms", {**BTC_PERP, "quantity_precision": -1}, "quantity_precision must be 0 to 9, found -1"),
    ("bad_terms", {**USDC, "precision": 10}, "precision must be 0 to 9, found 10"),
    ("bad_terms", {**BTC_PERP, "initial_margin": "0.04"}, "initial_margin must be at least maintenance_margin 0.05"),
    ("bad_terms", {**BTC_PERP, "initial_margin": "1.01"}, "initial_margin must be 0 to 1, found '1.01'"),
    ("bad_terms", {**BTC_PERP, "maintenance_margin": "-0.1"}, "maintenance_margin must be 0 to 1"),
    ("missing_field", {**BTC_PERP, "initial_margin": None}, "initial_margin must be given"),
    ("bad_terms", {**BTC_PERP, "tiers": [STEEPER]}, "tiers[0].notional_from must be 0, found 1000000"),
    ("bad_terms", {**BTC_PERP, "tiers": [TIER, TIER]}, "tiers[1].notional_from must be above 0, found 0"),
    (
        "bad_terms",
        {**BTC_PERP, "tiers": [TIER, {**STEEPER, "maintenance_margin": "0.04"}]},
        "tiers[1].maintenance_margin must not be below tier 0.05, found 0.04",
    ),
    ("bad_terms", {**BTC_PERP, "tiers": [{**TIER, "maintenance_margin": "0.2"}]}, "tiers[0].initial_margin must be"),
    ("bad_terms", {**BTC_PERP, "tiers": [TIER] * 101}, "tiers must have at most 100 entries, found 101"),
    ("missing_field", {**BTC_PERP, "tiers": [{"notional_from": "0"}]}, "initial_margin must be given in tiers[0]"),
    ("bad_terms", {**BTC_PERP, "size_premium_factor": "-1"}, "size_premium_factor must be at least 0"),
    ("bad_terms", {**BTC_PERP, "liquidation_fee": "2"}, "liquidation_fee must be 0 to 1"),
    ("bad_terms", {**BTC_PERP, "liquidation_fee": "1"}, "liquidation_fee must be below 1, found '1'"),
    ("bad_terms", {**BTC_PERP, "open_interest_lower": "1"}, "must be given together, found one"),
    (
        "bad_terms",
        {**BTC_PERP, "open_interest_lower": "5", "open_interest_upper": "5"},
        "open_interest_upper must be above 5, found 5",
    ),
    ("bad_terms", {**BTC_PERP, "expiry": 1}, "expiry must be given for futures and options and for nothing else"),
    ("bad_terms", {**BTC_FUTURE, "expiry": None}, "expiry must be given for futures"),
    ("bad_terms", {**BTC_PERP, "settlement_price": "1"}, "settlement_price must be null with type perpetual"),
    ("non_positive_price", {**BTC_FUTURE, "settlement_price": "0"}, "settlement_price must be above 0"),
    ("excess_decimals", {**BTC_FUTURE, "settlement_price": "1.23"}, "settlement_price must have at most 1 decimals"),
    ("bad_terms", {**ETH, "haircut": "1.1"}, "haircut must be 0 to 1, found '1.1'"),
    ("bad_terms", {**ETH, "initial_borrow_haircut": "-0.1"}, "initial_borrow_haircut must be 0 to 1"),
    (
        "bad_terms",
        {**ETH, "haircut_tiers": [{"from": "0", "haircut": "0.2"}, {"from": "5", "haircut": "0.1"}]},
        "haircut_tiers[1].haircut must not be below tier 0.2, found 0.1",
    ),
    (
        "bad_terms",
        {
            **ETH,
            "haircut_tiers": [
                {"from": "0", "haircut": "0.1", "initial_haircut": "0.4"},
                {"from": "5", "haircut": "0.2", "initial_haircut": "0.3"},
            ],
        },
        "haircut_tiers[1].initial_haircut must not be below tier 0.4, found 0.3",
    ),
    ("not_finite", {**ETH, "haircut": "NaN"}, "haircut must be finite"),
    ("missing_field", {"id": "X", "precision": 1}, "kind must be given"),
    ("bad_value", {"id": "X", "kind": "thing"}, "kind must be"),
    ("mistyped_field", {**USDC, "precision": "6"}, "precision must be an integer, found '6'"),
    ("illegal_id", {"id": "halt", "kind": "control", "action": "halt"}, "id must be ~control: and a name"),
    ("missing_field", {"id": "~control:1", "kind": "control", "action": "halt"}, "symbol must be given"),
    ("bad_value", {"id": "~control:1", "kind": "control", "action": "stop"}, "action must be"),
    ("bad_value", {"id": "~engine2", "kind": "engine"}, "id must be"),
    ("bad_terms", {"id": "~engine", "kind": "engine", "margin_call": "0.9"}, "margin_call must be 1 to 1000"),
    ("bad_terms", {"id": "~engine", "kind": "engine", "margin_call": "1.4"}, "margin_call_exit must be at least"),
    ("bad_terms", {"id": "~engine", "kind": "engine", "duplicate_window": 0}, "duplicate_window must be 1 to 65536"),
    ("bad_terms", {"id": "~engine", "kind": "engine", "liquidation_step_cap": "0"}, "must be above 0"),
]


@pytest.mark.parametrize(("code", "record", "reason"), BROKEN)
def test_broken_terms(code, record, reason):
    """A wrong parameter margins a whole market wrongly."""
    found = refusal(record)
    assert (found[0], reason in found[1]) == (code, True), found


def test_normal_form_of_an_instrument():
    """The engine reads every field from the journal; one left out would be a default nobody wrote down."""
    told = add(published(USDC), {**BTC_PERP, "tiers": [TIER, STEEPER], "liquidation_fee": 0.005})
    assert told[-1] == {
        "kind": "instrument",
        "id": "BTC-PERP",
        "type": "perpetual",
        "underlying": "BTC",
        "settlement": "USDC",
        "multiplier": "1",
        "price_precision": 1,
        "quantity_precision": 3,
        "initial_margin": "0.1",
        "maintenance_margin": "0.05",
        "tiers": [
            {"notional_from": "0", "initial_margin": "0.1", "maintenance_margin": "0.05"},
            {"notional_from": "1000000", "initial_margin": "0.2", "maintenance_margin": "0.1"},
        ],
        "tier_method": "marginal",
        "size_premium_factor": "0",
        "liquidation_fee": "0.005",
        "open_interest": None,
        "open_interest_lower": None,
        "open_interest_upper": None,
        "expiry": None,
        "settlement_price": None,
        "closed": False,
        "version": 1,
    }


def test_normal_form_of_an_asset():
    """Initial haircuts default to the plain ones."""
    tiers = [{"from": "0", "haircut": "0.05"}, {"from": 10, "haircut": "0.1", "initial_haircut": "0.2"}]
    assert add(Terms(BYTES_MAX), {**ETH, "haircut_tiers": tiers}) == [
        {
            "kind": "asset",
            "id": "ETH",
            "precision": 8,
            "haircut": "0.1",
            "borrow_haircut": "0.05",
            "initial_haircut": "0.1",
            "initial_borrow_haircut": "0.05",
            "haircut_tiers": [
                {"from": "0", "haircut": "0.05", "initial_haircut": "0.05"},
                {"from": "10", "haircut": "0.1", "initial_haircut": "0.2"},
            ],
            "closed": False,
            "version": 0,
        }
    ]


def test_a_slice_without_an_initial_haircut_has_the_larger_of_its_own_and_the_assets():
    """With the smaller one, more of an asset could open positions than its haircut lets it carry."""
    tiers = [{"from": "0", "haircut": "0.05"}, {"from": "10", "haircut": "0.3"}]
    (told,) = add(Terms(BYTES_MAX), {**ETH, "initial_haircut": "0.2", "haircut_tiers": tiers})
    assert [tier["initial_haircut"] for tier in told["haircut_tiers"]] == ["0.2", "0.3"]


def test_normal_form_of_engine_rules_and_controls():
    """Defaults are the design's."""
    terms = Terms(BYTES_MAX)
    assert add(terms, {"id": "~engine", "kind": "engine"}) == [
        {
            "kind": "engine",
            "id": "~engine",
            "margin_call": "1.25",
            "margin_call_exit": "1.3",
            "liquidation_exit": "1.05",
            "liquidation_target": "1.1",
            "liquidation_timeout_ms": 5000,
            "liquidation_step_cap": "1",
            "duplicate_window": 256,
            "summary_interval_ms": 60000,
            "reporting_currency": "USD",
            "portfolio_equity_min": "0",
            "version": 0,
        }
    ]
    halt = {"id": "~control:7", "kind": "control", "action": "halt", "symbol": "BTC"}
    assert add(terms, halt) == [{**halt, "version": 1}]


def test_flat_rates_default_to_the_first_tier():
    """A table of tiers alone is complete."""
    told = add(
        published(USDC),
        {**BTC_PERP, "initial_margin": None, "maintenance_margin": None, "tiers": [TIER, STEEPER]},
    )
    assert (told[-1]["initial_margin"], told[-1]["maintenance_margin"]) == ("0.1", "0.05")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("type", "inverse_perpetual"),
        ("underlying", "ETH"),
        ("settlement", "ETH"),
        ("multiplier", "10"),
        ("price_precision", 2),
        ("quantity_precision", 2),
    ],
)
def test_identity_never_changes(field, value):
    """Positions counted in lots would change their size overnight."""
    terms = published(USDC, ETH, BTC_PERP)
    before = terms.instruments["BTC-PERP"]
    code, reason = refusal({**BTC_PERP, field: value}, terms)
    assert code == "identity_changed"
    assert f"{field} of 'BTC-PERP' must stay" in reason
    assert terms.instruments["BTC-PERP"] == before


def test_identity_of_an_asset_never_changes():
    """A precision that changes multiplies every balance by ten."""
    assert refusal({**USDC, "precision": 8}, published(USDC))[0] == "identity_changed"
    assert refusal({**BTC_PERP, "id": "USDC"}, published(USDC))[0] == "identity_changed"


def test_risk_parameters_may_change():
    """That is what the topic is for; `1.0` is no other multiplier than `1`."""
    terms = published(USDC, BTC_PERP)
    told = add(terms, {**BTC_PERP, "multiplier": "1.0", "initial_margin": "0.2"})
    assert [(record["id"], record["version"]) for record in told] == [("USDC", 0), ("BTC-PERP", 2)]
    assert terms.instruments["BTC-PERP"].records[1]["initial_margin"] == "0.2"


def test_units():
    """Linear: minor units of a lot at a tick: 1 x 10**(6-1-3). Inverse: 100 x 10**(8+1-0), 0.01 x 10**(8+0-9)."""
    terms = published(USDC, ETH, BTC_PERP, {**ETH_INVERSE, "multiplier": "100"}, FINE_INVERSE, BTC_FUTURE)
    found = {id: (terms.unit, terms.divisor, terms.inverse, terms.perpetual) for id, terms in terms.instruments.items()}
    assert found == {
        "BTC-PERP": (100, 1, False, True),
        "ETH-INV": (100 * 10**9, 1, True, True),
        "FINE-INV": (1, 1000, True, True),
        "BTC-DEC": (100, 1, False, False),
    }


def test_an_instrument_may_come_before_its_asset():
    """Compaction moves an updated asset behind the instruments that use it; a fresh reader must still know them."""
    terms = Terms(BYTES_MAX)
    assert add(terms, BTC_PERP) == []
    assert add(terms, {**BTC_PERP, "id": "B", "quantity_precision": 9}) == []
    with pytest.raises(Refused, match="settlement of 'BTC-PERP' must be a published asset, found 'USDC'") as refused:
        terms.find_instrument("BTC-PERP")
    assert (refused.value.code, refused.value.missing) == ("unknown_asset", "USDC")
    assert [record["id"] for record in add(terms, USDC)] == ["USDC", "BTC-PERP"]
    assert [record["id"] for record in add(terms, {**USDC, "haircut": "0.1"})] == ["USDC"]
    assert terms.find_instrument("BTC-PERP").asset.record["haircut"] == "0.1"
    with pytest.raises(Refused, match=r"found 1/10000 for 'B' in 'USDC'") as refused:
        terms.find_instrument("B")
    assert (refused.value.code, refused.value.missing) == ("bad_terms", None)


def test_tombstones():
    """Closed, and known still: whoever holds a position must get out of it."""
    terms = published(USDC, BTC_PERP)
    told = terms.add(2, b"BTC-PERP", None)
    assert [(record["id"], record["closed"], record["version"]) for record in told] == [
        ("USDC", False, 0),
        ("BTC-PERP", True, 2),
    ]
    assert told[1]["tiers"] == []
    assert terms.instruments["BTC-PERP"].closed
    assert refusal({**BTC_PERP, "quantity_precision": 2}, terms)[0] == "identity_changed"
    add(terms, BTC_PERP)
    assert not terms.instruments["BTC-PERP"].closed
    with pytest.raises(Refused, match="a null value must close a published id, found 'X'"):
        terms.add(9, b"X", None)


def test_tombstones_of_rules_and_controls():
    """Rules go back to the defaults; an old order that is cleaned up orders nothing."""
    terms = published(
        {"id": "~engine", "kind": "engine", "duplicate_window": 9},
        {"id": "~control:1", "kind": "control", "action": "pause_liquidations"},
    )
    assert terms.add(2, b"~engine", None)[0]["duplicate_window"] == 256
    assert terms.add(3, b"~control:1", None) == []


@pytest.mark.parametrize("key", [None, b"\xff", b"ETH", b'"USDC"'])
def test_key_must_be_the_id(key):
    """Compaction goes by key: another key keeps a record for ever, or drops the wrong one."""
    with pytest.raises(Refused, match="key must be") as refused:
        Terms(BYTES_MAX).add(0, key, encoded(USDC))
    assert refused.value.code == "bad_key"


def test_verdicts_are_the_same_when_the_table_is_ahead():
    """The worker that ingests `instruments` shares its table with look-ups that have read further."""
    values = [
        (b"BTC-PERP", BTC_PERP),
        (b"USDC", USDC),
        (b"BTC-PERP", {**BTC_PERP, "quantity_precision": 2}),
        (b"BTC-PERP", {**BTC_PERP, "initial_margin": "5"}),
        (b"BTC-PERP", {**BTC_PERP, "initial_margin": "0.2"}),
        (b"BTC-PERP", None),
        (b"X", None),
        (b"BTC-PERP", BTC_PERP),
        (b"\xff", USDC),
    ]
    records = [(offset, key, encoded(value)) for offset, (key, value) in enumerate(values)]

    def verdicts(terms):
        found = []
        for record in records:
            try:
                found.append({told["id"]: told for told in terms.add(*record)})
            except Refused as refused:
                found.append((refused.code, refused.reason))
        return found

    ahead = Terms(BYTES_MAX)
    ahead.read(records)
    first, again = verdicts(Terms(BYTES_MAX)), verdicts(ahead)
    assert (set(first[0]), set(again[0])) == (set(), {"USDC", "BTC-PERP"})
    assert set(first[1]) == set(again[1]) == {"USDC", "BTC-PERP"}
    assert first[2:] == again[2:]
    assert [verdict[0] for verdict in again if isinstance(verdict, tuple)] == [
        "identity_changed",
        "bad_terms",
        "tombstone",
        "bad_key",
    ]


def test_what_was_accepted_outlives_its_message():
    """Compaction keeps the latest record of an id, be it a refused one: a start must not take it for the first."""
    before = published(USDC)
    add(before, BTC_PERP)
    changelog = [before.entry(0, b"USDC", encoded(USDC)), before.entry(1, b"BTC-PERP", encoded(BTC_PERP))]
    after = Terms(BYTES_MAX)
    after.restore([*changelog, (POSITION_KEY, b"3")])
    assert after.next_offset == 3
    assert after.instruments == before.instruments
    assert refusal({**BTC_PERP, "price_precision": 2}, after)[0] == "identity_changed"
    assert [record["version"] for record in add(after, {**BTC_PERP, "initial_margin": "0.2"})] == [0, 4]


def test_look_ups_do_not_stop_at_bad_records():
    """One bad record of an operator must not hide the good ones after it."""
    terms = Terms(BYTES_MAX)
    terms.read([(0, b"X", b"{"), (1, b"X", b"{" + b" " * BYTES_MAX), (2, b"USDC", encoded(USDC))])
    assert (list(terms.assets), terms.next_offset) == (["USDC"], 3)
