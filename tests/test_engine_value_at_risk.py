"""Value at risk in the requirement of a shard's portfolio margin: told by the journal, kept, and what binds.

If one of these failed, an account whose market has grown wild would go on by a calm grid, or a restored worker would
require another sum than the one that never fell.
"""

from __future__ import annotations

import math

import numpy as np
import orjson
import pytest

from schemas.codec import decode
from schemas.liquidation import Liquidation
from schemas.risk_terms import RiskUnit
from streams.engine import state
from streams.engine.risk_factors import Factors, factors, taken_back, told
from streams.ingest.term_rules import normalised
from streams.margin.black76 import option_value
from streams.margin.history import TailRules, tail_requirement
from streams.margin.procyclicality import liquidity_horizon
from streams.margin.risk_parameters import RiskParameters, RiskRules, refreshed
from streams.margin.scenarios import grid
from tests.builders import PRICES, STANDARD, Fill, Json, Leg, Market, T, events
from tests.option_terms import option
from tests.risk_books import measured, perpetual

UNIT = {**normalised(RiskUnit(id="~risk_unit:BTC")), "version": 5}
ETHER = {**normalised(RiskUnit(id="~risk_unit:ETH", price_range="0.2")), "version": 6}
PORTFOLIO = {"account": "alice", "mode": "cross", "margin_model": "portfolio", "levels": {}, "source_offset": 17}
#: Without a buffer; a period's loss counts ten times.
RULES = RiskRules(TailRules(0.99, 0.975, 0.97, 10, 10.0, 0.5), window=40, buffer=0.0)
CALL = option("BTC-C", "call", "50000", expiry=T + 30 * 86_400_000)


def wild(move: float, units: tuple[str, ...] = ("BTC",), rules: RiskRules = RULES, period: int = 40) -> Factors:
    """A market that moved by `move`, up and down in turn: every past move is one volatility."""
    returns = np.array([[move * (-1.0) ** t] * len(units) for t in range(rules.window)])
    known = refreshed(returns, np.full(len(units), math.inf), rules)
    return factors(units, period, rules, known, returns)


def short_two(balance: str, *more: Json, unit: Json = UNIT) -> Market:
    """alice, on portfolio margin, short 2 BTC-PERP from 50,000: 18,000 initial and 14,800 maintenance by the grid."""
    market = Market((*STANDARD, unit, *more), PRICES)
    market.settings(PORTFOLIO)
    market.collateral(Leg("d", "alice", balance))
    market.fills(Fill("f", "alice", "BTC-PERP", "-2", "50000"))
    return market


def shown(market: Market) -> tuple[float, float]:
    found = market.bucket("alice")
    return float(found["initial_margin"]), float(found["maintenance_margin"])


def section(market: Market) -> Json:
    found: Json = market.bucket("alice")["portfolio"]
    return found


def test_the_larger_of_grid_and_value_at_risk() -> None:
    """100,000 sold, every move 2 %, ten times: 20,000 at risk against 16,000; initial 22,000, maintenance
    0.8 x 20,000 + 2,000. At 1 % it is 10,000, and the grid binds."""
    market = short_two("30000")
    assert section(market)["value_at_risk"] is None
    before = wild(0.01)
    assert events(market.apply(told(None, before, market.time))) == []
    assert shown(market) == (18_000.0, 14_800.0)
    assert (section(market)["binds"], float(section(market)["value_at_risk"])) == ("grid", pytest.approx(10_000.0))
    market.apply(told(before, wild(0.02, period=80), market.time))
    assert shown(market) == pytest.approx((22_000.0, 18_000.0))
    assert (section(market)["binds"], float(section(market)["value_at_risk"])) == (
        "value_at_risk",
        pytest.approx(20_000.0),
    )
    market.apply(taken_back(market.time))
    assert shown(market) == (18_000.0, 14_800.0)
    assert section(market)["value_at_risk"] is None


def test_the_block_alone_calls_and_liquidates() -> None:
    """18,000 x 1.25 = 22,500 is above 22,000: called by the past alone. At 4 %, 34,000 are required: the share
    sold reaches the target by the value at risk, 22,000 / (1.1 x 34,000) of the book stays."""
    market = short_two("22000")
    assert events(market.apply(told(None, wild(0.02), market.time))) == ["alice called"]
    sent = market.apply(told(None, wild(0.04), market.time))
    assert events(sent) == ["alice liquidation"]
    order = next(one.record for one in sent if one.kind == "liquidation")
    decode(Liquidation, orjson.dumps(order))
    assert [leg["quantity"] for leg in order["orders"]] == ["0.824"]  # 2 x (1 - 22,000 / 37,400) = 0.8235
    # a price below which the buyer is free is as far as 40 % x 0.8 + 2 % of it
    assert order["report"]["portfolio"]["binds"] == "value_at_risk"


def test_liquidation_prices_are_by_the_value_at_risk() -> None:
    """Short 2 with 30,000, 2 % x 10: 30,000 - x = 0.18 (100,000 + x), so 2 x price = 100,000 + 12,000 / 1.18."""
    market = short_two("30000")
    market.apply(told(None, wild(0.02), market.time))
    above = section(market)["units"][0]["liquidation_prices"]["above"]
    assert float(above) == pytest.approx((100_000.0 + 12_000.0 / 1.18) / 2.0)


def test_a_unit_without_a_past_adds_its_scan() -> None:
    """10 ETH-PERP at 2,000, +-20 %: 4,000 beside the 20,000 of BTC."""
    market = short_two("60000", ETHER)
    market.fills(Fill("g", "alice", "ETH-PERP", "10", "2000"))
    market.apply(told(None, wild(0.02), market.time))
    assert float(section(market)["value_at_risk"]) == pytest.approx(24_000.0)
    market.apply(told(None, wild(0.02, ("BTC", "ETH")), market.time))
    assert float(section(market)["value_at_risk"]) == pytest.approx(20_000.0 - 4_000.0), "known, it hedges"


def slow(unit: Json, horizon: str) -> Json:
    """The unit with a liquidity horizon, as ingest tells it."""
    return {**unit, **normalised(RiskUnit(id=unit["id"], price_range=unit["price_range"], liquidity_horizon=horizon))}


@pytest.mark.parametrize(
    ("bitcoin", "ether", "wanted"),
    [
        ("1", "1", 16_000.0),  # 20 % of 100,000 sold less 20,000 bought
        ("1", "4", math.hypot(16_000.0, 4_000.0 * math.sqrt(3.0))),
        ("2.25", "2.25", 24_000.0),
        ("4", "1", math.hypot(16_000.0, 20_000.0 * math.sqrt(3.0))),
        ("2", "5", math.hypot(16_000.0 * math.sqrt(2.0), 4_000.0 * math.sqrt(3.0))),
    ],
)
def test_what_takes_longer_to_get_out_of_counts_longer(bitcoin: str, ether: str, wanted: float) -> None:
    """All of the book over the shortest horizon, then over each further stretch what is still held (Basel MAR33.4)."""
    market = short_two("90000", slow(ETHER, ether), unit=slow(UNIT, bitcoin))
    market.fills(Fill("g", "alice", "ETH-PERP", "10", "2000"))
    market.apply(told(None, wild(0.02, ("BTC", "ETH")), market.time))
    assert float(section(market)["value_at_risk"]) == pytest.approx(wanted)
    steps = sorted({1.0: 0.0, float(bitcoin): 0.0, float(ether): 0.0})
    alone = {1.0: 16_000.0} | {h: abs(20_000.0 * (float(bitcoin) >= h) - 4_000.0 * (float(ether) >= h)) for h in steps}
    assert liquidity_horizon([alone[h] for h in steps], steps) == pytest.approx(wanted)


def test_a_unit_without_a_past_adds_its_scan_whatever_its_horizon() -> None:
    market = short_two("60000", slow(ETHER, "9"))
    market.fills(Fill("g", "alice", "ETH-PERP", "10", "2000"))
    market.apply(told(None, wild(0.02), market.time))
    assert float(section(market)["value_at_risk"]) == pytest.approx(24_000.0)
    market.fills(Fill("h", "alice", "BTC-PERP", "2", "50000"))
    assert float(section(market)["value_at_risk"]) == pytest.approx(4_000.0), "nothing else is held"


def test_options_count_over_their_horizon_too() -> None:
    """Two calls sold beside 10 ETH-PERP: over four horizons, the calls alone after the first."""
    found = {}
    for bitcoin, ether, calls, perpetuals in (
        ("1", "1", "-2", "10"),
        ("4", "1", "-2", "10"),
        ("1", "1", "-2", None),
        ("4", "1", "-2", None),
    ):
        market = Market((*STANDARD, slow(UNIT, bitcoin), slow(ETHER, ether), CALL), PRICES)
        market.settings(PORTFOLIO)
        market.collateral(Leg("d", "alice", "90000"))
        market.marks({"BTC": 50_000.0}, {"BTC-C": 2_800.0}, made_of={"BTC-C": (0.5, 50_000.0, 1.0)})
        market.fills(Fill("f", "alice", "BTC-C", calls, "2800"))
        if perpetuals:
            market.fills(Fill("g", "alice", "ETH-PERP", perpetuals, "2000"))
        market.apply(told(None, wild(0.03, ("BTC", "ETH")), market.time))
        found[bitcoin, perpetuals] = float(section(market)["value_at_risk"])
    assert found["4", None] == pytest.approx(2.0 * found["1", None]) != 0.0
    assert found["4", "10"] == pytest.approx(math.hypot(found["1", "10"], math.sqrt(3.0) * found["1", None]))


def test_options_are_valued_at_past_moves() -> None:
    """Two calls sold, valued anew at every move: their loss is that of Black-76 there, within the curve's step."""
    market = Market((*STANDARD, UNIT, CALL), PRICES)
    market.settings(PORTFOLIO)
    market.collateral(Leg("d", "alice", "60000"))
    deviation = 0.5 * math.sqrt(30.0 / 365.0)
    value = option_value(1.0, 50_000.0, 50_000.0, deviation, 1.0)
    market.marks({"BTC": 50_000.0}, {"BTC-C": value}, made_of={"BTC-C": (0.5, 50_000.0, 1.0)})
    market.fills(Fill("f", "alice", "BTC-C", "-2", "2800"))
    now = wild(0.03)
    market.apply(told(None, now, market.time))
    moved = [option_value(1.0, 50_000.0 * (1.0 + s), 50_000.0, deviation, 1.0) for s in now.moves[:, 0]]
    exact = tail_requirement(2.0 * (np.array(moved) - value), RULES.tail)
    assert float(section(market)["value_at_risk"]) == pytest.approx(exact, rel=0.01)
    assert section(market)["binds"] == "value_at_risk"


def test_a_unit_without_a_past_adds_its_scan_to_options_too() -> None:
    """Beside two calls sold, 10 ETH-PERP at 2,000, +-20 %: 4,000 more."""
    found = []
    for ether in ("0.01", "10.01"):
        market = Market((*STANDARD, UNIT, ETHER, CALL), PRICES)
        market.settings(PORTFOLIO)
        market.collateral(Leg("d", "alice", "60000"))
        market.marks({"BTC": 50_000.0}, {"BTC-C": 2_800.0}, made_of={"BTC-C": (0.5, 50_000.0, 1.0)})
        market.fills(Fill("f", "alice", "BTC-C", "-2", "2800"))
        market.fills(Fill("g", "alice", "ETH-PERP", ether, "2000"))
        market.apply(told(None, wild(0.03), market.time))
        found.append(float(section(market)["value_at_risk"]))
    assert found[1] - found[0] == pytest.approx(4_000.0)


def test_a_restored_shard_goes_on_as_if_nothing_had_happened() -> None:
    """From its records after each block, and from a snapshot of all: the same hash, requirement and next block."""
    market = short_two("30000")
    changelog: dict[bytes, bytes] = dict(state.dirty(market.shard))
    made = [wild(0.02, period=40 + at) for at in range(3)]
    for before, now in zip((None, *made), made, strict=False):
        market.apply(told(before, now, market.time))
        changelog |= dict(state.dirty(market.shard))
        assert state.hash_of(state.records(market.shard)) == state.state_hash(market.shard)
        shard = state.restore(0, changelog.items())
        assert state.state_hash(shard) == state.state_hash(market.shard)
    assert b"~risk" not in dict(state.dirty(market.shard)), "written when it changes, no more"
    twin = Market((*STANDARD, UNIT), None)
    twin.shard, twin.journal, twin.terms = state.restore(0, changelog.items()), list(market.journal), market.terms
    twin.time = market.time
    later = told(made[-1], wild(0.02, period=43), market.time)
    assert market.apply(later) == twin.apply(later)
    assert state.state_hash(twin.shard) == state.state_hash(market.shard)
    market.apply(taken_back(market.time))
    changelog |= dict(state.dirty(market.shard))
    assert state.state_hash(state.restore(0, changelog.items())) == state.state_hash(market.shard)


def test_a_past_that_is_no_number_leaves_the_book_unpriced() -> None:
    """A period whose move overflows: nobody knows what is at risk, and that is not nothing. Nothing is ordered."""
    market = short_two("1000")
    assert market.status("alice") == "liquidation"
    for book in (market, short_two("30000")):
        returns = np.full((RULES.window, 1), 0.01)
        returns[25, 0] = 1e200
        known = RiskParameters(np.array([0.01]), np.array([0.01]), np.eye(1), np.eye(1))
        sent = book.apply(told(None, factors(("BTC",), 40, RULES, known, returns), book.time))
        assert book.status("alice") == "unpriced"
        assert events(sent) == []


def test_coins_alone_are_at_risk() -> None:
    """2 BTC at 50,000 and nothing else, every move 4 %, ten times: 40,000 at risk against a scan of 16,000, with every
    marks block."""
    market = Market((*STANDARD, UNIT, ETHER), PRICES)
    market.settings(PORTFOLIO)
    market.collateral(Leg("d", "alice", "2", "BTC"), Leg("e", "alice", "-1", "ETH"))
    market.apply(told(None, wild(0.04, ("BTC", "ETH")), market.time))
    assert float(section(market)["value_at_risk"]) == pytest.approx(0.4 * 98_000.0)
    assert section(market)["binds"] == "value_at_risk"
    market.marks({"BTC": 1_000.0, "ETH": 2_000.0})  # what one loses the other gains
    assert float(section(market)["value_at_risk"]) == 0.0
    book = market.book("alice")
    assert market.shard.portfolio.offset[book] == math.inf
    assert book in market.shard.slack.woken(market.shard)


def test_what_is_too_large_to_margin_is_no_number() -> None:
    """A scenario whose gain is no number (inf - inf) must not count as one that loses nothing; status: unpriced."""
    account = measured([perpetual(1e3, 1e308), perpetual(-1e3, 1e308)], grid(price_range=0.16)).account
    assert np.isnan(account.maintenance_margin)
    assert np.isnan(account.initial_margin)
