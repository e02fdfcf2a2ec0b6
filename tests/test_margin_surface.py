"""Volatility surfaces: smiles, terms between, limits, and arbitrage found where it is.

If one of these failed, an option would be marked at a volatility that nobody quoted, or one that others could milk.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.margin.black76 import option_value
from streams.margin.surface import (
    BAD_PARAMETERS,
    BUTTERFLY,
    CALENDAR,
    SOUND,
    Limits,
    Svi,
    between,
    checked,
    density_factor,
    spline,
    spline_volatility,
    svi_variance,
    svi_volatility,
)
from tests.tables import Row, rows

LIMITS = Limits()
K = np.linspace(-1.5, 1.5, 61)
#: Three published smiles of one day (Derive, 37, 128 and 219 days; PMRM_2 test case 16).
PUBLISHED = np.array(
    [
        [0.014300357704211502, 0.0827524527457924, -0.382822578433611968, -0.09580552917879888, 0.130054633001893984],
        [
            0.048077891716671768,
            0.178708998415908352,
            -0.303020572606101312,
            -0.135449045846644848,
            0.313322419209750784,
        ],
        [0.07368236692851656, 0.205025228089922624, -0.260716351690481504, -0.220169931306819072, 0.556540627238575424],
    ]
)
YEARS = np.array([0.1019197108067, 0.351233510908169984, 0.600548579401320064])
VOLATILITIES = [(0, 0.2205555944841637, 0.5654200442695773), (2, -0.0037391008533107, 0.5543377511787965)]
VOLATILITIES += [(1, 0.06697370601700148, 0.5435708270461805)]


def test_published_smiles() -> None:
    """The venue's own volatilities come out of its parameters, and its surface is sound."""
    for expiry, k, volatility in VOLATILITIES:
        found = svi_volatility(Svi(*PUBLISHED[expiry]), k, YEARS[expiry], LIMITS)
        assert found == pytest.approx(volatility, rel=1e-9)
    fault, expiry, k = checked(PUBLISHED, YEARS, K, 1e-9)
    assert (fault, expiry, math.isnan(k)) == (SOUND, -1, True)


FAULTS = rows("""
case | parameters | years | fault | expiry
sound | 0.04 0.1 -0.3 0 0.2, 0.08 0.1 -0.3 0 0.2 | 0.1 0.2 | 0 | -1
# the example of Vogt in Gatheral and Jacquier, section 3.1: a negative density near k = 0.8
negative density | -0.0410 0.1331 0.3060 0.3586 0.4153 | 1 | 1 | 0
total variance falls with the term | 0.08 0.1 -0.3 0 0.2, 0.04 0.1 -0.3 0 0.2 | 0.1 0.2 | 2 | 1
exactly the same variance at both terms is sound | 0.04 0.1 -0.3 0 0.2, 0.04 0.1 -0.3 0 0.2 | 0.1 0.2 | 0 | -1
tilt of one | 0.04 0.1 1 0 0.2 | 0.1 | 3 | 0
no width | 0.04 0.1 0 0 0 | 0.1 | 3 | 0
negative slope | 0.04 -0.1 0 0 0.2 | 0.1 | 3 | 0
negative variance | -0.04 0.1 0 0 0.2 | 0.1 | 3 | 0
not a number | nan 0.1 0 0 0.2 | 0.1 | 3 | 0
expired | 0.04 0.1 0 0 0.2 | 0 | 3 | 0
""")


@pytest.mark.parametrize("row", FAULTS)
def test_fault(row: Row) -> None:
    """A surface that can be arbitraged is refused with the place where."""
    smiles = np.array([[float(cell) for cell in smile.split()] for smile in row["parameters"].split(",")])
    years = np.array([float(cell) for cell in row["years"].split()])
    fault, expiry, k = checked(smiles, years, K, 1e-9)
    assert (SOUND, BUTTERFLY, CALENDAR, BAD_PARAMETERS)[fault] == int(row["fault"])
    assert expiry == int(row["expiry"])
    assert math.isnan(k) == (fault in (SOUND, BAD_PARAMETERS))


def test_a_butterfly_fault_is_one() -> None:
    """Where the check says butterfly, three calls bought and sold there are worth less than nothing."""
    smiles = np.array([[-0.0410, 0.1331, 0.3060, 0.3586, 0.4153]])
    _, _, k = checked(smiles, np.array([1.0]), K, 1e-9)
    h = 0.01

    def call_at(strike: float) -> float:
        variance = svi_variance(Svi(*smiles[0]), math.log(strike))[0]
        return option_value(1.0, 1.0, strike, math.sqrt(variance), 1.0)

    middle = math.exp(k)
    assert call_at(middle - h) - 2.0 * call_at(middle) + call_at(middle + h) < 0.0


@pytest.mark.parametrize("k", [-0.4, 0.0, 0.3])
def test_the_density_is_that_of_the_prices(k: float) -> None:
    """g(k) n(d2) / (K sqrt(w)) is the second derivative of the call by its strike: the check looks at real prices."""
    svi = Svi(*PUBLISHED[1])

    def call_at(strike: float) -> float:
        return option_value(1.0, 1.0, strike, math.sqrt(svi_variance(svi, math.log(strike))[0]), 1.0)

    strike, h = math.exp(k), 1e-3
    wanted = (call_at(strike - h) - 2.0 * call_at(strike) + call_at(strike + h)) / (h * h)
    variance, slope, bend = svi_variance(svi, k)
    d2 = -k / math.sqrt(variance) - 0.5 * math.sqrt(variance)
    density = math.exp(-0.5 * d2 * d2) / math.sqrt(2.0 * math.pi)
    found = density_factor(k, variance, slope, bend) * density / (strike * math.sqrt(variance))
    assert found == pytest.approx(wanted, rel=1e-4)


def test_a_spline_by_hand() -> None:
    """Through 0.5, 1, 0.5, 1 at 0, 1, 2, 3: 4 M1 + M2 = -6 and M1 + 4 M2 = 6, so the bends are 0, -2, 2, 0."""
    smile = spline(np.arange(4.0), np.array([0.5, 1.0, 0.5, 1.0]), 1.0)
    assert smile.bend == pytest.approx([0.0, -2.0, 2.0, 0.0], abs=1e-14)
    # 0.75 + (0.125 - 0.5) x -2 / 6
    assert spline_volatility(smile, 0.5, 1.0, LIMITS) == pytest.approx(0.875)


def test_limits_hold() -> None:
    """No surface says less than 10 % or more than 500 %, whatever was sent."""
    low, high = Svi(1e-9, 0.0, 0.0, 0.0, 0.1), Svi(90.0, 0.0, 0.0, 0.0, 0.1)
    assert svi_volatility(low, 0.0, 1.0, LIMITS) == 0.10
    assert svi_volatility(high, 0.0, 1.0, LIMITS) == 5.0
    smile = spline(np.array([-0.1, 0.1]), np.array([0.01, 9.0]), 1.0)
    assert [spline_volatility(smile, k, 1.0, LIMITS) for k in (-1.0, 1.0)] == [0.10, 5.0]


@given(
    quotes=st.lists(
        st.tuples(st.integers(-40, 40), st.floats(0.2, 2.0)), min_size=2, max_size=9, unique_by=lambda quote: quote[0]
    ),
    years=st.floats(0.01, 2.0),
)
def test_a_spline_goes_through_its_quotes(quotes: list[tuple[int, float]], years: float) -> None:
    """A strike that is quoted is marked at its quote; beyond the quotes the smile is flat."""
    quotes.sort()
    k, volatility = np.array([q[0] / 20.0 for q in quotes]), np.array([q[1] for q in quotes])
    smile = spline(k, volatility, years)
    found = [spline_volatility(smile, point, years, LIMITS) for point in k]
    assert found == pytest.approx(volatility, rel=1e-12)
    assert spline_volatility(smile, k[0] - 1.0, years, LIMITS) == volatility[0]
    assert spline_volatility(smile, k[-1] + 1.0, years, LIMITS) == volatility[-1]


def test_a_spline_is_smooth_and_a_line_stays_one() -> None:
    """The natural spline of a line is the line; of a parabola's points it bends as it does inside."""
    k = np.linspace(-0.5, 0.5, 11)
    line = spline(k, 0.5 + 0.2 * k, 1.0)
    assert spline_volatility(line, 0.123, 1.0, LIMITS) == pytest.approx(0.5 + 0.2 * 0.123, rel=1e-14)
    bent = spline(k, 0.5 + 0.2 * k * k, 1.0)
    assert spline_volatility(bent, 0.05, 1.0, LIMITS) == pytest.approx(0.5 + 0.2 * 0.05**2, rel=1e-3)
    with pytest.raises(ValueError, match="must have two or more quotes of ascending strike"):
        spline(np.array([0.1, 0.1]), np.array([0.5, 0.5]), 1.0)


@given(
    volatility=st.lists(st.floats(0.2, 1.5), min_size=3, max_size=3).map(np.array),
    term=st.floats(0.01, 1.0),
)
def test_terms_between_are_between(volatility: np.ndarray, term: float) -> None:
    """Between expiries total variance lies between theirs, at an expiry it is its own."""
    years = np.array([0.1, 0.3, 0.7])
    found = between(years, volatility, term)
    assert volatility.min() * (1 - 1e-12) <= found or 0.1 < term < 0.7
    for e, own in enumerate(years):
        assert between(years, volatility, own) == pytest.approx(volatility[e], rel=1e-14)
    if 0.1 < term < 0.7:
        at = 0 if term < 0.3 else 1
        ends = sorted((volatility**2 * years)[at : at + 2])
        assert ends[0] * (1 - 1e-12) <= found**2 * term <= ends[1] * (1 + 1e-12)
