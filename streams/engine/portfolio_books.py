"""Books of a shard on portfolio margin, and the risk table that they are margined by.

The table follows from terms and marks alone, so it is no state: it is written anew where a mark, or the time to an
expiry, has changed. Which books are on portfolio margin follows from the settings of accounts. How far the table may
drift before it matters to a book: streams.engine.drifts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from streams.compiled import inner, kernel
from streams.engine.cautious import Sides
from streams.engine.cautious_portfolio import SideTables, cautious_portfolio
from streams.engine.columns import Balances, Positions, grown
from streams.engine.judged_books import Judged
from streams.engine.posting import Terms
from streams.engine.risk_factors import Factors
from streams.engine.risk_model import RiskMarket, RiskModel, RiskView, Rows, risk_model
from streams.engine.valuation import Levels, Numbers, gather, scratch, status_of
from streams.margin.equity import Book
from streams.margin.offsets import Correlations
from streams.margin.parameters import F64, I32, I64, Parameters, widened
from streams.margin.portfolio import Room, room_for
from streams.margin.portfolio_book import Legs, book_risk_within, book_value_at_risk, legs_for, uncut
from streams.margin.portfolio_tail import Tails, no_tails
from streams.margin.risk_table import RiskTable
from streams.margin.risk_units import RiskUnits

if TYPE_CHECKING:
    from streams.engine.shard import Shard


class _Written(NamedTuple):
    """A risk table, and the market that it was written at."""

    marks: F64
    prices: F64
    time: int
    rows: Rows
    table: RiskTable


class PortfolioBooks:
    """Parameters of the model and which books it holds for.

    Attributes
    ----------
    model : of the terms; None where no risk unit is published: all books are then on the standard model
    on : by book, whether its account is on portfolio margin; isolated books never are
    factors : what values at risk are made of; None where nobody told
    factors_changed : since the last flush
    offset : by book, what offsets between units took off its losses when it was last judged; inf where a value at
        risk counts too
    """

    def __init__(self) -> None:
        self.model: RiskModel | None = None
        self.on: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self.factors: Factors | None = None
        self.factors_changed = False
        self._tails = no_tails(0)
        self.offset: F64 = np.zeros(0)
        self._written: _Written | None = None
        self._uncut: tuple[Parameters, Parameters] | None = None

    def arrange(self, shard: Shard) -> None:
        """Terms have changed."""
        self.model = risk_model(shard.terms)
        self._written = self._uncut = None
        self._arrange_tails()

    def learn(self, factors: Factors | None) -> None:
        """Go by these from now on."""
        if (factors is None) != (self.factors is None):
            self._written = None  # its table has profit curves, or has none
        self.factors, self.factors_changed = factors, True
        self._arrange_tails()

    def _arrange_tails(self) -> None:
        symbols = self.model.symbols if self.model is not None else ()
        self._tails = self.factors.tails(symbols) if self.factors is not None else no_tails(len(symbols))

    def set(self, book: int, on: bool) -> None:
        """Margin a book by the portfolio model, or by the standard one."""
        if book >= len(self.on):
            if not on:
                return
            self.on, self.offset = grown(self.on, book + 1), grown(self.offset, book + 1)
        self.on[book] = on

    def holds(self, book: int) -> bool:
        """Whether the book is margined by the portfolio model."""
        return self.model is not None and book < len(self.on) and bool(self.on[book])

    def books(self) -> I64:
        """All books that are, ascending."""
        return np.nonzero(self.on)[0] if self.model is not None else np.zeros(0, dtype=np.int64)

    def view(self, shard: Shard) -> RiskView | None:
        """What the view of a book needs for it."""
        if self.model is None:
            return None
        market = self._market(shard, shard.prices.marks, shard.prices.prices)
        options = market.volatility, market.forward, market.discount
        return RiskView(self.model, *options, market.index_price, market.time, self._widening(shard), self._tails)

    def judge(self, shard: Shard, marks: F64, prices: F64, books: I64, rows: I64, judged: Judged) -> None:
        """Write what is found of the `rows` of books, all on portfolio margin."""
        numbers = self._numbers(shard, marks, prices, books[rows])
        if marks is shard.prices.marks:
            self.offset[books[rows]] = numbers[5]
        standing = shard.standing
        _judge(numbers, books, rows, standing.levels(), standing.level_set, standing.called, standing.step, judged)

    def number(self, shard: Shard, books: I64, numbers: Numbers) -> Numbers:
        """The same with the numbers of books on portfolio margin."""
        rows = self.rows_of(books)
        if not rows.size:
            return numbers
        own = self._numbers(shard, shard.prices.marks, shard.prices.prices, books[rows])
        columns = [column.copy() for column in numbers]
        for column, found in zip(columns, own, strict=False):
            column[rows] = found
        return Numbers(*columns)

    def cautious(self, shard: Shard, books: I64, numbers: Numbers, sides: Sides) -> Numbers:
        """The same with the initial numbers of books on portfolio margin at the worse sides of suspect prices."""
        rows, model = self.rows_of(books), self.model
        if model is None or not rows.size:
            return numbers
        marks, prices = (sides.low_marks, sides.high_marks), (sides.low_prices, sides.high_prices)
        which = np.arange(len(model.unit), dtype=np.int32)
        sides_of = [model.rows(self._market(shard, m, p)) for m in marks for p in prices]
        curves = self.factors is not None
        ll, lh, hl, hh, own = (model.table(of, which, curves=curves) for of in (*sides_of, sides_of[0]))
        entries = shard.ledger.positions, shard.ledger.balances, shard.posting
        whole = model.units, model.correlations, model.coin
        room, p = room_for(model.units), self.parameters(shard)
        tables = SideTables(ll, lh, hl, hh, own)
        found = cautious_portfolio(p, tables, *whole, *entries, sides, books[rows], self._tails, room)
        initial_equity, initial = numbers.initial_equity.copy(), numbers.initial.copy()
        initial_equity[rows], initial[rows] = found
        return numbers._replace(initial_equity=initial_equity, initial=initial)

    def rows_of(self, books: I64) -> I64:
        """Where in `books` those on portfolio margin stand."""
        if self.model is None or not len(self.on):
            return np.zeros(0, dtype=np.int64)
        inside = books < len(self.on)
        found: I64 = np.nonzero(inside)[0][self.on[books[inside]]]
        return found

    def apart(self, books: I64) -> tuple[I64, I64]:
        """Where in `books` those on the standard model stand, and where those on portfolio margin."""
        rows = self.rows_of(books)
        return np.delete(np.arange(len(books)), rows) if rows.size else np.arange(len(books)), rows

    def _numbers(self, shard: Shard, marks: F64, prices: F64, books: I64) -> F64:
        """Equity, adjusted equity, initial equity, initial and maintenance margin, what offsets take off; by book."""
        model, ledger = self.model, shard.ledger
        assert model is not None
        table = self._table_at(shard, marks, prices)
        numbers = np.empty((6, len(books)))
        entries = ledger.positions, ledger.balances, shard.posting
        whole = model.units, model.correlations, model.coin
        at = marks, prices, books, self._tails, room_for(model.units)
        _value(self.parameters(shard), table, *whole, *entries, *at, numbers)
        return numbers

    def parameters(self, shard: Shard) -> Parameters:
        """Without haircuts on coins of units, but for what they are widened by."""
        assert self.model is not None
        if self._uncut is None or self._uncut[0] is not shard.parameters:
            coin = self.model.coin
            widening = np.where(coin >= 0, self._widening(shard), 0.0)
            self._uncut = shard.parameters, widened(uncut(shard.parameters, coin, self.model.unit), widening)
        return self._uncut[1]

    def _widening(self, shard: Shard) -> F64:
        widenings = shard.prices.widenings
        return widenings if len(widenings) else np.zeros(len(shard.terms.assets))

    def _market(self, shard: Shard, marks: F64, prices: F64) -> RiskMarket:
        assert self.model is not None
        options = shard.prices.volatility, shard.prices.forward, shard.prices.discount
        index = [shard.prices.index.get(symbol, np.nan) for symbol in self.model.symbols]
        return RiskMarket(marks, prices, *options, np.array(index), shard.prices.time)

    def table(self, shard: Shard) -> RiskTable:
        """The risk table at the shard's prices, until it is written at others."""
        return self._table_at(shard, shard.prices.marks, shard.prices.prices)

    def _table_at(self, shard: Shard, marks: F64, prices: F64) -> RiskTable:
        """The risk table at these prices; of the last one only the rows that differ are written."""
        model, last = self.model, self._written
        assert model is not None
        time = shard.prices.time
        if last is not None and last.marks is marks and last.prices is prices and last.time == time:
            return last.table
        rows = model.rows(self._market(shard, marks, prices))
        if last is None:
            every = np.arange(len(model.unit), dtype=np.int32)
            table = model.table(rows, every, curves=self.factors is not None)
        else:
            table = last.table
            model.write(table, rows, _changed(last.rows, rows))
        self._written = _Written(marks, prices, time, rows, table)
        return table


def _changed(before: Rows, now: Rows) -> I32:
    """Rows whose market is not what it was."""
    same = np.ones(len(now.index_price), dtype=np.bool_)
    columns = zip((*before.of, before.index_price, before.years), (*now.of, now.index_price, now.years), strict=True)
    for then, here in columns:
        same &= (then == here) | ((then != then) & (here != here))
    return np.nonzero(~same)[0].astype(np.int32)


@kernel
def _value(
    p: Parameters,
    table: RiskTable,
    units: RiskUnits,
    correlations: Correlations,
    coin: I32,
    positions: Positions,
    balances: Balances,
    terms: Terms,
    marks: F64,
    prices: F64,
    books: I64,
    tails: Tails,
    room: Room,
    numbers: F64,
) -> None:
    """Write the numbers of each book, which depend on nothing but the book."""
    most, assets = 0, 0
    for book in books:
        most = max(most, positions.size[book])
        assets = max(assets, balances.size[book])
    entries, legs = scratch(most, assets), legs_for(most, assets)
    whole = p, table, units, correlations, coin, positions, balances, terms
    _value_within(*whole, marks, prices, books, tails, room, entries, legs, numbers)


@inner(_nrt=False)
def _value_within(
    p: Parameters,
    table: RiskTable,
    units: RiskUnits,
    correlations: Correlations,
    coin: I32,
    positions: Positions,
    balances: Balances,
    terms: Terms,
    marks: F64,
    prices: F64,
    books: I64,
    tails: Tails,
    room: Room,
    entries: Book,
    legs: Legs,
    numbers: F64,
) -> None:
    """As `_value`, with scratch for a book and its legs; it counts no references, which took a third of the time."""
    for at in range(books.shape[0]):
        book = gather(p, positions, balances, terms, marks, prices, books[at], entries)
        value_at_risk = 0.0
        if tails.returns.shape[0] > 0:
            value_at_risk = book_value_at_risk(p, table, units, coin, book, tails, room, legs)
        found = book_risk_within(p, table, units, correlations, coin, book, value_at_risk, room, legs)
        numbers[0, at], numbers[1, at], numbers[2, at] = found.equity, found.adjusted, found.initial_equity
        numbers[3, at], numbers[4, at] = found.initial, found.maintenance
        numbers[5, at] = found.risk.additive_loss - found.risk.grid_loss
        past = tails.returns.shape[0] > 0 and (book.instrument.shape[0] > 0 or holds_coin(coin, book))
        if past:  # the drift of the table says nothing of it
            numbers[5, at] = np.inf


@inner(_nrt=False)
def holds_coin(coin: I32, book: Book) -> bool:
    """Whether an asset of the book is a unit's coin."""
    for k in range(book.asset.shape[0]):
        if coin[book.asset[k]] >= 0:
            return True
    return False


@kernel
def _judge(
    numbers: F64,
    books: I64,
    rows: I64,
    levels: Levels,
    level_set: I32,
    called: npt.NDArray[np.bool_],
    step: I32,
    out: Judged,
) -> None:
    """Write numbers and status of the `rows` of books."""
    for at in range(rows.shape[0]):
        row = rows[at]
        book = books[row]
        own = level_set[book]
        out.equity[row], out.adjusted[row], out.maintenance[row] = numbers[0, at], numbers[1, at], numbers[4, at]
        out.status[row] = status_of(
            numbers[0, at],
            numbers[1, at],
            numbers[4, at],
            levels.call[own],
            levels.call_exit[own],
            levels.liquidation_exit[own],
            called[book],
            step[book] > 0,
        )
