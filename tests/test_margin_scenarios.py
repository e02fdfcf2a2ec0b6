"""Scenario grids, volatility shocks, risk arrays and offsets: venues' worked numbers, and what must always hold.

If one of these failed, a book would be required to survive another market than the one written down.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.margin.black76 import option_value
from streams.margin.offsets import OFFSETTING_MOST, Correlations, offset_requirement
from streams.margin.scenarios import (
    ABSOLUTE_SKEW,
    ASSET,
    DOWN,
    FUTURE,
    LINEAR_SKEW,
    SAME,
    UP,
    SkewShock,
    VolatilityShock,
    grid,
    grid_of,
    shocked_volatility,
    span_grid,
    term_shock,
)
from streams.margin.unit_risk import NONE, progressive
from tests.risk_books import BARE, NO_SHOCK, NO_SKEW, Leg, call, measured, perpetual, put

CASES = {
    case["id"]: case for case in json.loads((Path(__file__).parent / "reference" / "option_cases.json").read_text())
}


def test_term_shock() -> None:
    """S1: a volatility moves more the nearer its expiry, by the published power law."""
    given, wanted = CASES["S1"]["inputs"], CASES["S1"]["expected"]
    powers = (given["short_power"], given["long_power"], given["dte_floor"], 0.0)
    shock = VolatilityShock(given["up"], given["down"], *powers)
    assert [term_shock(shock.up, shock, days) for days in given["dte"]] == pytest.approx(wanted["up"], rel=1e-12)
    for days, up, down in zip(given["dte"], wanted["up"], wanted["down"], strict=True):
        years = days / 365.0
        assert shocked_volatility(0.5, years, 0.0, UP, shock, NO_SKEW) == pytest.approx(0.5 * (1.0 + up))
        assert shocked_volatility(0.5, years, 0.0, DOWN, shock, NO_SKEW) == pytest.approx(max(0.5 * (1.0 - down), 0.0))


def test_shocked_volatility_has_a_floor() -> None:
    """A quiet market's volatility is shocked to a level it has seen, not to a fraction more of nearly nothing."""
    shock = VolatilityShock(0.45, 0.25, 0.3, 0.13, 1.0, 0.40)
    assert shocked_volatility(0.10, 30 / 365, 0.0, UP, shock, NO_SKEW) == 0.40
    assert shocked_volatility(0.10, 30 / 365, 0.0, SAME, shock, NO_SKEW) == 0.10


def short_strangle_and_perpetual() -> list[Leg]:
    """The legs of S2."""
    given = CASES["S2"]["inputs"]
    legs = []
    for row in given["legs"]:
        if row["type"] == "perp":
            legs.append(perpetual(row["qty"], given["spot"]))
        else:
            kind = call if row["type"] == "call" else put
            legs.append(kind(row["qty"], row["K"], row["dte"] / 365.0, row["iv"], given["spot"]))
    return legs


#: Paradex's volatility shocks, +40 % and -22 % by the power law, and its two charges.
PARADEX = VolatilityShock(0.4, 0.22, 0.3, 0.13, 1.0, 0.0)
PARADEX_RATES = BARE._replace(maintenance_factor=0.5, delta_floors=True, delta_net=0.02, delta_hedged=0.01)


def test_24_scenarios() -> None:
    """S2: short calls behind a perpetual lose most at +500 %, dampened; margins and least delta as published."""
    case = CASES["S2"]
    rows = [(move, UP if shock > 0 else DOWN, damped) for move, shock, damped in case["inputs"]["scenarios"]]
    found = measured(
        short_strangle_and_perpetual(),
        grid_of(rows, basis_up=0.04, basis_down=-0.04),
        PARADEX_RATES,
        shock=PARADEX,
    )
    wanted = case["expected"]
    spot = case["inputs"]["spot"]
    assert found.worst == wanted["worst"] - 1
    assert found.unit.scan == pytest.approx(wanted["scan"], rel=1e-10)
    assert found.unit.delta / spot == pytest.approx(wanted["net_delta"], rel=1e-10)
    assert found.unit.minimum_delta == pytest.approx(wanted["min_delta"], rel=1e-10)
    assert found.account.initial_margin == pytest.approx(wanted["net_im"], rel=1e-10)
    assert found.account.maintenance_margin == pytest.approx(wanted["net_mm"], rel=1e-10)
    assert found.gains == pytest.approx(wanted["pnl"], rel=1e-9, abs=1e-7)


def test_span() -> None:
    """S3: a call sold on a long future at 2,790 loses most in scenario 16: three ranges down, 35 % of it covered."""
    # 54.8 at 30 days, next to nothing at 2,430: about 0.35 x (360 - 54.3) x 250 a contract, published 26,751
    volatility, years = 0.221, 30 / 365
    now, then = (option_value(1.0, price, 2825.0, volatility * math.sqrt(years), 1.0) for price in (2790.0, 2430.0))
    span = span_grid(scan_range=120 / 2790, covered=0.35)
    legs = [Leg(FUTURE, 250.0, 2790.0), call(-250.0, 2825.0, years, volatility, 2790.0)]
    found = measured(legs, span, shock=VolatilityShock(0.1, 0.1, 0.0, 0.0, 1.0, 0.0))
    assert found.worst == 15
    assert found.unit.scan == pytest.approx(0.35 * (360.0 - now + then) * 250.0, rel=1e-12)
    assert found.unit.scan == pytest.approx(26_751.0, rel=1e-3)


def test_minimum_charge_tiers() -> None:
    """S5: a minimum charge grows faster than the book."""
    given, wanted = CASES["S5"]["inputs"], CASES["S5"]["expected"]
    ends = [tier[0] for tier in given["tiers"]]
    start = np.array([0.0, *ends[:-1]])
    multiplier = np.array([float(tier[1]) for tier in given["tiers"]])
    adjusted = [progressive(float(raw), start, multiplier) for raw in given["raw"]]
    assert adjusted == pytest.approx(wanted["adj"])
    assert [max(given["mr"], charge) for charge in adjusted] == pytest.approx(wanted["mmr"])


def test_offset_between_units() -> None:
    """S6: the higher of the low and the high correlation, so a hedge is not taken for granted."""
    given, wanted = CASES["S6"]["inputs"], CASES["S6"]["expected"]
    signed = np.array(given["loss"]) * np.array(given["sign"])
    low, high = np.array(given["rho_low"]), np.array(given["rho_high"])
    unit, room = np.arange(3, dtype=np.int32), np.empty((2, 3))

    def together(first: np.ndarray, second: np.ndarray, least: float = 0.0) -> tuple[float, float]:
        of = Correlations(np.zeros(3, np.int32), first, second, np.array([least]))
        return offset_requirement(of, unit, signed, -signed, room)

    assert together(low, low) == pytest.approx((wanted["agg_low"], wanted["additive"]), rel=1e-12)
    assert together(high, high)[0] == pytest.approx(wanted["agg_high"], rel=1e-12)
    assert together(low, high)[0] == pytest.approx(wanted["requirement"], rel=1e-12)
    assert together(high, high, 0.5)[0] == pytest.approx(wanted["additive"] / 2)


LOSSES = st.lists(st.tuples(st.floats(-50.0, 100.0), st.floats(-50.0, 100.0)), min_size=1, max_size=OFFSETTING_MOST + 2)


@given(losses=LOSSES, grouped=st.booleans(), rho=st.floats(0.0, 1.0), least=st.floats(0.0, 1.0))
def test_offsets_stay_between_their_bounds(
    losses: list[tuple[float, float]], grouped: bool, rho: float, least: float
) -> None:
    """Together units lose at most the sum, at least the share of it; without a group exactly the sum."""
    n = len(losses)
    up, down = (np.array([pair[side] for pair in losses]) for side in (0, 1))
    matrix = np.full((n, n), rho) + (1.0 - rho) * np.eye(n)
    of = Correlations(np.full(n, 0 if grouped else -1, np.int32), matrix, np.ones((n, n)), np.array([least]))
    found, additive = offset_requirement(of, np.arange(n, dtype=np.int32), up, down, np.empty((2, n)))
    assert additive == pytest.approx(sum(max(*pair, 0.0) for pair in losses))
    assert least * additive * (1 - 1e-12) <= found <= additive * (1 + 1e-12)
    if not grouped:
        assert found == additive


def test_a_straddle_hedges_nothing() -> None:
    """A unit that loses both ways gives no relief to one that loses one way: the worst directions coincide."""
    up, down = np.array([100.0, -100.0]), np.array([90.0, 100.0])
    of = Correlations(np.zeros(2, np.int32), np.ones((2, 2)), np.ones((2, 2)), np.zeros(1))
    found, additive = offset_requirement(of, np.arange(2, dtype=np.int32), up, down, np.empty((2, 2)))
    # up: 100 - 100; down: 90 + 100
    assert (found, additive) == pytest.approx((190.0, 200.0))


def test_the_full_grid() -> None:
    """Nine prices with three volatilities, eight tails dampened to the edge of the range, two tilts of the smile."""
    full = grid(price_range=0.16)
    assert len(full.move) == 37
    assert sorted({round(move, 10) for move in full.move[:27]}) == pytest.approx(
        [-0.16, -0.12, -0.08, -0.04, 0.0, 0.04, 0.08, 0.12, 0.16]
    )
    assert np.abs(full.move[27:35] * full.dampening[27:35]) == pytest.approx(np.full(8, 0.16))
    assert (full.basis_up, full.basis_down) == (0.04, -0.04)
    assert len(grid(price_range=0.16, shocks_at_edge=(UP,), skew=False).move) == 31


@given(quantity=st.floats(-100.0, 100.0), price=st.floats(0.1, 1e5), coin_settled=st.booleans())
def test_tails_never_bind_a_delta_one_book(quantity: float, price: float, coin_settled: bool) -> None:
    """Without options the worst loss is that at the edge of the range, linear or coin-settled."""
    leg = Leg(FUTURE, quantity, price, coin_settled=coin_settled, settlement_price=price if coin_settled else 1.0)
    found = measured([leg], grid(price_range=0.2))
    assert found.unit.scan == pytest.approx(abs(found.unit.delta) * 0.2, rel=1e-12, abs=1e-12)
    assert found.worst in ((NONE,) if quantity == 0.0 else (0, 24)), "named by the base grid, not by a tail"


def test_coin_settled_instruments_gain_in_coins() -> None:
    """A short inverse future of the value of a coin held hedges it: dollars are worth the same in every scenario."""
    coin = Leg(ASSET, 2.0, 50_000.0)
    short = Leg(FUTURE, -100_000.0, 50_000.0, coin_settled=True, settlement_price=50_000.0)
    unit = measured([coin, short], grid(price_range=0.3)).unit
    assert (unit.scan, unit.delta) == pytest.approx((0.0, 0.0), abs=1e-9)


def test_coin_settled_options_are_worth_their_coins_at_the_moved_price() -> None:
    """Premium in coins gains with the coin; the coins it was worth before are an asset of their own."""
    spot, forward, strike, years, volatility = 50_000.0, 50_500.0, 55_000.0, 0.1, 0.6
    leg = call(-1.0, strike, years, volatility, forward, coin_settled=True, settlement_price=spot)
    found = measured([leg], grid_of([(0.1, SAME, 1.0)], basis_up=0.1, basis_down=-0.1))
    deviation = volatility * math.sqrt(years)
    now = option_value(1.0, forward, strike, deviation, 1.0) / forward
    then = option_value(1.0, forward * 1.1, strike, deviation, 1.0) / (forward * 1.1)
    assert found.unit.scan == pytest.approx((then - now) * spot * 1.1, rel=1e-12)
    assert found.value == pytest.approx(-now * spot, rel=1e-12)
    # with the coins of the premium beside it, the change of its dollar value
    owed = Leg(ASSET, -now, spot)
    both = measured([leg, owed], grid_of([(0.1, SAME, 1.0)], basis_up=0.1, basis_down=-0.1))
    assert both.unit.scan == pytest.approx(then * spot * 1.1 - now * spot, rel=1e-12)


@pytest.mark.parametrize("coin_settled", [False, True])
def test_dollar_greeks_are_the_curve(coin_settled: bool) -> None:
    """Dollar delta and gamma predict the revaluation of a small move: the report's numbers are those of the grid."""
    money = {"coin_settled": coin_settled, "settlement_price": 60_000.0 if coin_settled else 1.0}
    legs = [
        call(-5.0, 66_000.0, 14 / 365, 0.55, 60_000.0, **money),
        put(3.0, 54_000.0, 14 / 365, 0.6, 60_000.0, **money),
    ]
    move = 1e-4
    found = measured(legs, grid_of([(move, SAME, 1.0), (-move, SAME, 1.0)], basis_up=move, basis_down=-move))
    unit = found.unit
    assert found.gains[0] == pytest.approx(unit.delta * move + 0.5 * unit.gamma * move * move, rel=1e-6)
    assert found.gains.sum() == pytest.approx(unit.gamma * move * move, rel=1e-5)
    shifted = [leg._replace(volatility=leg.volatility + 1e-6) for leg in legs]
    assert measured(shifted, grid(price_range=0.1)).value - measured(
        legs, grid(price_range=0.1)
    ).value == pytest.approx(unit.vega * 1e-6, rel=1e-4)


def test_a_direction_that_gains_counts_its_least_gain() -> None:
    """Other units' losses are met with what this one surely gains, pro rata to the move, and no more."""
    unit = measured([perpetual(1.0, 100.0)], grid(price_range=0.16)).unit
    assert (unit.up, unit.down) == pytest.approx((-16.0, 16.0))
    sold = call(-1.0, 150.0, 0.1, 0.5, 100.0)
    unit = measured([sold], grid(price_range=0.16)).unit
    assert unit.up > 0.0
    # worth little, so falling prices gain little: less than the premium, whatever is lost the other way
    assert 0.0 < -unit.down <= 0.06


def test_time_stands_still() -> None:
    """In the scenario where nothing moves nothing is lost."""
    alone = grid_of([(0.0, SAME, 1.0)], basis_up=0.1, basis_down=-0.1)
    found = measured(short_strangle_and_perpetual(), alone, shock=NO_SHOCK)
    assert (found.worst, found.unit.scan) == (NONE, 0.0)


def test_tilts_come_last() -> None:
    """A grid out of order is refused, not margined with a tilt taken for a move."""
    with pytest.raises(ValueError, match="must come last, found one at 0 of 2"):
        grid_of([(0.0, LINEAR_SKEW, 1.0), (0.1, SAME, 1.0)], basis_up=0.1, basis_down=-0.1)


def test_a_tilt_counts_as_loss_either_way() -> None:
    """Bought calls gain where the smile tilts up, and it may tilt down as well: what is gained is what is lost."""
    tilted = grid_of([(0.0, LINEAR_SKEW, 1.0), (0.0, ABSOLUTE_SKEW, 1.0)], basis_up=0.1, basis_down=-0.1)
    skew = SkewShock(0.15, 0.0, 0.15, 0.0, 0.1, 0.0, 0.0, 0.0)
    # past k* = 0.1 the whole cap: volatility 60 % x 1.15, of a call; of a put 60 % x 0.85 and x 1.15
    for kind, strike, linear in ((call, 130.0, 0.15), (put, 75.0, -0.15)):
        deviation = 0.6 * math.sqrt(0.25)
        right = 1.0 if kind is call else -1.0
        now = option_value(right, 100.0, strike, deviation, 1.0)
        wanted = [option_value(right, 100.0, strike, deviation * (1.0 + by), 1.0) - now for by in (linear, 0.15)]
        for quantity in (1.0, -1.0):
            found = measured([kind(quantity, strike, 0.25, 0.6, 100.0)], tilted, skew=skew)
            assert found.gains == pytest.approx([-abs(gain) for gain in wanted], rel=1e-12)
