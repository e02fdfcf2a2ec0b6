"""Books on portfolio margin that sleep: each term of the drift that they can bear, by a book that it alone wakes.

A market is taken exactly to where judging everything changes a book's status; the index must have woken it by then. If
one of these failed, an account would be called or liquidated a move too late.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from schemas.risk_terms import Correlations, RiskUnit
from streams.engine.judge import judged_now
from streams.engine.valuation import OK, STATUSES
from streams.ingest.term_rules import normalised
from streams.margin.black76 import option_value
from tests.builders import Fill, Leg, Market, T, asset, instrument, rules
from tests.option_terms import option

Move = Callable[[Market, float], object]
PORTFOLIO = {"account": "alice", "mode": "cross", "margin_model": "portfolio", "levels": {}, "source_offset": 1}
BITCOIN = {**normalised(RiskUnit(id="~risk_unit:BTC")), "version": 5}
TERMS = (rules(reporting_currency="USD"), asset("USD"), asset("BTC", 8), asset("ETH", 8))
PERP = instrument("BTC-PERP", settlement="USD")
PRICES = {"USD": 1.0, "BTC": 50_000.0, "ETH": 2_000.0}


def judged(market: Market) -> int:
    """Status of alice's book as judging it finds it, woken or not."""
    return int(judged_now(market.shard, np.array([market.book("alice")])).status[0])


def check_woken(made: Callable[[], Market], move: Move, most: float) -> None:
    """Alice sleeps, and is judged at the first factor of `move` from 1 on at which her status is another."""
    assert made().shard.slack.drifts.anchored()[made().book("alice")]

    def changes(factor: float) -> bool:
        market = made()
        move(market, factor)
        return judged(market) != OK

    low, high = 1.0, most
    assert changes(high)
    assert not changes(low)
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if changes(middle) else (middle, high)
    market = made()
    move(market, high)
    assert market.status("alice") == STATUSES[judged(market)] != "ok"


def settled(market: Market, *legs: Leg) -> Market:
    """On portfolio margin with these balances, anchored."""
    market.settings(PORTFOLIO)
    market.collateral(*legs)
    return market


@pytest.mark.parametrize(("owed", "cash", "most"), [("-100000", "170000", 1.04), ("100000", "-105000", 0.9546)])
def test_an_asset_of_no_unit_owed_or_owned(owed: str, cash: str, most: float) -> None:
    """EUR at 1.1, a debt of which counts half as much again: it rises, or what is owned falls, beside next to nothing
    else."""
    euro = asset("EUR", borrow_haircut="0.5")

    def made() -> Market:
        market = Market((*TERMS, euro, PERP, BITCOIN), {**PRICES, "EUR": 1.1})
        settled(market, Leg("d", "alice", cash, "USD"), Leg("e", "alice", owed, "EUR"))
        market.fills(Fill("f", "alice", "BTC-PERP", "0.001", "50000"))
        market.marks({"USD": 1.0}, after=1)
        return market

    check_woken(made, lambda market, factor: market.marks({"EUR": 1.1 * factor}, after=1), most)


def test_what_is_sold_loses_and_requires_more() -> None:
    """Short 1 BTC-PERP with 10,000: by a rise its loss, its scenarios and its minimum delta grow, all in proportion."""

    def made() -> Market:
        market = settled(Market((*TERMS, PERP, BITCOIN), PRICES), Leg("d", "alice", "10000", "USD"))
        market.fills(Fill("f", "alice", "BTC-PERP", "-1", "50000"))
        market.marks({"USD": 1.0}, after=1)
        return market

    check_woken(made, lambda market, factor: market.marks({"BTC": 50_000.0 * factor}, after=1), 1.2)


def test_offsets_are_no_reason_to_sleep() -> None:
    """Long BTC, short ETH: what offsets take off is not counted on, since it may go at once; a book that they leave
    next to nothing to require sleeps as long as one whose units are added up."""
    units = [RiskUnit(id=f"~risk_unit:{name}", group="g") for name in ("BTC", "ETH")]
    ether = instrument("ETH-PERP", settlement="USD", price_precision=2, quantity_precision=2)
    found = []
    for share in ("0", "1"):
        group = Correlations(id="~correlations:g", low="0.99", high="0.99", share=share)
        risk = [{**normalised(one), "version": 5 + at} for at, one in enumerate((*units, group))]
        market = settled(Market((*TERMS, PERP, ether, *risk), PRICES), Leg("d", "alice", "40000", "USD"))
        market.fills(Fill("f", "alice", "BTC-PERP", "1", "50000"), Fill("g", "alice", "ETH-PERP", "-25", "2000"))
        market.marks({"USD": 1.0}, after=1)
        book, drifts = market.book("alice"), market.shard.slack.drifts
        assert drifts.anchored()[book]
        found.append((float(market.bucket("alice")["maintenance_margin"]), drifts._radius[book]))
    (offset, radius), (added, wanted) = found
    assert offset < 0.5 * added
    assert radius == pytest.approx(wanted, rel=1e-12)


def test_bought_options_alone_require_what_they_are_worth() -> None:
    """A call far out of the money requires what the model says that it is worth, however small its scan: the model's
    value rises with the forward, while the mark that equity counts stands."""
    unit = RiskUnit(id="~risk_unit:BTC", price_range="0.01", tails=(), skew=False, delta_net="0.05", delta_hedged="0")
    call = option("BTC-C", "call", "52000", expiry=T + 86_400_000, settlement="USD")
    risk = {**normalised(unit), "version": 5}

    def told(market: Market, factor: float) -> None:
        made_of = {"BTC-C": (0.4, 50_000.0 * factor, 1.0)}
        market.marks({}, {"BTC-C": value}, after=1, made_of=made_of)

    value = option_value(1.0, 50_000.0, 52_000.0, 0.4 * (1.0 / 365.0) ** 0.5, 1.0)

    def made() -> Market:
        market = Market((*TERMS, call, risk), None)
        market.marks(PRICES, {"BTC-C": value}, made_of={"BTC-C": (0.4, 50_000.0, 1.0)})
        settled(market, Leg("d", "alice", "30000", "USD"))
        market.fills(Fill("f", "alice", "BTC-C", "100", "200"))
        market.collateral(Leg("w", "alice", "-5000", "USD", type="withdrawal"))
        told(market, 1.0)
        return market

    check_woken(made, told, 1.05)
    market = made()
    row, drifts = market.shard.terms.instrument_index["BTC-C"], market.shard.slack.drifts
    worth, required, delta, _ = 100.0 * drifts._scale[drifts._anchor[market.book("alice")], row]
    # requirement = 0.8 scan + what of the charges leaves room up to the worth: worth, and scan again, may add to it
    capped = required + required / 0.8 + 2.8 * worth
    found = market.bucket("alice")
    slack = float(found["adjusted_equity"]) - 1.25 * float(found["maintenance_margin"])
    cost = worth + 1.25 * (capped + (0.05 + 0.01) * delta)  # of delta, minimum and calendar charge
    assert drifts._radius[market.book("alice")] == pytest.approx(slack / cost, rel=1e-4)
