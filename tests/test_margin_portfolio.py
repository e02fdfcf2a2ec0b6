"""Portfolio margin of an account: add-ons worked by hand, what binds, and what must hold of every book.

If one of these failed, an offset would be granted that is not there, or a hedge would cost more than no hedge.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.margin.offsets import Correlations
from streams.margin.portfolio import FLOOR, GRID, NOTHING, VALUE_AT_RISK, portfolio_risks, room_for
from streams.margin.risk_table import ExpiryRules
from streams.margin.scenarios import FUTURE, SkewShock, VolatilityShock, grid
from streams.margin.unit_risk import NONE
from tests.risk_books import BARE, Leg, alike, apart, call, measured, perpetual, put
from tests.tables import Row, rows

GRID_16 = grid(price_range=0.16)
SHOCK = VolatilityShock(0.45, 0.25, 0.30, 0.13, 1.0, 0.40)
SKEW = SkewShock(0.15, -0.05, 0.15, -0.05, 0.01, 4.0, 0.6, -0.1)
RATES = BARE._replace(
    maintenance_factor=0.8,
    calendar=0.01,
    naked_initial=0.005,
    naked_maintenance=0.005,
    delta_net=0.02,
    delta_hedged=0.01,
)

ADD_ONS = rows("""
case | legs | name | wanted
# a tenth: of a year, of the price; legs are kind, quantity, strike, years, of an underlying at 100
calendar: futures matched across expiries | F 3 0.1, F -2 0.5 | calendar | 2
# 1 % x 2 x 100
calendar: nothing against the same expiry | F 3 0.1, F -2 0.1 | calendar | 0
calendar: perpetual against a future | P 5, F -5 0.5 | calendar | 5
calendar: nothing on one side | F 3 0.1, F 2 0.5 | calendar | 0
naked: each short call and put by its strike | C -2 110 0.1, O -1 90 0.1 | naked_initial | 1.5
# 0.5 % x 3 x 100
naked: a call bought covers one sold at its strike | C -2 110 0.1, O 2 110 0.1 | naked_initial | 0
naked: not at another strike | C -2 110 0.1, C 2 120 0.1 | naked_initial | 1
naked: not of another expiry | C -2 110 0.1, C 2 110 0.2 | naked_initial | 1
delta: of a future alone | F 3 0.1 | minimum_delta | 6
# 2 % x 300
delta: hedged | F 3 0.1, F -2 0.5 | minimum_delta | 6
# 2 % x 100 + 1 % x (500 - 100)
basis: of a future | F 3 0.25 | basis | 12
# 4 % of 300 x (0.5 + 2 x 0.25)
basis: one expiry against another does not offset | F 3 0.25, F -3 0.5 | basis | 30
# 12 x (0.5 + 0.5) + 12 x (0.5 + 1)
basis: none of a perpetual | P 5 | basis | 0
""")


def leg_of(text: str) -> Leg:
    kind, *numbers = text.split()
    figures = [float(number) for number in numbers]
    if kind == "P":
        return perpetual(figures[0], 100.0)
    if kind == "F":
        return Leg(FUTURE, figures[0], 100.0, years=figures[1])
    quantity, strike, years = figures
    return (call if kind == "C" else put)(quantity, strike, years, 0.5, 100.0)


@pytest.mark.parametrize("row", ADD_ONS)
def test_add_on(row: Row) -> None:
    """Each add-on charges what the scenarios cannot see, and nothing else."""
    found = measured(
        [leg_of(leg) for leg in row["legs"].split(",")], GRID_16, RATES, shock=SHOCK, expiries=ExpiryRules()
    )
    assert getattr(found.unit, row["name"]) == pytest.approx(float(row["wanted"]), rel=1e-12, abs=1e-12)


def test_the_requirement_is_core_and_add_ons() -> None:
    """Initial margin = core + add-ons, maintenance margin = 0.8 core + add-ons: the report's lines add up."""
    legs = [leg_of("C -2 110 0.1"), leg_of("F 1 0.25"), leg_of("P -1")]
    found = measured(legs, GRID_16, RATES, shock=SHOCK, expiries=ExpiryRules())
    unit, account = found.unit, found.account
    common = unit.basis + unit.calendar + unit.minimum_delta + unit.liquidity
    assert min(unit.basis, unit.calendar, unit.naked_initial) > 0.0
    assert account.initial_margin == pytest.approx(unit.scan + common + unit.naked_initial)
    assert account.maintenance_margin == pytest.approx(0.8 * unit.scan + common + unit.naked_maintenance)
    assert (account.binds, account.core, account.grid_loss) == (GRID, unit.scan, unit.scan)


def test_liquidity() -> None:
    """Half the spread on every leg, and square-root impact on the net delta: 0.9 x 4 % x sqrt(N / volume)."""
    legs = [leg_of("P 100")._replace(spread=0.001), leg_of("F -20 0.1")._replace(spread=0.002)]
    rates = BARE._replace(impact=0.9)
    found = measured(legs, GRID_16, rates, daily_volatility=0.04, daily_volume=800_000.0)
    # 100 x 100 x 0.001 + 20 x 100 x 0.002 = 14; 0.9 x 0.04 x 8000 x sqrt(0.01) = 28.8
    assert found.unit.liquidity == pytest.approx(14.0 + 28.8)


def test_unsure_prices_raise_initial_margin_only() -> None:
    """A price whose confidence is low may hold an account back, not close it."""
    rates = BARE._replace(unsure_below=0.6, unsure=0.4)
    sure = measured([leg_of("P 1"), leg_of("C -1 110 0.1")], GRID_16, rates)
    doubtful = leg_of("C -1 110 0.1")._replace(confidence=0.5)
    found = measured([leg_of("P 1"), doubtful], GRID_16, rates)
    # (1 - 0.5) x 0.4 x 100 of the option's expiry; the perpetual is sure
    assert found.account.initial_margin - sure.account.initial_margin == pytest.approx(20.0)
    assert found.account.maintenance_margin == sure.account.maintenance_margin
    below = measured([leg_of("P 1")._replace(confidence=0.5), leg_of("C -1 110 0.1")], GRID_16, rates)
    assert below.account.unsure == pytest.approx(40.0), "what never expires is the measure of all of the unit"


BINDING = rows("""
case | legs | minimum | model | binds | core
nothing held | | 0 | 0 | nothing | 0
scenarios | P 1 | 0 | 15 | grid | 16
the model, a little more | P 1 | 0 | 16.5 | model | 16.5
least charge | P 1 | 20 | 17 | floor | 20
long option: never more than it is worth | C 1 200 0.1 | 50 | 70 | grid | 0.0064
# 100 forward, 200 strike, 50 %: worth next to nothing
""")
NAMES = {"nothing": NOTHING, "grid": GRID, "model": VALUE_AT_RISK, "floor": FLOOR}


@pytest.mark.parametrize("row", BINDING)
def test_what_binds(row: Row) -> None:
    """Core risk is the largest of scenarios, model and least charge, and the report says which."""
    legs = [leg_of(leg)._replace(minimum=float(row["minimum"])) for leg in (row["legs"] or "").split(",") if leg]
    found = measured(legs, GRID_16, value_at_risk=float(row["model"]))
    if row["case"].startswith("long option"):
        assert found.account.core == pytest.approx(found.value, rel=1e-12)
    else:
        assert found.account.binds == NAMES[row["binds"]]
        assert found.account.core == pytest.approx(float(row["core"]))
    assert (found.worst == NONE) == (not legs)


def two_units(offset: bool) -> Correlations:
    matrix = np.array([[1.0, 0.5], [0.5, 1.0]])
    return Correlations(np.full(2, 0 if offset else -1, np.int32), matrix, np.ones((2, 2)), np.array([0.5]))


def test_units_offset_only_where_said() -> None:
    """Long one coin, short another: half the sum at the least, and only where the two are known to move together."""
    legs = [perpetual(1.0, 100.0), perpetual(-1.0, 80.0, unit=1)]
    alone = measured(legs, GRID_16, correlations=two_units(False)).account
    together = measured(legs, GRID_16, correlations=two_units(True)).account
    assert (alone.grid_loss, alone.additive_loss) == pytest.approx((16.0 + 12.8, 16.0 + 12.8))
    # sqrt(16^2 + 12.8^2 - 2 x 0.5 x 16 x 12.8)
    assert together.grid_loss == pytest.approx((16.0**2 + 12.8**2 - 16.0 * 12.8) ** 0.5)


LEGS = st.lists(
    st.one_of(
        st.builds(lambda q: perpetual(float(q), 100.0), st.integers(-5, 5)),
        st.builds(lambda q, t: Leg(FUTURE, float(q), 101.0, years=t), st.integers(-5, 5), st.sampled_from([0.1, 0.5])),
        st.builds(
            lambda kind, q, k, t: kind(float(q), k, t, 0.6, 101.0, index_price=100.0),
            st.sampled_from([call, put]),
            st.integers(-5, 5),
            st.sampled_from([80.0, 100.0, 125.0]),
            st.sampled_from([0.1, 0.5]),
        ),
    ),
    max_size=6,
)


def required(legs: list[Leg]) -> tuple[float, float]:
    found = measured(legs, GRID_16, RATES, shock=SHOCK, skew=SKEW, expiries=ExpiryRules()).account
    return found.initial_margin, found.maintenance_margin


@settings(max_examples=60)
@given(legs=LEGS, more=LEGS)
def test_every_book(legs: list[Leg], more: list[Leg]) -> None:
    """Initial >= maintenance >= 0; twice the book requires twice; two books together never require more than apart."""
    initial, maintenance = required(legs)
    assert initial >= maintenance >= 0.0
    twice = required([leg._replace(quantity=2.0 * leg.quantity) for leg in legs])
    assert twice == pytest.approx((2.0 * initial, 2.0 * maintenance), rel=1e-9, abs=1e-9)
    # longs at a strike cover shorts, so merging may only help; the skew's tilt is taken per expiry and merges too
    other = required(more)
    both = required(legs + more)
    for at in (0, 1):
        assert both[at] <= (initial, maintenance)[at] + other[at] + 1e-9


@settings(max_examples=60)
@given(legs=LEGS)
def test_bought_options_can_lose_only_their_value(legs: list[Leg]) -> None:
    """A book of options bought requires at most what they are worth, whatever is added up."""
    bought = [leg._replace(quantity=abs(leg.quantity)) for leg in legs if leg.kind != FUTURE and leg.quantity]
    found = measured(bought, GRID_16, RATES, shock=SHOCK, skew=SKEW, value_at_risk=1e9)
    assert found.account.initial_margin <= found.value * (1 + 1e-12) + 1e-12


@settings(max_examples=40)
@given(books=st.lists(LEGS, min_size=1, max_size=4))
def test_neighbours_do_not_matter(books: list[list[Leg]]) -> None:
    """An account's margin has the same bits alone and among others, in one table of all instruments."""
    every = [leg for book in books for leg in book] or [perpetual(1.0, 100.0)]
    whole = measured(every, GRID_16, RATES, shock=SHOCK, skew=SKEW, expiries=ExpiryRules())
    at = {id(leg): number for number, leg in enumerate(every)}
    start, instrument, quantity = [0], [], []
    for book in books:
        numbers = sorted((at[id(leg)] for leg in book), key=lambda number: whole.table.line[number])
        instrument += numbers
        quantity += [every[number].quantity for number in numbers]
        start.append(len(instrument))
    found = np.empty((len(books), 2))
    arrays = (np.array(start), np.array(instrument, np.int32), np.array(quantity, float), np.zeros(len(books)))
    units = alike(GRID_16, RATES, 1)
    portfolio_risks(whole.table, units, apart(1), *arrays, room_for(units), found)
    for number, book in enumerate(books):
        alone = measured(book, GRID_16, RATES, shock=SHOCK, skew=SKEW, expiries=ExpiryRules()).account
        assert found[number].tolist() == [alone.initial_margin, alone.maintenance_margin]
