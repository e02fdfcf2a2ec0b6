"""Risk units and correlations on `instruments`: their normal form, what is refused, and what the journals are told."""

import json

import pytest

from schemas.dead_letters import Refused
from streams.ingest.terms import Terms
from tests.ingest_samples import BYTES_MAX, encoded
from tests.tables import Row, rows

UNIT = {"id": "~risk_unit:BTC", "kind": "risk_unit"}
GROUP = {"id": "~correlations:majors", "kind": "correlations", "low": "0.5", "high": "0.9"}

DEFAULTS = {
    **UNIT,
    "underlying": "BTC",
    "price_range": "0.16",
    "steps": 4,
    "tails": ["-0.66", "-0.33", "0.5", "1", "2", "3", "4", "5"],
    "skew": True,
    "scenarios": [],
    "basis_move": "0.04",
    "volatility": {
        "up": "0.45",
        "down": "0.25",
        "short_power": "0.3",
        "long_power": "0.13",
        "days_least": "1",
        "least": "0.4",
    },
    "smile": {
        "linear_cap": "0.15",
        "linear_slope": "-0.05",
        "absolute_cap": "0.15",
        "absolute_slope": "-0.05",
        "least": "0.01",
        "width": "4",
        "static": "0.6",
        "scale": "-0.1",
    },
    "expiries": {
        "long_base": "1",
        "long_multiply": "0",
        "long_add": "0",
        "short_base": "1",
        "short_multiply": "0",
        "short_add": "0",
        "basis_add": "0.5",
        "basis_multiply": "2",
    },
    "calendar": "0.01",
    "naked": "0.005",
    "delta_net": "0.02",
    "delta_hedged": "0.01",
    "spread": "0",
    "impact": "0",
    "daily_volatility": "0",
    "daily_volume": None,
    "minimum": "0",
    "group": None,
    "closed": False,
    "version": 0,
}


def told(record, terms=None):
    """What the journals are told of a record."""
    terms = terms or Terms(BYTES_MAX)
    value = None if len(record) == 1 else encoded(record)
    return terms.add(terms.next_offset, record["id"].encode(), value)


def test_a_units_defaults():
    """They are what an account is margined by whose operator named nothing but the underlying."""
    assert told(UNIT) == [DEFAULTS]


def test_normal_form():
    """One value, one text; pairs are found by their names in order, whichever way they were written."""
    pair = {"units": ["ETH", "BTC"], "low": 0.6, "high": "0.95"}
    (found,) = told({**GROUP, "pairs": [pair]})
    assert found == {
        **GROUP,
        "group": "majors",
        "pairs": [{"units": ["BTC", "ETH"], "low": "0.6", "high": "0.95"}],
        "share": "0.5",
        "closed": False,
        "version": 0,
    }
    rows_given = [{"move": "-0.10", "volatility": "up"}, {"move": 0, "volatility": "linear_skew", "dampening": "0.50"}]
    assert "liquidation" not in told({**UNIT, "liquidation": "share"})[0]
    assert told({**UNIT, "liquidation": "legs"})[0]["liquidation"] == "legs"
    assert "liquidity_horizon" not in told({**UNIT, "liquidity_horizon": "1.0"})[0]
    assert told({**UNIT, "liquidity_horizon": 2.50})[0]["liquidity_horizon"] == "2.5"
    (found,) = told({**UNIT, "scenarios": rows_given, "price_range": "0.30", "daily_volume": "1e9"})
    assert found["scenarios"] == [
        {"move": "-0.1", "volatility": "up", "dampening": "1"},
        {"move": "0", "volatility": "linear_skew", "dampening": "0.5"},
    ]
    assert (found["price_range"], found["basis_move"], found["daily_volume"]) == ("0.3", "0.075", "1000000000")


def test_a_tombstone_closes_a_unit():
    """Else shards would go on with a unit that no longer is."""
    terms = Terms(BYTES_MAX)
    told(UNIT, terms)
    assert told({"id": UNIT["id"]}, terms) == [{**DEFAULTS, "closed": True, "version": 1}]


REFUSED = rows("""
case | field | value | code
no underlying | id | ~risk_unit: | illegal_id
another id | id | BTC | illegal_id
range of nothing | price_range | 0 | bad_terms
range of all | price_range | 1 | bad_terms
a way to close that is none | liquidation | "whole" | bad_value
no step | steps | 0 | bad_terms
a tail to nothing | tails | ["-1"] | bad_terms
a tail that does not move | tails | ["0"] | bad_terms
skew before the others | scenarios | [{"move": 0, "volatility": "linear_skew"}, {"move": 0}] | bad_terms
a scenario to nothing | scenarios | [{"move": -1}] | bad_terms
a loss counted twice | scenarios | [{"move": 0, "dampening": 2}] | bad_terms
volatility that falls below nothing | volatility | {"down": "1.5"} | bad_terms
a smile of no width | smile | {"least": 0} | bad_terms
a debt that counts less | expiries | {"short_base": "0.9"} | bad_terms
a negative charge | naked | "-0.1" | bad_terms
nothing traded | daily_volume | 0 | bad_terms
gone before it is sold | liquidity_horizon | "0.99" | bad_terms
never out of it | liquidity_horizon | 101 | bad_terms
a word | calendar | "much" | mistyped_field
""")


@pytest.mark.parametrize("row", REFUSED)
def test_refused_units(row: Row) -> None:
    """A unit that could not be margined by is answered, not folded."""
    value = row["value"] if row["field"] == "id" else json.loads(row["value"])
    with pytest.raises(Refused) as refused:
        told({**UNIT, row["field"]: value})
    assert refused.value.code == row["code"]


@pytest.mark.parametrize(
    "change",
    [
        {"low": "0.95"},
        {"high": "1.1"},
        {"share": "-0.1"},
        {"pairs": [{"units": ["A", "A"], "low": 0, "high": 1}]},
        {"pairs": [{"units": ["A", "B"], "low": 0, "high": 1}, {"units": ["B", "A"], "low": 0, "high": 1}]},
    ],
)
def test_refused_correlations(change):
    """Offsets that make no sense are answered, not granted."""
    with pytest.raises(Refused) as refused:
        told({**GROUP, **change})
    assert refused.value.code == "bad_terms"


RISK = {"id": "~risk", "kind": "risk"}
CLOSES = {"id": "~closes:BTC", "kind": "closes", "period_ms": 86_400_000, "period": 20_000, "closes": ["1e4", 12500]}


def test_the_past_is_the_oracles_alone():
    """Shards are told by blocks of risk parameters; the terms keep what the oracle makes them of."""
    terms = Terms(BYTES_MAX)
    assert told(UNIT, terms)
    assert told(RISK, terms) == told(CLOSES, terms) == []
    risk, closes = terms.risk_history(), terms.closes_of("BTC")
    assert risk is not None
    assert (risk["period_ms"], risk["window"], risk["decay"], risk["version"]) == (86_400_000, 1000, "0.97", 1)
    assert closes is not None
    assert (closes["closes"], closes["version"]) == (["10000", "12500"], 2)
    assert terms.risk_units() == ["BTC"]
    told({"id": "~risk"}, terms)
    told({"id": UNIT["id"]}, terms)
    assert terms.risk_history() is None
    assert terms.risk_units() == []


@pytest.mark.parametrize(
    ("record", "change", "code"),
    [
        (RISK, {"period_ms": 1000}, "bad_terms"),
        (RISK, {"window": 99}, "bad_terms"),
        (RISK, {"decay": "1"}, "bad_terms"),
        (RISK, {"decay": "0"}, "bad_terms"),
        (RISK, {"value_at_risk_level": "0.4"}, "bad_terms"),
        (RISK, {"shortfall_level": "1"}, "bad_terms"),
        (RISK, {"floor": "1.5"}, "bad_terms"),
        (RISK, {"buffer": "-0.1"}, "bad_terms"),
        (RISK, {"stress": "1.1"}, "bad_terms"),
        (RISK, {"id": "~risks"}, "bad_value"),
        (CLOSES, {"closes": []}, "bad_terms"),
        (CLOSES, {"closes": ["1", "0"]}, "bad_terms"),
        (CLOSES, {"closes": ["1"] * 2002}, "bad_terms"),
        (CLOSES, {"period": -1}, "bad_terms"),
        (CLOSES, {"id": "~closes:"}, "illegal_id"),
    ],
)
def test_refused_risk_history(record, change, code):
    """A history that no risk can be measured by is answered, not taken."""
    with pytest.raises(Refused) as refused:
        told({**record, **change})
    assert refused.value.code == code
