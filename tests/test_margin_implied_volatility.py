"""Implied volatility comes back from any price that has one, and what has none says why.

If one of these failed, a quoted price would become a wrong volatility mark, or stop the stream.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.margin.black76 import option_greeks, option_value, values
from streams.margin.implied_volatility import (
    ABOVE_BOUND,
    BAD_INPUT,
    BELOW_INTRINSIC,
    SOLVED,
    implied_volatilities,
    implied_volatility,
)
from tests.tables import Row, rows


@given(
    forward=st.floats(1e-2, 1e6),
    log_ratio=st.floats(-3.0, 3.0),
    years=st.floats(1e-4, 5.0),
    volatility=st.floats(0.05, 5.0),
    discount=st.floats(0.6, 1.1),
)
def test_round_trip(forward: float, log_ratio: float, years: float, volatility: float, discount: float) -> None:
    """Out of the money the volatility returns to 1e-12 of itself, or as near as the price's own digits allow."""
    strike = forward * math.exp(log_ratio)
    right = 1.0 if strike >= forward else -1.0
    greeks = option_greeks(right, forward, strike, years, volatility, discount)
    price = greeks.value
    bound = discount * min(forward, strike)
    if price < 1e-290 or price >= bound * (1.0 - 2.0**-50):
        return
    found, status = implied_volatility(right, price, forward, strike, years, discount)
    assert status == SOLVED
    # price rounds by 2e-16 of itself, near its bound by as much of that; vega turns that into volatility
    lost = 1e-14 * price / greeks.vega
    assert abs(found - volatility) <= 1e-12 * volatility + lost
    assert option_value(right, forward, strike, found * math.sqrt(years), discount) == pytest.approx(price, rel=2e-13)


def test_in_the_money_the_price_is_found() -> None:
    """A price deep in the money has few digits of volatility; the price itself still comes back."""
    for strike in (40.0, 60.0, 80.0):
        price = option_value(1.0, 100.0, strike, 0.3, 0.95)
        found, status = implied_volatility(1.0, price, 100.0, strike, 0.25, 0.95)
        assert status == SOLVED
        assert option_value(1.0, 100.0, strike, found * 0.5, 0.95) == pytest.approx(price, rel=1e-14)


REASONS = rows("""
case | right | price | forward | strike | years | discount | status | volatility
exactly what exercise pays | 1 | 9.0 | 110 | 100 | 1 | 0.9 | 0 | 0
nothing, out of the money | 1 | 0 | 90 | 100 | 1 | 0.9 | 0 | 0
less than exercise pays | 1 | 8.99 | 110 | 100 | 1 | 0.9 | 1 | nan
put for less than exercise pays | -1 | 8.99 | 90 | 100 | 1 | 0.9 | 1 | nan
call for the whole forward | 1 | 99 | 110 | 100 | 1 | 0.9 | 2 | nan
put for the whole strike | -1 | 90 | 110 | 100 | 1 | 0.9 | 2 | nan
negative price | 1 | -1 | 110 | 100 | 1 | 0.9 | 3 | nan
price missing | 1 | nan | 110 | 100 | 1 | 0.9 | 3 | nan
expired | 1 | 10 | 110 | 100 | 0 | 0.9 | 3 | nan
no forward | 1 | 10 | 0 | 100 | 1 | 0.9 | 3 | nan
endless forward | 1 | 10 | inf | 100 | 1 | 0.9 | 3 | nan
no discount | 1 | 10 | 110 | 100 | 1 | 0 | 3 | nan
""")


@pytest.mark.parametrize("row", REASONS)
def test_reason(row: Row) -> None:
    """Each price without a volatility gets its own reason, never an exception."""
    numbers = [float(row[name]) for name in ("right", "price", "forward", "strike", "years", "discount")]
    volatility, status = implied_volatility(*numbers)
    assert status == int(row["status"])
    assert (SOLVED, BELOW_INTRINSIC, ABOVE_BOUND, BAD_INPUT)[status] == status
    assert volatility == pytest.approx(float(row["volatility"]), nan_ok=True)


def test_many_at_once() -> None:
    """One bad quote in a chain spoils no other."""
    strike = np.array([80.0, 100.0, 120.0])
    right, forward, years, discount = np.array([-1.0, 1.0, 1.0]), np.full(3, 100.0), np.full(3, 0.25), np.ones(3)
    price = values(right, forward, strike, years, np.full(3, 0.4), discount)
    price[1] = -1.0
    found, status = implied_volatilities(right, price, forward, strike, years, discount)
    assert status.tolist() == [SOLVED, BAD_INPUT, SOLVED]
    assert found[[0, 2]] == pytest.approx([0.4, 0.4], rel=1e-13)
