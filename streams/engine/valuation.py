"""From the ledger's integers to what each book is worth and requires, fresh at the marks given.

The kernels here and those they call divide as numpy does, return at one place and keep no tuple of arrays across
branches: then the compiler leaves out the counting of references to each array at each call, which took 17 times as
long as the arithmetic (100,000 books of 4 positions: 10 ms, else 179 ms).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from streams.engine.columns import Balances, Positions, find
from streams.engine.posting import Terms
from streams.margin.equity import (
    TIE,
    Book,
    book_requirement,
    equity_of,
    haircut_value,
    net_assets,
    position_value,
)
from streams.margin.parameters import F64, I64, Parameters
from streams.margin.requirements import notional, requirement


class Numbers(NamedTuple):
    """All numbers of each book, in the reporting currency; unpriced books have nan."""

    equity: F64
    adjusted: F64
    initial_equity: F64
    initial: F64
    maintenance: F64


@njit(cache=True, error_model="numpy")
def scratch(positions: int, assets: int) -> Book:
    """Arrays to gather a book of at most this many positions and assets into."""
    return Book(
        np.empty(positions, dtype=np.int32),
        np.empty(positions),
        np.empty(positions),
        np.empty(positions),
        np.empty(positions),
        np.empty(positions, dtype=np.int32),
        np.empty(assets, dtype=np.int32),
        np.empty(assets),
        np.empty(assets),
    )


@njit(cache=True, error_model="numpy")
def gather(
    p: Parameters,
    positions: Positions,
    balances: Balances,
    terms: Terms,
    marks: F64,
    prices: F64,
    book: int,
    room: Book,
) -> Book:
    """One book's integers as units of float64, in views of `room`."""
    n, m = positions.size[book], balances.size[book]
    first, base = positions.start[book], balances.start[book]
    for k in range(m):
        asset = balances.key[base + k]
        room.asset[k] = asset
        room.balance[k] = balances.amount[base + k] / p.asset_scale[asset]
        room.price[k] = prices[asset]
    for j in range(n):
        at = first + j
        i = positions.key[at]
        asset = p.settlement[i]
        scale = p.asset_scale[asset]
        moved = float(terms.funding_index[i] - positions.funding[at]) / terms.funding_scale[i]
        room.instrument[j] = i
        room.quantity[j] = positions.lots[at] / p.lot_scale[i]
        room.cost[j] = positions.cost[at] / scale
        room.accrued[j] = -float(positions.lots[at]) * moved / scale
        room.mark[j] = marks[i]
        room.slot[j] = find(base, m, balances.key, asset) - base
    return Book(
        room.instrument[:n],
        room.quantity[:n],
        room.cost[:n],
        room.accrued[:n],
        room.mark[:n],
        room.slot[:n],
        room.asset[:m],
        room.balance[:m],
        room.price[:m],
    )


@njit(cache=True, error_model="numpy")
def value_books(
    p: Parameters, positions: Positions, balances: Balances, terms: Terms, marks: F64, prices: F64, books: I64
) -> Numbers:
    """Numbers of `books`, in their order; each depends on nothing but its own book."""
    total = books.shape[0]
    equity, adjusted, initial_equity = np.empty(total), np.empty(total), np.empty(total)
    initial, maintenance = np.empty(total), np.empty(total)
    most, assets = 0, 0
    for book in books:
        most = max(most, positions.size[book])
        assets = max(assets, balances.size[book])
    room = scratch(most, assets)
    net = np.empty(assets)
    for at in range(total):
        book = gather(p, positions, balances, terms, marks, prices, books[at], room)
        priced = net_assets(p, book, net)
        equity[at], adjusted[at], initial_equity[at] = equity_of(p, book, net)
        initial[at], maintenance[at] = book_requirement(p, book)
        if not priced:
            equity[at] = adjusted[at] = initial_equity[at] = initial[at] = maintenance[at] = np.nan
    return Numbers(equity, adjusted, initial_equity, initial, maintenance)


class Levels(NamedTuple):
    """Levels of adjusted equity / maintenance margin, per level set."""

    call: F64
    call_exit: F64
    liquidation_exit: F64


OK, MARGIN_CALL, LIQUIDATION, BANKRUPT, UNPRICED = 0, 1, 2, 3, 4
STATUSES = ("ok", "margin_call", "liquidation", "bankrupt", "unpriced")


@njit(cache=True, error_model="numpy")
def status_of(
    equity: float,
    adjusted: float,
    maintenance: float,
    call: float,
    call_exit: float,
    liquidation_exit: float,
    was_called: bool,
    was_liquidating: bool,
) -> int:
    """Status of a book from its numbers and where it comes from; nan numbers are unpriced.

    Exactly at a line is on its safe side, and so is a difference that rounding can make (TIE): 0.07 x 100 is
    7.000000000000001 in float64. Ratios are compared by multiplying out, so no requirement needs no special case: it
    leaves only a debt (adjusted equity < 0) to act on.

    Parameters
    ----------
    was_called, was_liquidating : a call, a liquidation is open; each is left only at its own exit
    """
    if equity != equity:
        return UNPRICED
    tie = TIE * (abs(equity) + abs(adjusted) + maintenance)
    if equity < -tie:
        return BANKRUPT
    at_least = adjusted + tie
    if at_least < maintenance or (was_liquidating and at_least < liquidation_exit * maintenance):
        return LIQUIDATION
    if at_least < call * maintenance:
        return MARGIN_CALL
    if (was_called or was_liquidating) and at_least < call_exit * maintenance:
        return MARGIN_CALL
    return OK


#: All bits but the sign: with it the compiler knows an index to be no negative one, and leaves out counting from the
#: end, which took a quarter of the time.
INDEX = 0x7FFF_FFFF_FFFF_FFFF


class Judged(NamedTuple):
    """Per book, in the reporting currency, and the status that follows; unpriced books have nan."""

    equity: F64
    adjusted: F64
    maintenance: F64
    status: npt.NDArray[np.int8]


@njit(cache=True, error_model="numpy")
def judge_books(
    p: Parameters,
    positions: Positions,
    balances: Balances,
    terms: Terms,
    marks: F64,
    prices: F64,
    books: I64,
    levels: Levels,
    level_set: npt.NDArray[np.int32],
    called: npt.NDArray[np.bool_],
    step: npt.NDArray[np.int32],
) -> Judged:
    """What judging needs of `books`, in their order, in one pass over their entries as they lie in the tables.

    The numbers are those of `value_books`, to the last bit: the same formulas on the same operands in the same
    order, without the copy of the book and the initial side.

    Parameters
    ----------
    level_set, called, step : per book of the shard; step 0: none open
    """
    total = books.shape[0]
    equity, adjusted, maintenance = np.empty(total), np.empty(total), np.empty(total)
    status = np.empty(total, dtype=np.int8)
    most = 0
    for book in books:
        most = max(most, balances.size[book])
    net = np.empty(most)
    for at in range(total):
        book = books[at] & INDEX
        first, base, m = positions.start[book] & INDEX, balances.start[book] & INDEX, balances.size[book]
        for k in range(m):
            net[k] = balances.amount[base + k] / p.asset_scale[balances.key[base + k] & INDEX]
        own_equity, own_adjusted, own_maintenance = 0.0, 0.0, 0.0
        priced = True
        for entry in range(first, first + positions.size[book]):
            i = positions.key[entry] & INDEX
            asset = p.settlement[i] & INDEX
            scale = p.asset_scale[asset]
            quantity = positions.lots[entry] / p.lot_scale[i]
            kept = position_value(p, i, quantity, marks[i]) - positions.cost[entry] / scale
            if terms.funding_index[i] != positions.funding[entry]:
                moved = float(terms.funding_index[i] - positions.funding[entry]) / terms.funding_scale[i]
                kept += -float(positions.lots[entry]) * moved / scale
            slot = 0
            while balances.key[base + slot] != asset:
                slot += 1
            net[slot] += kept
            value = notional(p, i, quantity, marks[i], prices[asset])
            own_maintenance += requirement(p, i, quantity, value)[1]
            priced = priced and value == value
        for k in range(m):
            if net[k] != 0.0:
                asset = balances.key[base + k] & INDEX
                own_equity += net[k] * prices[asset]
                own_adjusted += haircut_value(p, asset, net[k], prices[asset])[0]
                priced = priced and prices[asset] == prices[asset]
        if not priced:
            own_equity = own_adjusted = own_maintenance = np.nan
        own = level_set[book] & INDEX
        equity[at], adjusted[at], maintenance[at] = own_equity, own_adjusted, own_maintenance
        status[at] = status_of(
            own_equity,
            own_adjusted,
            own_maintenance,
            levels.call[own],
            levels.call_exit[own],
            levels.liquidation_exit[own],
            called[book],
            step[book] > 0,
        )
    return Judged(equity, adjusted, maintenance, status)
