"""Which status each of many books has at the marks given: fresh valuation at the speed of memory.

Most books are plain: one asset, linear positions in their first tiers. Those are valued by tables, in loops so small
that what they read by stays in registers; the others go by the formulas. Tables, chunks and masks change no bit.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streams.compiled import inner, kernel
from streams.engine.columns import Balances, Positions
from streams.engine.exposures import Held
from streams.engine.prefetch import FAR, NEAR, prefetch
from streams.engine.valuation import OK, Levels, status_of
from streams.margin.equity import haircut_value, position_value
from streams.margin.parameters import F64, I64, Parameters
from streams.margin.requirements import position_requirement, requirement

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


#: Columns of `instrument_table` and of `asset_table`. Rows are of 8, a cache line: row i lies from i << LINE.
MARK, PRICE, EDGE, RATE, PREMIUM = 0, 1, 2, 3, 4
ASSET_PRICE, ASSET_SCALE, ASSET_EDGE, ASSET_KEPT = 0, 1, 2, 3
LINE = 3


@inner
def instrument_table(p: Parameters, marks: F64, prices: F64) -> F64:
    """What most positions need of their instrument, row by row.

    A linear position of notional below EDGE has the maintenance margin notional x RATE, and what PREMIUM makes of it;
    of other instruments the mark is nan here, which no notional from it is below.
    """
    table = np.empty(marks.shape[0] << LINE)
    for i in range(marks.shape[0]):
        first, end, row = p.tier_start[i], p.tier_start[i + 1], i << LINE
        plain = not p.inverse[i] and p.right[i] == 0.0 and p.tier_from[first] == 0.0
        table[row | MARK] = marks[i] if plain else np.nan
        table[row | PRICE] = prices[p.settlement[i]]
        table[row | EDGE] = p.tier_from[first + 1] if end > first + 1 else np.inf
        table[row | RATE] = p.tier_maintenance[first]
        table[row | PREMIUM] = p.size_premium_factor[i]
    return table


@inner
def asset_table(p: Parameters, prices: F64) -> F64:
    """What most balances need of their asset, row by row: of an amount below EDGE the part KEPT counts."""
    table = np.empty((prices.shape[0] + 1) << LINE)
    for asset in range(prices.shape[0]):
        first, end, row = p.haircut_start[asset], p.haircut_start[asset + 1], asset << LINE
        table[row | ASSET_PRICE] = prices[asset]
        table[row | ASSET_SCALE] = p.asset_scale[asset]
        table[row | ASSET_EDGE] = p.haircut_from[first + 1] if end > first + 1 else np.inf
        table[row | ASSET_KEPT] = 1.0 - p.haircut[first]
    return table


@inner(_nrt=False)
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


@inner(_nrt=False)
def value_plain(
    positions: Positions,
    held: Held,
    balances: Balances,
    instruments: F64,
    assets: F64,
    premiums: bool,
    books: I64,
    out: Judged,
    left: I64,
) -> int:
    """Write to `out` the numbers of the plain ones of `books`, to `left` where the others stand; how many those are.

    Plain is a book of one asset, all of whose positions and whose net amount the tables have. These loops are small
    and call nothing, so that what they read by stays in registers.
    """
    others, count = 0, books.shape[0]
    scattered = books[count - 1] - books[0] != count - 1
    for at in range(count):  # by itself: then no division waits for the book before
        if scattered:
            fetch_ahead(positions, held, balances, books, at)
        book = books[at] & INDEX
        if balances.size[book] == 1:
            base = balances.start[book] & INDEX
            row = (balances.key[base] << LINE) & INDEX
            out.equity[at] = balances.amount[base] / assets[row | ASSET_SCALE]
        else:
            out.equity[at] = np.nan
    for at in range(count):
        book = books[at] & INDEX
        first, amount = positions.start[book] & INDEX, out.equity[at]
        plain, maintenance = balances.size[book] == 1, 0.0
        for j in range(positions.size[book]):
            entry = (first + j) & INDEX
            i = (positions.key[entry] << LINE) & INDEX
            worth = held.units[entry] * instruments[i | MARK]
            value = abs(worth) * instruments[i | PRICE]
            required = value * instruments[i | RATE]
            if premiums:
                premium = instruments[i | PREMIUM] * math.sqrt(abs(held.units[entry])) * value
                required = max(required, 0.8 * required + premium)
            plain &= value < instruments[i | EDGE]
            amount += worth - held.paid[entry]
            maintenance += required
        row = 0
        if plain:
            row = (balances.key[balances.start[book] & INDEX] << LINE) & INDEX
        out.equity[at] = amount * assets[row | ASSET_PRICE]
        out.adjusted[at] = amount * assets[row | ASSET_KEPT] * assets[row | ASSET_PRICE]
        out.maintenance[at] = maintenance
        left[others] = at
        if not (plain and 0.0 < amount < assets[row | ASSET_EDGE]):
            others += 1
    return others


@inner
def value_other(
    p: Parameters,
    positions: Positions,
    held: Held,
    balances: Balances,
    marks: F64,
    instruments: F64,
    assets: F64,
    books: I64,
    left: I64,
    net: F64,
    bought: F64,
    out: Judged,
) -> None:
    """Write to `out` the numbers of those of `books` that stand at `left`, of whatever sort they are.

    Parameters
    ----------
    net, bought : room for a number an asset; `bought` is zero, and is left so
    """
    premiums, options = np.any(p.size_premium_factor > 0.0), np.any(p.right != 0.0)
    for at in left:
        book = books[at] & INDEX
        first, base = positions.start[book] & INDEX, balances.start[book] & INDEX
        last = base + (balances.size[book] & INDEX)
        equity, adjusted, maintenance = 0.0, 0.0, 0.0
        for k in range(base, last):
            asset = balances.key[k] & INDEX
            net[asset] = balances.amount[k] / assets[((asset << LINE) & INDEX) | ASSET_SCALE]
        for entry in range(first, first + positions.size[book]):
            i = positions.key[entry] & INDEX
            row, asset = (i << LINE) & INDEX, p.settlement[i] & INDEX
            worth = held.units[entry] * instruments[row | MARK]
            value = abs(worth) * instruments[row | PRICE]
            if value < instruments[row | EDGE]:
                required = value * instruments[row | RATE]
                if premiums:
                    premium = instruments[row | PREMIUM] * math.sqrt(abs(held.units[entry])) * value
                    required = max(required, 0.8 * required + premium)
            else:
                quantity = positions.lots[entry] / p.lot_scale[i]
                worth = position_value(p, i, quantity, marks[i])
                value = abs(worth) * instruments[row | PRICE]
                if not options or p.right[i] == 0.0:
                    required = requirement(p, i, quantity, value)[1]
                else:
                    required = position_requirement(p, i, quantity, marks[i], instruments[row | PRICE])[1]
                    if quantity > 0.0:
                        bought[asset] += worth
            net[asset] += worth - held.paid[entry]
            maintenance += required
        for k in range(base, last):
            asset = balances.key[k] & INDEX
            row, amount = (asset << LINE) & INDEX, net[asset]
            price = assets[row | ASSET_PRICE]
            if amount != 0.0:
                equity += amount * price
            amount -= bought[asset]
            bought[asset] = 0.0
            if amount != 0.0:
                if 0.0 <= amount < assets[row | ASSET_EDGE]:
                    adjusted += amount * assets[row | ASSET_KEPT] * price
                else:
                    adjusted += haircut_value(p, asset, amount, price)[0]
        out.equity[at], out.adjusted[at], out.maintenance[at] = equity, adjusted, maintenance


@kernel(_nrt=False)
def judge(
    books: I64,
    levels: Levels,
    level_set: npt.NDArray[np.int32],
    called: npt.NDArray[np.bool_],
    step: npt.NDArray[np.int32],
    out: Judged,
) -> None:
    """Write to `out` the status that the numbers there come to; parameters as of `judge_books`."""
    for at in range(books.shape[0]):
        book = books[at] & INDEX
        own = level_set[book] & INDEX
        equity, adjusted, maintenance = out.equity[at], out.adjusted[at], out.maintenance[at]
        status = OK
        line = max(levels.call[own], 1.0) * maintenance
        if called[book] or step[book] > 0 or not (equity >= 0.0 and adjusted >= line):
            if equity != equity or adjusted != adjusted or maintenance != maintenance:
                equity = adjusted = maintenance = np.nan
                out.equity[at] = out.adjusted[at] = out.maintenance[at] = np.nan
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
        out.status[at] = status


#: So many books are valued before they are judged: their numbers are then still near.
CHUNK = 512


@inner
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
    """Write to `out` what judging needs of `books`, in their order.

    The numbers are those of `value_books`, to the last bit: the same formulas on the same operands in the same
    order, but that the usual cases (a linear position in its first tier, an amount in its first slice, a book that is
    ok) go by tables that hold what their formulas come to.

    Parameters
    ----------
    level_set, called, step : per book of the shard; step 0: none open
    out : room for as many books
    """
    instruments, assets = instrument_table(p, marks, prices), asset_table(p, prices)
    premiums = np.any(p.size_premium_factor > 0.0)
    net, bought = np.empty(prices.shape[0]), np.zeros(prices.shape[0])
    left = np.empty(min(CHUNK, books.shape[0]), dtype=np.int64)
    for begin in range(0, books.shape[0], CHUNK):
        end = min(begin + CHUNK, books.shape[0])
        some = books[begin:end]
        numbers = Judged(
            out.equity[begin:end], out.adjusted[begin:end], out.maintenance[begin:end], out.status[begin:end]
        )
        others = value_plain(positions, held, balances, instruments, assets, premiums, some, numbers, left)
        if others > 0:
            rest = left[:others]
            value_other(p, positions, held, balances, marks, instruments, assets, some, rest, net, bought, numbers)
        judge(some, levels, level_set, called, step, numbers)
