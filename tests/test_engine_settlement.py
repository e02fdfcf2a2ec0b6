"""Options that settle at a mean, in a shard: at the price that the oracle told, and how their risk dies away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streams.engine import state
from streams.engine.risk_model import RiskMarket, risk_model
from streams.margin.black76 import settlement_forward
from tests.builders import PRICES, STANDARD, Fill, Leg, Market, T, instrument
from tests.option_terms import option
from tests.test_engine_portfolio import UNIT

WINDOW = 600_000
CALL = option("BTC-A", "call", "49000", settlement_window_ms=WINDOW)
BEFORE = {"BTC-A": (0.5, 50_500.0, 1.0)}
SETTLED = {"BTC-A": (0.0, 50_250.0, 1.0)}


def market(**terms: Any) -> Market:
    """alice buys one call at 1,000 of bob; it expires a minute later, inside its window."""
    made = Market((*STANDARD, {**CALL, **terms}), None)
    made.marks(PRICES, {"BTC-A": 1_000.0}, made_of=BEFORE)
    made.collateral(Leg("a", "alice", "20000"), Leg("b", "bob", "20000"))
    made.fills(Fill("t", "alice", "BTC-A", "1", "1000"), Fill("t", "bob", "BTC-A", "-1", "1000"))
    return made


def test_it_pays_at_the_price_that_the_oracle_settled() -> None:
    """Not at the index of the moment, which one trade can move: 50,250 - 49,000 - 1,000."""
    made = market()
    made.marks({"BTC": 60_000.0}, {"BTC-A": 1_250.0}, after=60_000, made_of=SETTLED)
    assert (made.balance("alice"), made.balance("bob")) == ("20250", "19750")


def test_the_expiry_alone_pays_nothing() -> None:
    """Another partition's block may bring the expiry first; the mean so far is not the mean."""
    made = market()
    made.marks({"BTC": 60_000.0}, {"BTC-A": 1_500.0}, after=60_000, made_of=BEFORE)
    assert made.position("alice", "BTC-A") == ("1", "1000")
    made.marks({}, {"BTC-A": 1_250.0}, after=1_000, made_of=SETTLED)
    assert made.position("alice", "BTC-A") is None
    assert made.balance("alice") == "20250"


def test_a_stated_price_goes_before_the_mean_and_before_none() -> None:
    """Where prices covered too little of the window the operator decides."""
    made = market()
    made.marks({}, {"BTC-A": 1_500.0}, after=60_000, made_of=BEFORE)
    made.tell({**CALL, "settlement_price": "49100", "version": 9})
    assert made.balance("alice") == "19100"


def test_a_shard_restored_in_the_window_settles_at_the_same_price() -> None:
    """What was told is in the changelog: a kill before the expiry, or before a late fill, changes nothing."""
    made, calm = market(), market()
    for block in (
        lambda m: m.marks({}, {"BTC-A": 1_250.0}, after=60_000, made_of=SETTLED),
        lambda m: m.fills(Fill("late", "carol", "BTC-A", "1", "1100")),
    ):
        made.shard = state.restore(0, state.records(made.shard))
        assert block(made) == block(calm)
        assert state.state_hash(made.shard) == state.state_hash(calm.shard)
    assert made.balance("carol") == "150"


RISK = [
    # minutes left, index, settled part of the forward, moving part
    (60, 50_000.0, 0.0, 50_000.0),
    (10, 50_000.0, 0.0, 50_000.0),
    (5, 50_000.0, 25_500.0, 25_000.0),  # a half of 51,000 is settled, told forward 50,500
    (1, 50_000.0, 45_500.0, 5_000.0),
    (5, 120_000.0, 0.0, 50_500.0),  # no more than all of it moves
    (0, 50_000.0, 50_500.0, 0.0),
]


@pytest.mark.parametrize(("minutes", "index", "fixed", "moving"), RISK)
def test_scenarios_move_only_what_is_not_settled(minutes: int, index: float, fixed: float, moving: float) -> None:
    """Without it a hedge of the last minutes is charged for moves that can no longer happen, and one in the future
    that still can is not charged."""
    made = market(expiry=T + minutes * 60_000)
    made.tell(UNIT)
    model = risk_model(made.shard.terms)
    assert model is not None
    forward = fixed + moving
    volatility = 0.5 if minutes else 0.0
    at = made.shard.terms.instrument_index["BTC-A"]
    many = len(made.shard.terms.instruments)
    column = np.full(many, np.nan)

    def only(value: float) -> np.ndarray:
        found = column.copy()
        found[at] = value
        return found

    assets = np.ones(len(made.shard.terms.assets))
    rows = model.rows(
        RiskMarket(column, assets, only(volatility), only(forward), only(1.0), np.array([index]), made.time)
    )
    assert (rows.of.fixed[at], rows.of.price[at]) == (fixed, moving)
    if fixed and minutes:
        mean = fixed / (1.0 - minutes / 10)
        years = settlement_forward(index, mean, minutes / 525_600, 10 / 525_600)[1]
        assert rows.of.years[at] == pytest.approx(years, rel=1e-12)
    if minutes >= 10:
        years = settlement_forward(index, index, minutes / 525_600, 10 / 525_600)[1]
        assert rows.of.years[at] == pytest.approx(years, rel=1e-12)
    # one without a settlement price after its expiry moves whole
    if not minutes:
        rows = model.rows(RiskMarket(column, assets, only(0.5), only(forward), only(1.0), np.array([index]), made.time))
        assert (rows.of.fixed[at], rows.of.price[at]) == (0.0, forward)


def half_settled(**terms: Any) -> Market:
    """alice, on portfolio margin, is short a call deep in the money: of its forward of 50,500 a half, 25,500, is
    settled."""
    made = Market((*STANDARD, UNIT, {**CALL, "strike": "1000", "expiry": T + 5 * 60_000, **terms}), None)
    made.marks(PRICES, {"BTC-A": 49_500.0}, made_of=BEFORE)
    made.settings({"account": "alice", "mode": "cross", "margin_model": "portfolio", "levels": {}, "source_offset": 1})
    made.collateral(Leg("a", "alice", "20000"))
    made.fills(Fill("t", "alice", "BTC-A", "-1", "49500"))
    return made


def test_the_liquidation_price_moves_only_what_is_not_settled() -> None:
    """At the price that the report names, with the settled half where it is, the book meets its maintenance margin: a
    buyer with a hedge is not told that half of the fall is behind it."""
    made = half_settled()
    (unit,) = made.bucket("alice")["portfolio"]["units"]
    price = float(unit["liquidation_prices"]["above"])
    forward = 25_500.0 + 0.5 * price
    made.marks({"BTC": price}, {"BTC-A": forward - 1_000.0}, made_of={"BTC-A": (0.5, forward, 1.0)})
    found = made.bucket("alice")
    assert float(found["adjusted_equity"]) == pytest.approx(float(found["maintenance_margin"]), rel=1e-6)
    assert price > 75_000.0


def test_an_expiry_is_as_far_away_for_all_its_rows() -> None:
    """A future and an option that settles at a mean, of one expiry: whichever of them is written anew, and whether the
    option has a mark, what a book is charged for its basis is the same."""
    made = half_settled(expiry=T + 40 * 60_000, settlement_window_ms=30 * 60_000)
    made.tell(instrument("BTC-DEC", "future", expiry=T + 40 * 60_000, version=7))
    made.marks(PRICES, {"BTC-DEC": 50_100.0, "BTC-A": 49_500.0}, made_of=BEFORE)
    made.fills(Fill("u", "alice", "BTC-DEC", "1", "50000"))
    for after, marks in ((0, {"BTC-A": 49_510.0}), (60_000, {"BTC-A": 49_520.0}), (25 * 60_000, {"BTC-DEC": 50_000.0})):
        made.marks({}, marks, after=after, made_of={"BTC-A": (0.6, 50_500.0, 1.0)} if "BTC-A" in marks else None)
        restored = state.restore(0, state.records(made.shard))
        table, fresh = (shard.portfolio.table(shard) for shard in (made.shard, restored))
        assert table.by_expiry.tobytes() == fresh.by_expiry.tobytes()
        assert table.values.tobytes() == fresh.values.tobytes()


def test_minutes_that_end_inside_a_window_are_seen() -> None:
    """Of an option alone, whose part to come counts in minutes begun, the minutes to its expiry end a moment later."""
    made = half_settled()
    made.shard.portfolio.table(made.shard)
    made.marks({}, after=1)
    restored = state.restore(0, state.records(made.shard))
    table, fresh = (shard.portfolio.table(shard) for shard in (made.shard, restored))
    assert table.by_expiry.tobytes() == fresh.by_expiry.tobytes()


def test_an_option_without_a_mark_leaves_the_others_of_its_expiry_alone() -> None:
    made = Market((*STANDARD, UNIT, {**CALL, "expiry": T + 5 * 60_000}), None)
    made.tell(instrument("BTC-DEC", "future", expiry=T + 5 * 60_000, version=7))
    made.marks(PRICES, {"BTC-DEC": 50_000.0})
    table = made.shard.portfolio.table(made.shard)
    assert np.isfinite(table.by_expiry).all()
