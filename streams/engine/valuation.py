"""From the ledger's integers to what each book is worth and requires, fresh at the marks given.

The kernels here and those they call divide as numpy does, return at one place and keep no tuple of arrays across
branches: then the compiler leaves out the counting of references to each array at each call, which took 17 times as
long as the arithmetic (100,000 books of 4 positions: 10 ms, else 179 ms).
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from streams.engine.columns import Balances, Positions, find
from streams.engine.exposures import Held
from streams.engine.posting import Terms
from streams.engine.prefetch import FAR, NEAR, prefetch
from streams.margin.equity import (
    TIE,
    Book,
    book_requirement,
    haircut_value,
    net_assets,
    position_value,
    standard_equity,
)
from streams.margin.parameters import F64, I64, Parameters
from streams.margin.requirements import position_requirement


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


def judged_room(books: int) -> Judged:
    """Room for so many books."""
    return Judged(np.empty(books), np.empty(books), np.empty(books), np.empty(books, dtype=np.int8))


#: Columns of `instrument_table` and of `asset_table`.
MARK, PRICE, EDGE, RATE, PREMIUM = 0, 1, 2, 3, 4
ASSET_PRICE, ASSET_SCALE, ASSET_EDGE, ASSET_KEPT = 0, 1, 2, 3


@njit(cache=True, error_model="numpy")
def instrument_table(p: Parameters, marks: F64, prices: F64) -> F64:
    """What most positions need of their instrument, shape (instruments, 8), a cache line each.

    A linear position of notional below EDGE has the maintenance margin notional x RATE, and what PREMIUM makes of it;
    of other instruments the mark is nan here, which no notional from it is below.
    """
    table = np.empty((marks.shape[0], 8))
    for i in range(marks.shape[0]):
        first, end = p.tier_start[i], p.tier_start[i + 1]
        plain = not p.inverse[i] and p.right[i] == 0.0 and p.tier_from[first] == 0.0
        table[i, MARK] = marks[i] if plain else np.nan
        table[i, PRICE] = prices[p.settlement[i]]
        table[i, EDGE] = p.tier_from[first + 1] if end > first + 1 else np.inf
        table[i, RATE] = p.tier_maintenance[first]
        table[i, PREMIUM] = p.size_premium_factor[i]
    return table


@njit(cache=True, error_model="numpy")
def asset_table(p: Parameters, prices: F64) -> F64:
    """What most balances need of their asset, shape (assets, 4): of an amount below EDGE the part KEPT counts."""
    table = np.empty((prices.shape[0], 4))
    for asset in range(prices.shape[0]):
        first, end = p.haircut_start[asset], p.haircut_start[asset + 1]
        table[asset, ASSET_PRICE] = prices[asset]
        table[asset, ASSET_SCALE] = p.asset_scale[asset]
        table[asset, ASSET_EDGE] = p.haircut_from[first + 1] if end > first + 1 else np.inf
        table[asset, ASSET_KEPT] = 1.0 - p.haircut[first]
    return table


@njit(cache=True, error_model="numpy", _nrt=False)
def fetch_ahead(positions: Positions, held: Held, balances: Balances, books: I64, at: int) -> None:
    """Have fetched what the entries of later books need; books may lie in no order of memory."""
    if at + FAR < books.shape[0]:
        far = books[at + FAR]
        prefetch(positions.start, far)
        prefetch(positions.size, far)
        prefetch(balances.start, far)
        prefetch(balances.size, far)
    if at + NEAR < books.shape[0]:
        entry, held_at = positions.start[books[at + NEAR]], balances.start[books[at + NEAR]]
        prefetch(positions.key, entry)
        prefetch(held.units, entry)
        prefetch(held.paid, entry)
        prefetch(balances.key, held_at)
        prefetch(balances.amount, held_at)


@njit(cache=True, error_model="numpy")
def judge_books(
    p: Parameters,
    positions: Positions,
    held: Held,
    balances: Balances,
    marks: F64,
    prices: F64,
    books: I64,
    levels: Levels,
    level_set: npt.NDArray[np.int32],
    called: npt.NDArray[np.bool_],
    step: npt.NDArray[np.int32],
    out: Judged,
) -> None:
    """Write to `out` what judging needs of `books`, in their order, in one pass over their entries as they lie.

    Both sorts of books have the loop over positions written out: called, it takes fifty times as long (see above).

    The numbers are those of `value_books`, to the last bit: the same formulas on the same operands in the same
    order, but that the usual cases (a linear position in its first tier, an amount in its first slice, a book that is
    ok) go by tables that hold what their formulas come to.

    Parameters
    ----------
    level_set, called, step : per book of the shard; step 0: none open
    out : room for as many books
    """
    instruments, assets = instrument_table(p, marks, prices), asset_table(p, prices)
    premiums, options = np.any(p.size_premium_factor > 0.0), np.any(p.right != 0.0)
    net, bought = np.empty(prices.shape[0]), np.zeros(prices.shape[0])
    for at in range(books.shape[0]):
        fetch_ahead(positions, held, balances, books, at)
        if at + FAR < books.shape[0]:
            prefetch(level_set, books[at + FAR])
            prefetch(called, books[at + FAR])
            prefetch(step, books[at + FAR])
        book = books[at] & INDEX
        first, base = positions.start[book] & INDEX, balances.start[book] & INDEX
        end, last = first + (positions.size[book] & INDEX), base + (balances.size[book] & INDEX)
        equity, adjusted, maintenance = 0.0, 0.0, 0.0
        if last - base == 1:  # nothing but one asset: everything settles in it
            asset = balances.key[base] & INDEX
            price = assets[asset, ASSET_PRICE]
            amount = balances.amount[base] / assets[asset, ASSET_SCALE]
            held_options = 0.0
            for entry in range(first, end):
                i = positions.key[entry] & INDEX
                worth = held.units[entry] * instruments[i, MARK]
                value = abs(worth) * instruments[i, PRICE]
                if value < instruments[i, EDGE]:
                    required = value * instruments[i, RATE]
                    if premiums:
                        premium = instruments[i, PREMIUM] * math.sqrt(abs(held.units[entry])) * value
                        required = max(required, 0.8 * required + premium)
                else:
                    quantity = positions.lots[entry] / p.lot_scale[i]
                    worth = position_value(p, i, quantity, marks[i])
                    required = position_requirement(p, i, quantity, marks[i], instruments[i, PRICE])[1]
                    if options and p.right[i] != 0.0 and quantity > 0.0:
                        held_options += worth
                amount += worth - held.paid[entry]
                maintenance += required
            if amount != 0.0:
                equity = amount * price
            amount -= held_options
            if amount != 0.0:
                if 0.0 <= amount < assets[asset, ASSET_EDGE]:
                    adjusted = amount * assets[asset, ASSET_KEPT] * price
                else:
                    adjusted = haircut_value(p, asset, amount, price)[0]
        else:
            for k in range(base, last):
                asset = balances.key[k] & INDEX
                net[asset] = balances.amount[k] / assets[asset, ASSET_SCALE]
            for entry in range(first, end):
                i = positions.key[entry] & INDEX
                worth = held.units[entry] * instruments[i, MARK]
                value = abs(worth) * instruments[i, PRICE]
                if value < instruments[i, EDGE]:
                    required = value * instruments[i, RATE]
                    if premiums:
                        premium = instruments[i, PREMIUM] * math.sqrt(abs(held.units[entry])) * value
                        required = max(required, 0.8 * required + premium)
                else:
                    quantity = positions.lots[entry] / p.lot_scale[i]
                    worth = position_value(p, i, quantity, marks[i])
                    required = position_requirement(p, i, quantity, marks[i], instruments[i, PRICE])[1]
                    if options and p.right[i] != 0.0 and quantity > 0.0:
                        bought[p.settlement[i] & INDEX] += worth
                net[p.settlement[i] & INDEX] += worth - held.paid[entry]
                maintenance += required
            for k in range(base, last):
                asset = balances.key[k] & INDEX
                amount = net[asset]
                if amount != 0.0:
                    equity += amount * assets[asset, ASSET_PRICE]
                amount -= bought[asset]
                bought[asset] = 0.0
                if amount != 0.0:
                    price = assets[asset, ASSET_PRICE]
                    if 0.0 <= amount < assets[asset, ASSET_EDGE]:
                        adjusted += amount * assets[asset, ASSET_KEPT] * price
                    else:
                        adjusted += haircut_value(p, asset, amount, price)[0]
        own = level_set[book] & INDEX
        status = OK
        line = max(levels.call[own], 1.0) * maintenance
        if called[book] or step[book] > 0 or not (equity >= 0.0 and adjusted >= line):
            if equity != equity or adjusted != adjusted or maintenance != maintenance:
                equity = adjusted = maintenance = np.nan
            status = status_of(
                equity,
                adjusted,
                maintenance,
                levels.call[own],
                levels.call_exit[own],
                levels.liquidation_exit[own],
                called[book],
                step[book] > 0,
            )
        out.equity[at], out.adjusted[at], out.maintenance[at] = equity, adjusted, maintenance
        out.status[at] = status
