"""Equity and requirement of one book on portfolio margin: coins that the scenarios move are charged there, once.

The net amount of a risk unit's coin (balance, and P&L to date that settles in it) is a leg of that unit, so its fall
is in the scenarios. Its haircut is 0 then: else the same move would be paid for twice. What belongs to no unit keeps
its haircut, or requires what it does under the standard model, on top.
"""

from typing import NamedTuple

import numpy as np

from streams.compiled import inner, kernel
from streams.margin.equity import Book, net_assets, standard_equity
from streams.margin.offsets import Correlations
from streams.margin.parameters import F64, I32, Parameters
from streams.margin.portfolio import UNKNOWN, PortfolioRisk, Room, portfolio_risk
from streams.margin.portfolio_tail import Tails, book_tail
from streams.margin.requirements import position_requirement
from streams.margin.risk_table import MARK, NOTIONAL, RiskTable
from streams.margin.risk_units import RiskUnits


class BookRisk(NamedTuple):
    """Numbers of a book, reporting currency; nan where unpriced.

    `initial` and `maintenance` are the requirement, `outside_initial` and `outside_maintenance` the part of what
    belongs to no unit; `risk` is the part of the units.
    """

    equity: float
    adjusted: float
    initial_equity: float
    initial: float
    maintenance: float
    outside_initial: float
    outside_maintenance: float
    risk: PortfolioRisk


def uncut(p: Parameters, coin: I32, unit: I32) -> Parameters:
    """The same without haircuts on the assets that are legs of a unit, for `book_risk`; options of units are no options
    of the standard model, so that their value counts.

    Parameters
    ----------
    coin : by asset, its row of the risk table; -1 none
    unit : by row of the table, the instruments first; -1 none
    """
    inside = coin >= 0
    own = np.repeat(inside, np.diff(p.haircut_start))
    return p._replace(
        right=np.where(unit[: len(p.right)] >= 0, 0.0, p.right),
        haircut=np.where(own, 0.0, p.haircut),
        initial_haircut=np.where(own, 0.0, p.initial_haircut),
        borrow_haircut=np.where(inside, 0.0, p.borrow_haircut),
        initial_borrow_haircut=np.where(inside, 0.0, p.initial_borrow_haircut),
    )


class Legs(NamedTuple):
    """Scratch of `book_risk_within`: net amounts by slot; rows of the risk table, and how much of each (`legs_for`)."""

    net: F64
    row: I32
    quantity: F64


@inner
def legs_for(positions: int, assets: int) -> Legs:
    """Scratch for books of at most so many positions and assets."""
    most = positions + assets
    return Legs(np.empty(assets), np.empty(most, dtype=np.int32), np.empty(most))


@inner(_nrt=False)
def write_legs(table: RiskTable, coin: I32, book: Book, net: F64, row: I32, quantity: F64) -> int:
    """Write rows of the risk table that a book holds, and how much of each; how many they are.

    Sorted by line, equals as the book has them.

    Parameters
    ----------
    net : net amount of each slot's asset
    row, quantity : room for as many as the book has positions and assets
    """
    n, m = book.instrument.shape[0], book.asset.shape[0]
    count = 0
    for at in range(n + m):
        own = book.instrument[at] if at < n else coin[book.asset[at - n]]
        held = book.quantity[at] if at < n else net[at - n]
        if own < 0 or table.unit[own] < 0 or held == 0.0:
            continue
        place = count
        while place > 0 and table.line[row[place - 1]] > table.line[own]:
            row[place], quantity[place] = row[place - 1], quantity[place - 1]
            place -= 1
        row[place], quantity[place] = own, held
        count += 1
    return count


@kernel
def book_legs(table: RiskTable, coin: I32, book: Book, net: F64) -> tuple[I32, F64]:
    """As `write_legs`, in arrays of their own."""
    most = book.instrument.shape[0] + book.asset.shape[0]
    row, quantity = np.empty(most, dtype=np.int32), np.empty(most)
    count = write_legs(table, coin, book, net, row, quantity)
    return row[:count], quantity[:count]


@inner(_nrt=False)
def outside_requirement(p: Parameters, table: RiskTable, book: Book) -> tuple[float, float]:
    """Initial and maintenance margin, by the standard model, of the positions that belong to no unit."""
    initial = maintenance = 0.0
    for j in range(book.instrument.shape[0]):
        i = book.instrument[j]
        if table.unit[i] < 0:
            own_initial, own = position_requirement(p, i, book.quantity[j], book.mark[j], book.price[book.slot[j]])
            initial += own_initial
            maintenance += own
    return initial, maintenance


@inner(_nrt=False)
def priced_legs(table: RiskTable, row: I32) -> bool:
    """Whether the table knows what every row is worth."""
    for at in range(row.shape[0]):
        i = row[at]
        mark, notional = table.amounts[i, MARK], table.amounts[i, NOTIONAL]
        if mark != mark or notional != notional:
            return False
    return True


@inner(_nrt=False, forceinline=True)
def book_risk_within(
    p: Parameters,
    table: RiskTable,
    units: RiskUnits,
    correlations: Correlations,
    coin: I32,
    book: Book,
    value_at_risk: float,
    room: Room,
    legs: Legs,
) -> BookRisk:
    """As `book_risk`, with scratch for the legs too: for many books one after another."""
    net = legs.net[: book.asset.shape[0]]
    priced = net_assets(p, book, net)
    count = write_legs(table, coin, book, net, legs.row, legs.quantity)
    row, quantity = legs.row[:count], legs.quantity[:count]
    equity = adjusted = initial_equity = initial = maintenance = np.nan
    bad = np.nan
    risk = UNKNOWN
    outside, outside_initial = bad, bad
    if priced and priced_legs(table, row):
        equity, adjusted, initial_equity = standard_equity(p, book, net)
        risk = portfolio_risk(table, units, correlations, row, quantity, value_at_risk, room)
        outside_initial, outside = outside_requirement(p, table, book)
        initial, maintenance = risk.initial_margin + outside_initial, risk.maintenance_margin + outside
        if maintenance != maintenance:
            equity = adjusted = initial_equity = initial = np.nan
    return BookRisk(equity, adjusted, initial_equity, initial, maintenance, outside_initial, outside, risk)


@inner(_nrt=True)
def book_value_at_risk(
    p: Parameters, table: RiskTable, units: RiskUnits, coin: I32, book: Book, tails: Tails, room: Room, legs: Legs
) -> float:
    """Value at risk of a book, see `book_tail`; 0 where the book is unpriced."""
    net = legs.net[: book.asset.shape[0]]
    if tails.returns.shape[0] == 0 or not net_assets(p, book, net):
        return 0.0
    count = write_legs(table, coin, book, net, legs.row, legs.quantity)
    row, quantity = legs.row[:count], legs.quantity[:count]
    return book_tail(tails, table, units, row, quantity, room.columns) if priced_legs(table, row) else 0.0


@kernel
def book_risk(
    p: Parameters,
    table: RiskTable,
    units: RiskUnits,
    correlations: Correlations,
    coin: I32,
    book: Book,
    tails: Tails,
    room: Room,
) -> BookRisk:
    """Numbers of a book on portfolio margin.

    Parameters
    ----------
    p : `uncut`
    coin : by asset, its row of the risk table; -1 none
    """
    legs = legs_for(book.instrument.shape[0], book.asset.shape[0])
    value_at_risk = book_value_at_risk(p, table, units, coin, book, tails, room, legs)
    return book_risk_within(p, table, units, correlations, coin, book, value_at_risk, room, legs)
