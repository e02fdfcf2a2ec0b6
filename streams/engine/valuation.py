"""From the ledger's integers to what each book is worth and requires, fresh at the marks given.

The kernels here and those they call divide as numpy does, return at one place and keep no tuple of arrays across
branches: then the compiler leaves out the counting of references to each array at each call, which took 17 times as
long as the arithmetic (100,000 books of 4 positions: 10 ms, else 179 ms).
"""

from typing import NamedTuple

import numpy as np

from streams.compiled import inner, kernel
from streams.engine.columns import Balances, Positions, find
from streams.engine.posting import Terms
from streams.margin.equity import (
    TIE,
    Book,
    book_requirement,
    net_assets,
    standard_equity,
)
from streams.margin.parameters import F64, I64, Parameters


class Numbers(NamedTuple):
    """All numbers of each book, in the reporting currency; unpriced books have nan."""

    equity: F64
    adjusted: F64
    initial_equity: F64
    initial: F64
    maintenance: F64


@kernel
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


@inner(inline="always")
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
    """One book's integers as units of float64, in views of `room`.

    Inlined, so that a caller without reference counts (`_nrt=False`) takes these views without them too.
    """
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


@inner
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
        equity[at], adjusted[at], initial_equity[at] = standard_equity(p, book, net)
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


@kernel
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
