"""How much of a book on portfolio margin to close: the same share of every leg, so that hedges stay hedges.

Sold legs are rounded up to whole lots and bought ones down, so no sold option loses its cover. The share is the
least one that reaches the target, by the book's own requirement at every share tried.
"""

import math

import numpy as np
import numpy.typing as npt

from streams.compiled import inner, kernel
from streams.margin.equity import TIE, Book, position_value
from streams.margin.liquidation import fee_of
from streams.margin.offsets import Correlations
from streams.margin.parameters import I32, I64, Parameters
from streams.margin.portfolio import Room
from streams.margin.portfolio_book import book_risk
from streams.margin.portfolio_tail import Tails
from streams.margin.risk_table import MARK, RiskTable
from streams.margin.risk_units import RiskUnits
from streams.margin.scenarios import OPTION

#: Shares tried before the first that reaches the target is narrowed down: requirements need not fall with the share.
STEPS = 64


@kernel
def share_of_lots(lots: I64, closable: npt.NDArray[np.bool_], share: float) -> I64:
    """Lots to close of each leg at a share of the book; >= 0.

    Examples
    --------
    A third of a straddle sold 10 times and a call bought 10 times:

    >>> share_of_lots(np.array([-10, -10, 10]), np.array([True, True, True]), 1 / 3).tolist()
    [4, 4, 3]
    """
    sizes = np.zeros(lots.shape[0], dtype=np.int64)
    for j in range(lots.shape[0]):
        if closable[j]:
            part = share * abs(lots[j])
            whole = math.floor(part + 1e-9)
            sizes[j] = min(whole if lots[j] > 0 or part - whole <= 1e-9 else whole + 1, abs(lots[j]))
    return sizes


@kernel
def keeping_cover(table: RiskTable, book: Book, closable: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Legs that may be closed: where a sold option must stay, all else of its unit stays as its cover."""
    allowed = closable.copy()
    for j in range(book.instrument.shape[0]):
        i = book.instrument[j]
        if closable[j] or table.kind[i] != OPTION or not book.quantity[j] < 0.0:
            continue
        for other in range(book.instrument.shape[0]):
            covers = table.kind[book.instrument[other]] != OPTION or book.quantity[other] > 0.0
            if table.unit[book.instrument[other]] == table.unit[i] and covers:
                allowed[other] = False
    return allowed


@kernel
def after_close(p: Parameters, book: Book, sizes: I64) -> Book:
    """The book after closing these lots at the marks, fees paid: net assets change by the fees alone."""
    quantity, cost, balance = book.quantity.copy(), book.cost.copy(), book.balance.copy()
    for j in range(book.instrument.shape[0]):
        i = book.instrument[j]
        closed = min(float(sizes[j]) / p.lot_scale[i], abs(quantity[j]))
        if closed == 0.0:
            continue
        if quantity[j] < 0.0:
            closed = -closed
        cost[j] -= position_value(p, i, closed, book.mark[j])
        balance[book.slot[j]] -= fee_of(p, i, closed, book.mark[j])
        quantity[j] -= closed
    return Book(book.instrument, quantity, cost, book.accrued, book.mark, book.slot, book.asset, balance, book.price)


@kernel
def share_sizes(
    p: Parameters,
    table: RiskTable,
    units: RiskUnits,
    correlations: Correlations,
    coin: I32,
    book: Book,
    lots: I64,
    closable: npt.NDArray[np.bool_],
    target: float,
    share_most: float,
    tails: Tails,
    room: Room,
) -> I64:
    """Lots to close of each leg, the least share of all that brings the book to the target; all where none does.

    Parameters
    ----------
    p : `uncut`
    book : priced, below the target
    lots : of each leg, positive long
    target : adjusted equity / maintenance margin to reach
    share_most : most of the book that one step closes, above 0
    """
    allowed = keeping_cover(table, book, closable)
    low = high = 0.0
    for step in range(1, STEPS + 1):
        high = step / STEPS
        if reaches(p, table, units, correlations, coin, book, share_of_lots(lots, allowed, high), target, tails, room):
            break
        low = high
    else:
        return share_of_lots(lots, allowed, min(1.0, share_most))
    for _ in range(60):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        if reaches(
            p, table, units, correlations, coin, book, share_of_lots(lots, allowed, middle), target, tails, room
        ):
            high = middle
        else:
            low = middle
    return share_of_lots(lots, allowed, min(high, share_most))


@inner(inline="always")
def reaches(
    p: Parameters,
    table: RiskTable,
    units: RiskUnits,
    correlations: Correlations,
    coin: I32,
    book: Book,
    sizes: I64,
    target: float,
    tails: Tails,
    room: Room,
) -> bool:
    """Whether the book is at the target after closing these lots; one missed by rounding alone (TIE) is reached."""
    found = book_risk(p, table, units, correlations, coin, after_close(p, book, sizes), tails, room)
    required = target * found.maintenance
    return bool(found.adjusted >= required - TIE * (abs(found.adjusted) + required))


@kernel
def leg_loss(table: RiskTable, units: RiskUnits, row: int, quantity: float) -> float:
    """Worst loss of one leg by itself over the scenarios of its unit; >= 0."""
    unit = table.unit[row]
    worst = 0.0
    for s in range(units.move.shape[1]):
        loss = quantity * (table.amounts[row, MARK] - table.values[row, s]) * units.dampening[unit, s]
        worst = max(worst, loss)
    return worst
