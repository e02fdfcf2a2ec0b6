"""Option prices and greeks: against QuantLib at 10,000 points, by finite differences, and at every limit.

If one of these failed, every option would be marked wrong, and every hedge with it.
"""

import math

import numpy as np
import pytest
import QuantLib
from hypothesis import given
from hypothesis import strategies as st

from streams.margin.black76 import (
    Greeks,
    coin_delta,
    coin_value,
    greeks,
    option_greeks,
    option_value,
    payoff,
    settlement_forward,
    settlement_mean,
    values,
)
from tests.tables import Row, rows

CALL, PUT = 1.0, -1.0
COUNT = 10_000
#: mpmath at 320 digits: F N(d1) - K N(d2) for F = 100, K = 160, deviation 0.016
FAR = 3.9119897271241944e-191


def points() -> tuple[np.ndarray, ...]:
    """Random and edge points: strikes a tenth to ten times the forward, an hour to five years, 1 % to 500 %."""
    draw = np.random.default_rng(20_221_118)
    right = draw.choice([CALL, PUT], COUNT)
    forward = np.exp(draw.uniform(math.log(0.01), math.log(200_000.0), COUNT))
    strike = forward * np.exp(draw.uniform(-2.3, 2.3, COUNT))
    years = np.exp(draw.uniform(math.log(1.0 / 8760.0), math.log(5.0), COUNT))
    volatility = np.exp(draw.uniform(math.log(0.01), math.log(5.0), COUNT))
    discount = np.exp(-draw.uniform(-0.05, 0.3, COUNT) * years)
    strike[:500] = forward[:500]
    strike[500:1000] = forward[500:1000] * (1.0 + draw.uniform(-1e-6, 1e-6, 500))
    volatility[1000:1200], years[1000:1200] = 5.0, 5.0
    volatility[1200:1400], years[1200:1400] = 0.01, 1.0 / 8760.0
    discount[1400:1600] = 1.0
    return right, forward, strike, years, volatility, discount


def by_quantlib(right, forward, strike, years, volatility, discount) -> Greeks:
    deviation = volatility * math.sqrt(years)
    paid = QuantLib.PlainVanillaPayoff(QuantLib.Option.Call if right > 0 else QuantLib.Option.Put, strike)
    black = QuantLib.BlackCalculator(paid, forward, deviation, discount)
    rate = -math.log(discount) / years
    return Greeks(
        black.value(),
        black.deltaForward(),
        black.gammaForward(),
        black.vega(years),
        rate * black.value() - 0.5 * black.gammaForward() * (forward * volatility) ** 2,
        -years * black.value(),
        math.nan,
        math.nan,
    )


def test_quantlib_agrees() -> None:
    """Value, delta, gamma, vega, theta and rho at 10,000 points, as closely as float64 lets two formulas agree."""
    arguments = points()
    found = greeks(*arguments)
    wanted = np.array([by_quantlib(*map(float, row)) for row in zip(*arguments, strict=True)]).T
    _, forward, strike, years, volatility, discount = arguments
    largest = np.maximum(forward, strike)
    deviation = volatility * np.sqrt(years)
    # of the larger of forward and strike; a delta of 1; gamma and vega at the money; theta as vega turns it
    peak = 0.4 * discount
    sizes = {
        "value": discount * largest,
        "delta": discount,
        "gamma": peak / (forward * deviation),
        "vega": peak * forward * np.sqrt(years),
        "theta": peak * forward * volatility / np.sqrt(years) + discount * largest,
        "rho": discount * largest * years,
    }
    for name, size in sizes.items():
        at = Greeks._fields.index(name)
        # log(F / K) / deviation rounds by 1e-16 / deviation: that much no float64 formula can tell apart
        allowed = 2e-15 + 4e-16 * np.maximum(np.abs(np.log(forward / strike)), 1.0) / deviation
        worst = np.max(np.abs(found[at] - wanted[at]) / size / allowed)
        assert worst < 1.0, (name, worst)
    assert np.max(np.abs(found[0] - wanted[0]) / largest) < 2e-15
    assert np.array_equal(values(*arguments), found[0])


@pytest.mark.parametrize("right", [CALL, PUT])
@pytest.mark.parametrize("strike", [70.0, 95.0, 100.0, 130.0])
def test_greeks_are_derivatives(right: float, strike: float) -> None:
    """A greek is what the price does when its argument moves, vanna, volga and theta too."""
    forward, years, volatility, rate = 100.0, 0.3, 0.6, 0.05

    def value(f: float = forward, t: float = years, v: float = volatility) -> float:
        return option_value(right, f, strike, v * math.sqrt(t), math.exp(-rate * t))

    def vega(v: float) -> float:
        return option_greeks(right, forward, strike, years, v, math.exp(-rate * years)).vega

    found = option_greeks(right, forward, strike, years, volatility, math.exp(-rate * years))
    h = 1e-4
    wanted = {
        "delta": (value(f=forward + h) - value(f=forward - h)) / (2 * h),
        "gamma": (value(f=forward + 0.01) - 2 * value() + value(f=forward - 0.01)) / 0.01**2,
        "vega": (value(v=volatility + h) - value(v=volatility - h)) / (2 * h),
        "theta": -(value(t=years + h) - value(t=years - h)) / (2 * h),
        "volga": (vega(volatility + h) - vega(volatility - h)) / (2 * h),
    }
    for name, number in wanted.items():
        assert getattr(found, name) == pytest.approx(number, rel=1e-5, abs=1e-7), name
    up, down = (option_greeks(right, forward + s, strike, years, volatility, math.exp(-rate * years)) for s in (h, -h))
    assert found.vanna == pytest.approx((up.vega - down.vega) / (2 * h), rel=1e-6, abs=1e-8)
    assert found.rho == pytest.approx(-years * value())


LIMITS = rows("""
case | right | forward | strike | years | volatility | value | delta
# exercise pays, discounted by 0.9
expired call in the money | 1 | 110 | 100 | 0 | 0.5 | 9 | 0.9
expired call out of the money | 1 | 90 | 100 | 0 | 0.5 | 0 | 0
expired put in the money | -1 | 90 | 100 | 0 | 0.5 | 9 | -0.9
expired exactly at the strike | 1 | 100 | 100 | 0 | 0.5 | 0 | 0.45
no volatility, call in the money | 1 | 110 | 100 | 1 | 0 | 9 | 0.9
no volatility, put exactly at the strike | -1 | 100 | 100 | 1 | 0 | 0 | -0.45
no volatility, put out of the money | -1 | 110 | 100 | 1 | 0 | 0 | 0
# worth the forward less the strike; the strike is worth nothing
a strike of a billionth | 1 | 100 | 0.0000001 | 1 | 0.5 | 89.99999991 | 0.9
a strike of a billion forwards | 1 | 100 | 100000000000 | 1 | 0.5 | 0 | 0
a put of a billion forwards | -1 | 100 | 100000000000 | 1 | 0.5 | 89999999910 | -0.9
# N(d1) is 1 and N(d2) 0: a call is worth the forward, a put the strike
endless volatility, call | 1 | 100 | 150 | 1 | 500 | 90 | 0.9
endless volatility, put | -1 | 100 | 150 | 1 | 500 | 135 | 0
""")


@pytest.mark.parametrize("row", LIMITS)
def test_limit(row: Row) -> None:
    """At its edges an option is what it must be, all its greeks finite."""
    right, forward, strike, years, volatility = (
        float(row[name]) for name in ("right", "forward", "strike", "years", "volatility")
    )
    found = option_greeks(right, forward, strike, years, volatility, 0.9)
    assert found.value == pytest.approx(float(row["value"]), rel=1e-12)
    assert found.delta == pytest.approx(float(row["delta"]), rel=1e-12)
    assert all(math.isfinite(number) for number in found)


def test_a_far_strike_keeps_its_digits() -> None:
    """A call 60 % out of the money for an hour is worth 1e-190, not 0 and not rounding noise."""
    assert option_value(CALL, 100.0, 160.0, 0.016, 1.0) == pytest.approx(FAR, rel=1e-12)


@given(
    forward=st.floats(1e-3, 1e6),
    ratio=st.floats(0.05, 20.0),
    deviation=st.floats(0.0, 6.0),
    discount=st.floats(0.5, 1.1),
)
def test_parity_and_bounds(forward: float, ratio: float, deviation: float, discount: float) -> None:
    """A call less a put is a forward; neither is worth less than exercise or more than what it can pay."""
    strike = forward * ratio
    call = option_value(CALL, forward, strike, deviation, discount)
    put = option_value(PUT, forward, strike, deviation, discount)
    size = discount * max(forward, strike)
    assert call - put == pytest.approx(discount * (forward - strike), abs=4e-16 * size)
    assert max(discount * (forward - strike), 0.0) <= call <= discount * forward * (1 + 1e-15)
    assert max(discount * (strike - forward), 0.0) <= put <= discount * strike * (1 + 1e-15)
    more = option_value(CALL, forward, strike, deviation + 0.01, discount)
    assert more >= call * (1 - 1e-15)


def test_coins() -> None:
    """A coin-settled option costs V / F coins, and its hedge leaves out the coins of the premium."""
    one = option_greeks(CALL, 60_000.0, 66_000.0, 14 / 365, 0.55, 1.0)
    coins = coin_value(one.value, 60_000.0)
    assert payoff(CALL, 60_000.0 * 1.2, 66_000.0, True) == pytest.approx(6_000.0 / 72_000.0)
    # the premium's own price as the forward moves, in coins: its derivative x F is the hedge
    h = 1.0
    up, down = (
        option_value(CALL, f, 66_000.0, 0.55 * math.sqrt(14 / 365), 1.0) / f for f in (60_000.0 + h, 60_000.0 - h)
    )
    assert coin_delta(one.delta, one.value, 60_000.0) == pytest.approx((up - down) / (2 * h) * 60_000.0, rel=1e-7)
    assert coins == pytest.approx(one.value / 60_000.0)


def test_settlement_begins_smoothly_and_ends_known() -> None:
    """When the settlement window opens nothing jumps; when it closes nothing can move any more."""
    window = 0.5 / 8760.0
    opening = settlement_forward(100.0, 100.0, window, window)
    inside = settlement_forward(100.0, 100.0, window * (1 - 1e-9), window)
    assert opening == (100.0, pytest.approx(window / 3.0))
    assert inside == (pytest.approx(100.0), pytest.approx(window / 3.0, rel=1e-8))
    # half the window gone at a mean of 90, the index at 110: (90 + 110) / 2, and half of it moves by half the time
    forward, years = settlement_forward(110.0, 90.0, window / 2.0, window)
    assert forward == pytest.approx(100.0)
    assert years == pytest.approx(window / 6.0 * (0.5 * 110.0 / 100.0) ** 2)
    assert settlement_forward(110.0, 90.0, 0.0, window) == (90.0, 0.0)


MEANS = rows("""
case | times | prices | opened | closed | mean
one price | 0 | 50 | 10 | 20 | 50
each until the next | 0 10 20 | 100 110 120 | 5 | 25 | 110
# (100 x 5 + 110 x 10 + 120 x 5) / 20
a price exactly at the close does not count | 0 10 | 100 900 | 0 | 10 | 100
a price exactly at the start replaces the one before | 0 10 | 900 100 | 10 | 20 | 100
""")


@pytest.mark.parametrize("row", MEANS)
def test_settlement_mean(row: Row) -> None:
    """An expiry is settled at the mean over the window, whatever was quoted how often."""
    times, prices = (np.array([float(cell) for cell in row[name].split()]) for name in ("times", "prices"))
    assert settlement_mean(times, prices, float(row["opened"]), float(row["closed"])) == float(row["mean"])


def test_settlement_mean_needs_a_price_and_a_window() -> None:
    """A gap in the index is said, not filled."""
    with pytest.raises(ValueError, match="must have a price at its start 5"):
        settlement_mean(np.array([6.0]), np.array([1.0]), 5.0, 7.0)
    with pytest.raises(ValueError, match="must close after it opens"):
        settlement_mean(np.array([1.0]), np.array([1.0]), 5.0, 5.0)
