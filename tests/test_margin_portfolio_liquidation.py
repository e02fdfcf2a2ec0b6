"""What is closed of a book on portfolio margin: shares that keep hedges, and never a sold option without its cover.

If one of these failed, a liquidation would leave an account with more risk than it had.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.margin.equity import Book, net_assets
from streams.margin.parameters import AssetParameters, InstrumentParameters, Parameters, Tier, build
from streams.margin.portfolio import room_for
from streams.margin.portfolio_book import book_risk
from streams.margin.portfolio_liquidation import after_close, keeping_cover, leg_loss, share_of_lots, share_sizes
from streams.margin.portfolio_tail import no_tails
from streams.margin.risk_table import MARK, ExpiryRules, RiskTable
from streams.margin.risk_units import RiskUnits
from streams.margin.scenarios import SkewShock, VolatilityShock, grid
from streams.margin.unit_risk import ChargeRates
from tests.risk_books import Leg, alike, apart, call, perpetual, put, table_of

GRID = grid(price_range=0.16)
RATES = ChargeRates(1.0, 0.8, False, False, False, 0.01, 0.005, 0.005, 0.02, 0.01, 0.0, 0.0, 0.0)
SHOCK = VolatilityShock(0.45, 0.25, 0.3, 0.13, 1.0, 0.4)
SKEW = SkewShock(0.15, -0.05, 0.15, -0.05, 0.01, 4.0, 0.6, -0.1)
UNITS = alike(GRID, RATES, 1)
NO_COIN = np.array([-1], np.int32)


def legs_of(quantities: list[int]) -> list[Leg]:
    """A perpetual, a call and a put at 100, a call at 120, all of an underlying at 100."""
    made = [
        perpetual(quantities[0], 100.0),
        call(quantities[1], 100.0, 0.1, 0.6, 100.0),
        put(quantities[2], 100.0, 0.1, 0.6, 100.0),
        call(quantities[3], 120.0, 0.1, 0.7, 100.0),
    ]
    return [leg._replace(quantity=float(leg.quantity)) for leg in made]


def book_of(legs: list[Leg], cash: float, fee: float = 0.001) -> tuple[Parameters, RiskTable, Book, np.ndarray]:
    """Parameters, risk table, book and lots of an account that opened the legs at their marks; a lot is 1."""
    table = table_of(legs, GRID, SHOCK, SKEW, ExpiryRules())
    flat = (Tier(notional_from=0.0, initial_margin=0.1, maintenance_margin=0.05),)
    one = InstrumentParameters(settlement=0, underlying=0, tiers=flat, liquidation_fee=fee)
    p = build([one] * len(legs), [AssetParameters()], [-1])
    n = len(legs)
    mark = table.amounts[:, MARK].copy()
    quantity = np.array([leg.quantity for leg in legs])
    book = Book(
        np.arange(n, dtype=np.int32), quantity, quantity * mark, np.zeros(n), mark, np.zeros(n, np.int32),
        np.zeros(1, np.int32), np.array([cash]), np.ones(1),
    )  # fmt: skip
    return p, table, book, quantity.astype(np.int64)


def sized(of: tuple[Parameters, RiskTable, Book, np.ndarray], closable: list[bool], most: float = 1.0) -> np.ndarray:
    p, table, book, lots = of
    return share_sizes(
        p, table, UNITS, apart(1), NO_COIN, book, lots, np.array(closable), 1.10, most, no_tails(1), room_for(UNITS)
    )  # fmt: skip


def ratio(of: tuple[Parameters, RiskTable, Book, np.ndarray], sizes: np.ndarray, units: RiskUnits = UNITS) -> float:
    p, table, book, _ = of
    found = book_risk(p, table, units, apart(1), NO_COIN, after_close(p, book, sizes), no_tails(1), room_for(units))
    return found.adjusted / found.maintenance if found.maintenance else np.inf


def test_a_share_in_whole_lots() -> None:
    """Sold legs up, bought legs down; a share that is whole but for rounding is that; nothing of what may not close."""
    lots = np.array([-10, 10, -3, 7])
    every = np.ones(4, np.bool_)
    assert share_of_lots(lots, every, 0.25).tolist() == [3, 2, 1, 1]
    assert share_of_lots(lots, every, 0.1 * 3).tolist() == [3, 3, 1, 2]
    assert share_of_lots(lots, every, 1.0).tolist() == [10, 10, 3, 7]
    assert share_of_lots(lots, np.array([True, True, False, False]), 1.0).tolist() == [10, 10, 0, 0]


def test_closing_pays_the_fee_and_nothing_else() -> None:
    """Closing at the mark turns P&L that is not realised into cash."""
    of = book_of(legs_of([5, -4, 0, 4]), 50.0, fee=0.01)
    p, _, book, _ = of
    before, after = np.empty(1), np.empty(1)
    net_assets(p, book, before)
    closed = after_close(p, book, np.array([2, 3, 0, 0]))
    net_assets(p, closed, after)
    assert closed.quantity.tolist() == [3.0, -1.0, 0.0, 4.0]
    assert before[0] - after[0] == pytest.approx(0.01 * (2 * 100.0 + 3 * book.mark[1]))


QUANTITIES = st.lists(st.integers(-40, 40), min_size=4, max_size=4).filter(lambda q: any(q[1:]))


@settings(max_examples=60)
@given(quantities=QUANTITIES, part=st.floats(0.05, 0.99))
def test_the_least_share_that_reaches_the_target(quantities: list[int], part: float) -> None:
    """The target is met where any share meets it, no call or put sold loses its cover, and a cap holds."""
    whole = book_of(legs_of(quantities), 0.0)
    p, table, book, lots = whole
    needed = book_risk(p, table, UNITS, apart(1), NO_COIN, book, no_tails(1), room_for(UNITS)).maintenance
    of = p, table, book._replace(balance=np.array([needed * part])), lots
    sizes = sized(of, [True] * 4)
    shares = [share_of_lots(lots, np.ones(4, np.bool_), step / 64) for step in range(1, 65)]
    reached = [ratio(of, share) >= 1.10 * (1 - 1e-9) for share in shares]
    if any(reached):
        assert ratio(of, sizes) >= 1.10 * (1 - 1e-9)
        assert (sizes <= shares[reached.index(True)]).all()
    else:
        assert sizes.tolist() == abs(lots).tolist()
    left = lots - np.sign(lots) * sizes
    for calls in ([1, 3], [2]):
        sold, sold_before = -np.minimum(left[calls], 0).sum(), -np.minimum(lots[calls], 0).sum()
        bought, bought_before = np.maximum(left[calls], 0).sum(), np.maximum(lots[calls], 0).sum()
        assert max(sold - bought, 0) <= max(sold_before - bought_before, 0)
    capped = sized(of, [True] * 4, 0.25)
    assert (capped <= np.ceil(abs(lots) * 0.25)).all()


def test_cover_stays_where_the_sold_option_must() -> None:
    """A halted call sold keeps the call bought over it and the perpetual; other options sold may go."""
    legs = legs_of([5, -5, -5, 5])
    of = book_of(legs, 1.0)
    closable = np.array([True, False, True, True])
    assert keeping_cover(of[1], of[2], closable).tolist() == [False, False, True, False]
    assert sized(of, closable.tolist())[[0, 1, 3]].tolist() == [0, 0, 0]


def test_a_legs_own_loss() -> None:
    """Limits share what a book may lose by this: a future loses its range, an option bought at most its value."""
    _, table, book, _ = book_of(legs_of([1, 1, -1, 1]), 0.0)
    losses = [leg_loss(table, UNITS, row, quantity) for row, quantity in enumerate(book.quantity)]
    assert losses[0] == pytest.approx(16.0)
    assert 0.0 < losses[1] < book.mark[1]
    assert losses[2] > 8.0
