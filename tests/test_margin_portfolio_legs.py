"""Closing leg by leg: what goes first, what must stay, and that nobody is left with more sold than before.

If one of these failed, a liquidation would take away a hedge and leave the risk.
"""

import numpy as np
import pytest
from hypothesis import given, settings

from streams.margin.portfolio import room_for
from streams.margin.portfolio_book import book_risk
from streams.margin.portfolio_legs import charges_of_unit, leg_sizes, uncovered
from streams.margin.portfolio_liquidation import after_close
from streams.margin.portfolio_tail import no_tails
from tests.risk_books import Leg, apart, call, perpetual, put
from tests.test_margin_portfolio_liquidation import NO_COIN, QUANTITIES, UNITS, book_of, legs_of, ratio

#: Of a perpetual, a call and a put at 100, and a call at 120.
RIGHT = np.array([0.0, 1.0, -1.0, 1.0])
EVERY = np.ones(4, np.bool_)


def sized(of, closable=EVERY, target=1.10, most=1.0, right=RIGHT) -> np.ndarray:
    p, table, book, lots = of
    whole = UNITS, apart(1), NO_COIN, right
    return leg_sizes(p, table, *whole, book, lots, closable, target, most, no_tails(1), room_for(UNITS))


def poor(held: list[int] | list[Leg], part: float) -> tuple:
    """A book whose adjusted equity is about this part of what it needs; of legs, or of so many of those of RIGHT."""
    legs = [one for one in held if isinstance(one, Leg)]
    p, table, book, lots = book_of(legs or legs_of(held), 0.0)
    needed = book_risk(p, table, UNITS, apart(1), NO_COIN, book, no_tails(1), room_for(UNITS)).maintenance
    return p, table, book._replace(balance=np.array([needed * part])), lots


def test_one_leg_is_closed_to_the_lot() -> None:
    """Short 40 perpetuals at 100: 0.8 x 16 and 2 of delta, 14.8 each, 592 in all. With 532.8 (0.9) and 0.1 of fee a
    contract, (532.8 - 0.1 n) / (14.8 x (40 - n)) >= 1.10 from n = 8 (532 / 473.6 = 1.123; 7: 1.0895)."""
    assert sized(poor([-40, 0, 0, 0], 0.9)).tolist() == [8, 0, 0, 0]


def test_the_sold_side_of_a_spread_goes_and_its_cover_stays() -> None:
    """Short 10 calls at 100, long 10 at 120: buying back the near ones frees all; selling the far ones frees none."""
    sizes = sized(poor([0, -10, 0, 10], 0.8))
    assert sizes[1] > 0
    assert sizes[3] == 0


def test_a_hedge_stays() -> None:
    """Long 2 perpetuals under 10 calls sold: a rise binds and costs less by them, so calls alone are bought back."""
    sizes = sized(poor([2, -10, 0, 0], 0.8), most=0.2)
    assert sizes.tolist() == [0, 2, 0, 0]


def test_what_frees_most_a_fee_goes_first() -> None:
    """A perpetual sold frees 14.8 for a fee of 0.1; a call sold about 12 for a thirteenth of that."""
    sizes = sized(poor([-40, -10, 0, 0], 1.0))
    assert sizes[1] > 0
    assert sizes[0] == 0


def test_puts_bought_stay_while_puts_are_sold() -> None:
    """Under 40 perpetuals sold, which are halted, a rise binds, in which the bought puts lose what they cost: selling
    them alone would free margin, and leave the sold ones without cover in a fall."""
    legs = [perpetual(-40.0, 100.0), put(-10.0, 105.0, 0.1, 0.6, 100.0), put(10.0, 130.0, 0.1, 0.6, 100.0)]
    sizes = sized(poor(legs, 0.9), np.array([False, True, True]), right=np.array([0.0, -1.0, -1.0]))
    assert sizes[1] >= sizes[2] > 0, "a share of both, where neither may go alone"


def test_calls_bought_at_the_strike_that_is_sold_stay() -> None:
    """Over 40 perpetuals bought a fall binds, in which bought calls lose what they cost. Those at 90 may go, as the
    others cover what is sold; those at 100 may not, for what is sold there would be naked."""
    legs = [
        perpetual(40.0, 100.0),
        call(-10.0, 100.0, 0.1, 0.6, 100.0),
        call(10.0, 100.0, 0.1, 0.6, 100.0),
        call(10.0, 90.0, 0.1, 0.6, 100.0),
    ]
    sizes = sized(poor(legs, 0.7), right=np.array([0.0, 1.0, 1.0, 1.0]))
    assert sizes[3] > 0
    assert sizes[2] == 0


def test_a_cap_is_of_each_leg_and_halted_legs_stay() -> None:
    """A step that closed more than it may would move the market it sells into."""
    of = poor([-40, -10, 0, 0], 0.3)
    assert (sized(of, most=0.25) <= [10, 3, 0, 0]).all()
    assert sized(of, np.array([False, True, True, True]))[0] == 0


def test_where_no_leg_may_go_a_share_of_all_does() -> None:
    """A forced close must come to something even where every single leg covers another."""
    of = poor([10, -10, 0, 0], 0.5)
    assert sized(of).any()


@settings(max_examples=60)
@given(quantities=QUANTITIES)
def test_no_step_leaves_more_sold_uncovered_nor_more_to_lose(quantities: list[int]) -> None:
    """Step after step, from 0.8 of the requirement on: uncovered calls and puts, scan and naked charge never rise;
    every step closes something until the target is met, so a liquidation comes to its end."""
    of = poor(quantities, 0.8)
    p, table, book, lots = of
    room = room_for(UNITS)
    before = (*uncovered(table, RIGHT, 0, book), *charges_of_unit(p, table, UNITS, NO_COIN, 0, book, room))
    sizes = sized(of)
    assert ((sizes >= 0) & (sizes <= abs(lots))).all()
    if ratio(of, np.zeros(4, np.int64)) < 1.10:
        assert sizes.any()
    left = after_close(p, book, sizes)
    after = (*uncovered(table, RIGHT, 0, left), *charges_of_unit(p, table, UNITS, NO_COIN, 0, left, room))
    assert (np.array(after) <= np.array(before) * (1 + 1e-6) + 1e-6).all()


def test_uncovered_are_those_sold_beyond_those_bought() -> None:
    """By their right: a put bought covers no call."""
    _, table, book, _ = book_of(legs_of([9, -5, 3, 2]), 0.0)
    assert uncovered(table, RIGHT, 0, book) == (3.0, 0.0)
    assert uncovered(table, RIGHT, 1, book) == (0.0, 0.0)


@pytest.mark.parametrize("quantities", [[-40, 0, 0, 0], [5, -10, 0, 0], [-7, -10, -10, 3]])
def test_the_target_is_reached_where_closing_can(quantities: list[int]) -> None:
    """Or all that single legs can free is closed, and the next step goes on."""
    of = poor(quantities, 0.8)
    assert ratio(of, sized(of)) >= 1.10 * (1 - 1e-9)
