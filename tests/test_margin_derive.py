"""Portfolio and standard margin of a peer: its own test cases come out of our kernels under its parameters.

Derive v2-core (`reference/derive_cases.json` names the files). Its contracts compute in 18 decimals and many cases
give whole dollars, cut toward zero. If one of these failed, a formula of the scenario margin would not be the
published one.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streams.margin.black76 import values
from streams.margin.risk_table import ExpiryRules
from streams.margin.scenarios import (
    ABSOLUTE_SKEW,
    ASSET,
    DOWN,
    LINEAR_SKEW,
    OPTION,
    SAME,
    UP,
    SkewShock,
    VolatilityShock,
    grid_of,
)
from streams.margin.standard_options import OptionRates, expiry_requirement
from tests.risk_books import BARE, Leg, Measured, measured, perpetual

CASES = json.loads((Path(__file__).parent / "reference" / "derive_cases.json").read_text())
YEAR = 365 * 86_400
SHOCKS = {"up": UP, "none": SAME, "down": DOWN, "linear": LINEAR_SKEW, "absolute": ABSOLUTE_SKEW}
Case = dict[str, Any]


def option_legs(case: Case) -> list[Leg]:
    legs = []
    for seconds, strike, right, quantity, volatility, confidence in case.get("options", ()):
        forward, fixed, certain, rate = case["forwards"][str(seconds)]
        legs.append(
            Leg(
                OPTION,
                quantity,
                forward,
                strike,
                right,
                seconds / YEAR,
                volatility,
                fixed=fixed,
                rate=rate,
                confidence=min(confidence, certain),
                index_price=case["spot"][0],
            )
        )
    return legs


def portfolio_balances(case: Case) -> tuple[float, float, Measured]:
    """Initial and maintenance balance: equity less requirement."""
    p = CASES["portfolio_parameters"][case["parameters"]]
    spot, certain = case["spot"]
    rows = [(move - 1.0, SHOCKS[shock], 1.0) for move in p["spot_shocks"] for shock in p["vol_shocks"]]
    grid = grid_of(rows, basis_up=p["basis_spot_up"] - 1.0, basis_down=p["basis_spot_down"] - 1.0)
    peg = max(p["peg_threshold"] - case["stable"], 0.0) * p["peg_factor"]
    rates = BARE._replace(
        initial_factor=p["im_factor"] + peg,
        factor_on_charges=True,
        basis_floors=True,
        naked_initial=p["option_percent"],
        naked_maintenance=p["option_percent"],
        unsure_below=p["confidence_threshold"],
        unsure=p["confidence_margin"],
    )
    legs = option_legs(case)
    equity = case["cash"]
    if "base" in case:
        held = {"initial": p["base_percent"], "maintenance": p["base_percent"], "confidence": certain}
        legs.append(Leg(ASSET, case["base"], spot / case["stable"], index_price=spot, **held))
    if "perpetual" in case:
        quantity, price, confidence, profit = case["perpetual"]
        held = {"initial": p["perp_percent"], "maintenance": p["perp_percent"], "confidence": confidence}
        legs.append(perpetual(quantity, price, index_price=spot, **held))
        equity += profit
    found = measured(
        legs,
        grid,
        rates,
        shock=VolatilityShock(
            p["vol_range_up"],
            p["vol_range_down"],
            p["short_term_power"],
            p["long_term_power"],
            p["dte_floor_days"],
            0.0,
        ),
        expiries=ExpiryRules(
            p["static_discount"],
            p["rate_mult"],
            p["rate_add"],
            basis_add=p["basis_add"],
            basis_multiply=p["basis_mult"],
        ),
        index_confidence=certain,
    )
    equity += found.value
    return equity - found.account.initial_margin, equity - found.account.maintenance_margin, found


@pytest.mark.parametrize("case", CASES["portfolio"], ids=lambda case: case["id"])
def test_portfolio_case(case: Case) -> None:
    """The worst of 21 scenarios and the basis contingency, static and confidence contingencies: as published."""
    *found, _ = portfolio_balances(case)
    if case["parameters"] == "precise":
        assert found == pytest.approx(case["expected"], abs=1e-9)
    else:
        assert [int(balance) for balance in found] == case["expected"]


def second_version(case: Case) -> Measured:
    up, down, add, multiply = case["basis"]
    rows = [(move, SHOCKS[shock], damped) for move, shock, damped in case["scenarios"]]
    rates = BARE._replace(
        initial_factor=case["factors"][0],
        maintenance_factor=case["factors"][1],
        basis_floors=True,
        naked_initial=case["naked"][0],
        naked_maintenance=case["naked"][1],
    )
    legs = []
    for seconds, strike, right, quantity, volatility, discount in case["options"]:
        forward, rate = case["forwards"][str(seconds)]
        more = {"rate": rate, "discount": discount, "index_price": case["spot"]}
        legs.append(Leg(OPTION, quantity, forward, strike, right, seconds / YEAR, volatility, **more))
    for amount, price, initial, maintenance, hedges in case["collateral"]:
        if hedges:
            held = {"initial": initial, "maintenance": maintenance}
            worth = price / case["stable"]
            legs.append(Leg(ASSET, amount, worth, index_price=worth, **held))
    return measured(
        legs,
        grid_of(rows, basis_up=up - 1.0, basis_down=down - 1.0),
        rates,
        shock=VolatilityShock(*case["volatility"]),
        skew=SkewShock(*case["skew"]),
        expiries=ExpiryRules(*case["discounts"], basis_add=add, basis_multiply=multiply),
    )


def test_second_version() -> None:
    """33 scenarios with dampened tails and a tilting smile, discounts both ways, coins that hedge: as published."""
    case = CASES["portfolio_2"]
    found = second_version(case)
    equity = case["cash"] + found.value
    initial, maintenance = found.account[:2]
    for amount, price, cut, cut_maintenance, hedges in case["collateral"]:
        if not hedges:
            worth = amount * price / case["stable"]
            equity += worth
            initial += worth * cut
            maintenance += worth * cut_maintenance
    assert [equity - initial, equity - maintenance] == pytest.approx(case["expected"], abs=1e-6)
    assert found.unit.basis == pytest.approx(-case["basis_contingency"], abs=1e-6)
    assert found.unit.scan == pytest.approx(-min(case["gains"]), abs=1e-6)
    assert found.worst == case["gains"].index(min(case["gains"]))
    assert found.gains == pytest.approx(case["gains"], abs=1e-6)


def standard_balances(case: Case) -> tuple[float, float]:
    p = CASES["standard_parameters"]
    rates = OptionRates(
        most=p["max_spot"],
        least=p["min_spot"],
        call=p["mm_call_spot"],
        put=p["mm_put_spot"],
        put_value=p["mm_put_mtm"],
        put_offset=p["mm_offset"],
        unpaired_initial=p["unpaired_im"],
        unpaired_maintenance=p["unpaired_mm"],
    )
    depeg = max(p["depeg_threshold"] - case["stable"], 0.0) * p["depeg_factor"]

    def doubt(*confidences: str) -> float:
        """Confidences stay decimals: one case stands a billionth of a billionth below the threshold."""
        least = min(Decimal(confidence) for confidence in confidences)
        if least >= Decimal(str(p["confidence_threshold"])):
            return 0.0
        return float(1 - least) * p["confidence_factor"]

    initial = maintenance = case["cash"]
    for market in case["markets"].values():
        spot, certain = market["spot"]
        base = market.get("base", 0.0) * spot
        maintenance += base * p["base_factor"]
        initial += base * (p["base_factor"] * p["base_im_scale"] - doubt(certain))
        if "perpetual" in market:
            quantity, price, confidence, profit = market["perpetual"]
            size = abs(quantity)
            maintenance += profit - size * price * p["perp_mm"]
            initial += profit - size * price * p["perp_im"] - size * spot * (doubt(confidence, certain) + depeg)
        for seconds, (forward, confidence, of_volatility) in market.get("forwards", {}).items():
            rows = np.array([row for row in market["options"] if str(row[0]) == seconds])
            years, strike, right, quantity, volatility = rows.T.copy()
            n = len(rows)
            marks = values(right, np.full(n, forward), strike, years / YEAR, volatility, np.ones(n))
            required = expiry_requirement(rates, right, quantity, strike, marks, spot, forward)
            shorts = -quantity[quantity < 0.0].sum()
            initial -= required[0] + shorts * spot * (doubt(certain, confidence, of_volatility) + depeg)
            maintenance -= required[1]
    return initial, maintenance


@pytest.mark.parametrize("case", CASES["standard"], ids=lambda case: case["id"])
def test_standard_case(case: Case) -> None:
    """Shorts one by one or an expiry by its worst payoff, whichever is less: as published, in whole dollars."""
    found = [int(round(balance, 9)) for balance in standard_balances(case)]
    assert found == case["expected"]
