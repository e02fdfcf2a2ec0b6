"""Closing a book on portfolio margin leg by leg: the leg that frees most maintenance margin per cost goes first.

Found anew after every part closed, by the book's own requirement. A part goes only where it frees margin, raises
neither the scan loss nor the naked charge of its unit, and leaves no more options sold without bought ones of their
right: what covers something stays as long as that is there.
"""

import numpy as np
import numpy.typing as npt

from streams.compiled import inner, kernel
from streams.margin.equity import Book, net_assets
from streams.margin.liquidation import fee_of
from streams.margin.offsets import Correlations
from streams.margin.parameters import F64, I32, I64, Parameters
from streams.margin.portfolio import Room
from streams.margin.portfolio_book import book_legs, book_risk
from streams.margin.portfolio_liquidation import after_close, keeping_cover, reaches, share_sizes
from streams.margin.portfolio_tail import Tails
from streams.margin.risk_table import RiskTable
from streams.margin.risk_units import RiskUnits, grid_of_unit, rates_of_unit
from streams.margin.scenarios import OPTION
from streams.margin.unit_risk import unit_risk

#: A leg is closed in so many parts at most, and the best leg is sought after each.
PARTS = 8
#: What rounding may add to a charge that must not rise.
ROUNDING = 1e-9


@kernel
def uncovered(table: RiskTable, right: F64, unit: int, book: Book) -> tuple[float, float]:
    """Calls and puts of a unit that are sold and not bought, in contracts; >= 0.

    Parameters
    ----------
    right : by instrument, 1 call, -1 put
    """
    calls = puts = 0.0
    for j in range(book.instrument.shape[0]):
        i = book.instrument[j]
        if table.unit[i] != unit or table.kind[i] != OPTION:
            continue
        if right[i] > 0.0:
            calls -= book.quantity[j]
        else:
            puts -= book.quantity[j]
    return max(calls, 0.0), max(puts, 0.0)


@kernel
def charges_of_unit(
    p: Parameters, table: RiskTable, units: RiskUnits, coin: I32, unit: int, book: Book, room: Room
) -> tuple[float, float]:
    """Scan loss and naked charge of the book in one unit."""
    net = np.empty(book.asset.shape[0])
    net_assets(p, book, net)
    row, quantity = book_legs(table, coin, book, net)
    own = table.unit[row] == unit
    if not own.any():
        return 0.0, 0.0
    rates = rates_of_unit(units, unit)
    risk = unit_risk(table, grid_of_unit(units, unit), rates, unit, row[own], quantity[own], room.columns)
    return risk.scan, risk.naked_maintenance


@inner
def keeps_cover(
    p: Parameters,
    table: RiskTable,
    units: RiskUnits,
    coin: I32,
    right: F64,
    unit: int,
    before: Book,
    after: Book,
    room: Room,
) -> bool:
    """Whether a close leaves scan loss, naked charge and uncovered options of a unit no larger than they were."""
    if unit < 0:
        return True
    calls, puts = uncovered(table, right, unit, before)
    calls_left, puts_left = uncovered(table, right, unit, after)
    if calls_left > calls or puts_left > puts:
        return False
    scan, naked = charges_of_unit(p, table, units, coin, unit, before, room)
    scan_left, naked_left = charges_of_unit(p, table, units, coin, unit, after, room)
    most = ROUNDING * (scan + naked)
    return scan_left <= scan + most and naked_left <= naked + most


@inner(inline="always")
def best_part(
    p: Parameters,
    table: RiskTable,
    units: RiskUnits,
    correlations: Correlations,
    coin: I32,
    right: F64,
    book: Book,
    lots: I64,
    most: I64,
    sizes: I64,
    tails: Tails,
    room: Room,
) -> tuple[int, int]:
    """The leg to close next and how many lots of it; leg -1 where none may go.

    Cost is the liquidation fee; a leg without fee goes before any with one. Ties: more margin freed, then the book's
    order.

    Parameters
    ----------
    most : lots of each leg that may be closed in all
    sizes : lots of each leg that are decided already
    """
    current = after_close(p, book, sizes)
    now = book_risk(p, table, units, correlations, coin, current, tails, room).maintenance
    best, part, freed_most, cost_least = -1, 0, 0.0, 0.0
    for j in range(lots.shape[0]):
        size = min(max(1, -(-abs(lots[j]) // PARTS)), most[j] - sizes[j])
        if size <= 0:
            continue
        tried = sizes.copy()
        tried[j] += size
        after = after_close(p, book, tried)
        freed = now - book_risk(p, table, units, correlations, coin, after, tails, room).maintenance
        if not freed > ROUNDING * now:
            continue
        i = book.instrument[j]
        cost = fee_of(p, i, float(size) / p.lot_scale[i], book.mark[j]) * book.price[book.slot[j]]
        mine, theirs = freed * cost_least, freed_most * cost
        if best >= 0 and not (mine > theirs or (mine == theirs and freed > freed_most)):
            continue
        if keeps_cover(p, table, units, coin, right, table.unit[i], current, after, room):
            best, part, freed_most, cost_least = j, size, freed, cost
    return best, part


@kernel
def leg_sizes(
    p: Parameters,
    table: RiskTable,
    units: RiskUnits,
    correlations: Correlations,
    coin: I32,
    right: F64,
    book: Book,
    lots: I64,
    closable: npt.NDArray[np.bool_],
    target: float,
    share_most: float,
    tails: Tails,
    room: Room,
) -> I64:
    """Lots to close of each leg, the best leg first, until the book is at the target; a share of the whole book, as
    `share_sizes` has it, where no single leg may go.

    Parameters
    ----------
    right : by instrument, 1 call, -1 put, 0 other
    others : as of `share_sizes`; `share_most` is of each leg

    Notes
    -----
    Where single legs alone do not reach the target, what they free is closed, and the next step goes on.
    """
    allowed = keeping_cover(table, book, closable)
    most = np.zeros(lots.shape[0], dtype=np.int64)
    for j in range(lots.shape[0]):
        if allowed[j]:
            most[j] = min(abs(lots[j]), np.int64(np.ceil(abs(lots[j]) * share_most - ROUNDING)))
    sizes = np.zeros(lots.shape[0], dtype=np.int64)
    reached = False
    while not reached:
        j, part = best_part(p, table, units, correlations, coin, right, book, lots, most, sizes, tails, room)
        if j < 0:
            break
        sizes[j] += part
        reached = reaches(p, table, units, correlations, coin, book, sizes, target, tails, room)
    if not sizes.any():
        return share_sizes(p, table, units, correlations, coin, book, lots, closable, target, share_most, tails, room)
    if reached:
        low, high = sizes[j] - part, sizes[j]
        while high - low > 1:
            sizes[j] = (low + high) // 2
            if reaches(p, table, units, correlations, coin, book, sizes, target, tails, room):
                high = sizes[j]
            else:
                low = sizes[j]
        sizes[j] = high
    return sizes
