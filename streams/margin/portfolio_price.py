"""Where a book on portfolio margin meets its maintenance margin when one underlying moves: down, and up.

There is no closed form, and a book may have two such prices, one, or none: the price is scanned, each change of sign
bisected, and at every point all is valued and margined anew (L3).
"""

from typing import NamedTuple

import numpy as np

from streams.compiled import inner, kernel
from streams.margin.equity import Book
from streams.margin.offsets import Correlations
from streams.margin.parameters import F64, I32, Parameters
from streams.margin.portfolio import Room
from streams.margin.portfolio_book import book_risk
from streams.margin.portfolio_tail import Tails
from streams.margin.risk_table import MARK, Holding, RiskTable, write_rows
from streams.margin.risk_units import RiskUnits, grid_of_unit
from streams.margin.scenarios import OPTION, Instruments, SkewShock, VolatilityShock

#: The price is scanned to this far either way, in this many steps each way.
FARTHEST = 0.6
STEPS = 20


class PriceSearch(NamedTuple):
    """A book, its market, and room to move the prices of one unit in; `price_search` makes it.

    `table` holds the rows at the prices of `of`; those of the unit are written anew at each price tried. `which` are
    the rows of the unit that the book holds, `worth` what they are worth.
    """

    p: Parameters
    table: RiskTable
    units: RiskUnits
    correlations: Correlations
    coin: I32
    book: Book
    moved_book: Book
    of: Instruments
    moved: Instruments
    index_price: F64
    moved_index: F64
    holding: Holding
    moved_minimum: F64
    shock: VolatilityShock
    skew: SkewShock
    unit: int
    which: I32
    worth: F64
    tails: Tails
    room: Room


def price_search(
    *,
    p: Parameters,
    table: RiskTable,
    units: RiskUnits,
    correlations: Correlations,
    coin: I32,
    book: Book,
    of: Instruments,
    index_price: F64,
    holding: Holding,
    shock: VolatilityShock,
    skew: SkewShock,
    unit: int,
    tails: Tails,
    room: Room,
) -> PriceSearch:
    """A search over the prices of `unit` for a priced book; the arrays given are not changed, the table's rows are."""
    coins = coin[book.asset]
    held = np.union1d(book.instrument, coins[coins >= 0])
    which = held[table.unit[held] == unit].astype(np.int32)
    return PriceSearch(
        p=p,
        table=table,
        units=units,
        correlations=correlations,
        coin=coin,
        book=book,
        moved_book=book._replace(mark=book.mark.copy(), price=book.price.copy()),
        of=of,
        moved=of._replace(price=of.price.copy(), settlement_price=of.settlement_price.copy()),
        index_price=index_price,
        moved_index=index_price.copy(),
        holding=holding,
        moved_minimum=holding.minimum.copy(),
        shock=shock,
        skew=skew,
        unit=unit,
        which=which,
        worth=table.amounts[:, MARK].copy(),
        tails=tails,
        room=room,
    )


@inner
def excess_at(s: PriceSearch, factor: float) -> float:
    """Adjusted equity less maintenance margin with all prices of the unit times `factor`; the table is left so.

    What is settled of an option's forward does not move. Volatilities stay with their strikes; an option's mark moves
    by what its value by the model does.
    """
    for at in range(s.which.shape[0]):
        i = s.which[at]
        s.moved.price[i] = s.of.price[i] * factor
        s.moved_index[i] = s.index_price[i] * factor
        s.moved_minimum[i] = s.holding.minimum[i] * factor
        s.moved.settlement_price[i] = s.of.settlement_price[i] * (factor if s.of.coin_settled[i] else 1.0)
    holding = Holding(s.moved_minimum, s.holding.initial, s.holding.maintenance, s.holding.spread)
    grid = grid_of_unit(s.units, s.unit)
    write_rows(s.table, s.which, s.moved, s.moved_index, holding, grid, s.shock, s.skew)
    book = s.moved_book
    for k in range(book.asset.shape[0]):
        coin = s.coin[book.asset[k]]
        own = coin >= 0 and s.table.unit[coin] == s.unit
        book.price[k] = s.book.price[k] * factor if own else s.book.price[k]
    for j in range(book.instrument.shape[0]):
        i = book.instrument[j]
        if s.table.unit[i] != s.unit:
            continue
        if s.of.kind[i] == OPTION:
            now = s.table.amounts[i, MARK] / (s.of.multiplier[i] * s.moved.settlement_price[i])
            then = s.worth[i] / (s.of.multiplier[i] * s.of.settlement_price[i])
            book.mark[j] = max(s.book.mark[j] + (now - then), 0.0)
        else:
            book.mark[j] = s.book.mark[j] * factor
    found = book_risk(s.p, s.table, s.units, s.correlations, s.coin, book, s.tails, s.room)
    return found.adjusted - found.maintenance


@kernel
def liquidation_factors(s: PriceSearch) -> tuple[float, float]:
    """Factors of the unit's prices, nearest below and above 1, at the safe side of where excess changes its sign.

    nan where it does not within FARTHEST. The table is as before afterwards.
    """
    below = above = np.nan
    here = excess_at(s, 1.0)
    for side in range(2):
        last = 1.0
        for step in range(1, STEPS + 1):
            factor = 1.0 + (FARTHEST * step / STEPS) * (2 * side - 1)
            excess = excess_at(s, factor)
            if (excess < 0.0) != (here < 0.0):
                found = crossing(s, last, factor) if here >= 0.0 else crossing(s, factor, last)
                if side == 0:
                    below = found
                else:
                    above = found
                break
            last = factor
    excess_at(s, 1.0)
    return below, above


@inner(inline="always")
def crossing(s: PriceSearch, safe: float, unsafe: float) -> float:
    """The factor between one without and one with a lack where the lack begins, to the last bit."""
    for _ in range(60):
        middle = 0.5 * (safe + unsafe)
        if middle in (safe, unsafe):
            break
        if excess_at(s, middle) < 0.0:
            unsafe = middle
        else:
            safe = middle
    return safe
