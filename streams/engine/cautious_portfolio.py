"""Initial equity and margin of books on portfolio margin while prices are suspect; as `cautious` has it of others.

A leg's row of the risk table depends on its mark and on the price of what it settles in, and which side of either is
worse for a book depends on the book: on the sign of the leg, and on that of its net amount of the asset. So there are
four tables, and each book is measured by a fifth, into which its own rows are copied from them.
"""

from typing import NamedTuple

import numpy as np

from streams.compiled import inner, kernel
from streams.engine.cautious import Sides
from streams.engine.columns import Balances, Positions
from streams.engine.posting import Terms
from streams.engine.valuation import gather, scratch
from streams.margin.equity import net_assets
from streams.margin.offsets import Correlations
from streams.margin.parameters import F64, I32, I64, Parameters
from streams.margin.portfolio import Room
from streams.margin.portfolio_book import book_risk
from streams.margin.portfolio_tail import Tails
from streams.margin.risk_table import RiskTable
from streams.margin.risk_units import RiskUnits


class SideTables(NamedTuple):
    """Risk tables at marks and prices of assets, the lower (l) or the higher (h) of each; and one to copy rows to."""

    ll: RiskTable
    lh: RiskTable
    hl: RiskTable
    hh: RiskTable
    own: RiskTable


@inner(_nrt=False)
def copy_row(to: RiskTable, of: RiskTable, i: int) -> None:
    """Write row i of a table as another has it."""
    for column in range(of.values.shape[1]):
        to.values[i, column] = of.values[i, column]
    for column in range(of.amounts.shape[1]):
        to.amounts[i, column] = of.amounts[i, column]
    for point in range(of.curves.shape[1]):
        to.curves[i, point] = of.curves[i, point]


@inner(_nrt=False)
def copy_side(tables: SideTables, i: int, mark_high: bool, price_high: bool) -> None:
    """Write row i at these sides of its mark and of the price of what it settles in."""
    if mark_high and price_high:
        copy_row(tables.own, tables.hh, i)
    elif mark_high:
        copy_row(tables.own, tables.hl, i)
    elif price_high:
        copy_row(tables.own, tables.lh, i)
    else:
        copy_row(tables.own, tables.ll, i)


@kernel
def cautious_portfolio(
    p: Parameters,
    tables: SideTables,
    units: RiskUnits,
    correlations: Correlations,
    coin: I32,
    positions: Positions,
    balances: Balances,
    terms: Terms,
    sides: Sides,
    books: I64,
    tails: Tails,
    room: Room,
) -> F64:
    """Initial equity and initial margin of `books`, shape (2, n); nan where unpriced.

    Parameters
    ----------
    p : without haircuts on coins of units, see `uncut`
    coin : by asset, its row of the tables; -1 none
    """
    numbers = np.empty((2, books.shape[0]))
    most, assets = 0, 0
    for book in books:
        most = max(most, positions.size[book])
        assets = max(assets, balances.size[book])
    entries, net = scratch(most, assets), np.empty(assets)
    for at in range(books.shape[0]):
        book = gather(p, positions, balances, terms, sides.low_marks, sides.low_prices, books[at], entries)
        for j in range(book.instrument.shape[0]):
            if book.quantity[j] < 0.0:
                book.mark[j] = sides.high_marks[book.instrument[j]]
        net_assets(p, book, net)
        for j in range(book.instrument.shape[0]):
            copy_side(tables, book.instrument[j], book.quantity[j] < 0.0, net[book.slot[j]] < 0.0)
        for k in range(book.asset.shape[0]):
            if net[k] < 0.0:
                book.price[k] = sides.high_prices[book.asset[k]]
            if coin[book.asset[k]] >= 0:
                copy_side(tables, coin[book.asset[k]], False, net[k] < 0.0)
        found = book_risk(p, tables.own, units, correlations, coin, book, tails, room)
        numbers[0, at], numbers[1, at] = found.initial_equity, found.initial
    return numbers
