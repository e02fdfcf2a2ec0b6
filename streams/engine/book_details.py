"""Numbers of one book and of each of its positions by the standard model, in one call of a kernel."""

from typing import NamedTuple

import numpy as np

from streams.compiled import kernel
from streams.margin.equity import Book, book_requirement, net_assets, standard_equity
from streams.margin.liquidation_price import liquidation_factor
from streams.margin.parameters import F64, Parameters
from streams.margin.requirements import notional, position_requirement

#: Equity, adjusted equity, initial equity, initial and maintenance margin; nan where unpriced.
BookNumbers = tuple[float, float, float, float, float]


class Details(NamedTuple):
    """A book's numbers; per position notional and margins in the reporting currency, and its liquidation price."""

    numbers: BookNumbers
    notional: F64
    initial: F64
    maintenance: F64
    liquidation_price: F64


@kernel
def book_numbers(p: Parameters, book: Book, exact: F64) -> BookNumbers:
    """Numbers of a book whose net assets, rounded from exact amounts, are `exact`; those are not read where the book is
    unpriced.
    """
    if not net_assets(p, book, np.empty(book.asset.shape[0])):
        return np.nan, np.nan, np.nan, np.nan, np.nan
    equity, adjusted, initial_equity = standard_equity(p, book, exact)
    initial, maintenance = book_requirement(p, book)
    return equity, adjusted, initial_equity, initial, maintenance


@kernel
def book_details(p: Parameters, book: Book, exact: F64) -> Details:
    """Numbers as `book_numbers` has them, and those of the positions; liquidation prices only where the whole book is
    priced.
    """
    n = book.instrument.shape[0]
    numbers = book_numbers(p, book, exact)
    out = Details(numbers, np.empty(n), np.empty(n), np.empty(n), np.full(n, np.nan))
    factor = np.empty(n)
    for j in range(n):
        i = book.instrument[j]
        price = book.price[book.slot[j]]
        out.notional[j] = notional(p, i, book.quantity[j], book.mark[j], price)
        if out.notional[j] != out.notional[j]:
            out.initial[j] = out.maintenance[j] = np.nan
        else:
            held = position_requirement(p, i, book.quantity[j], book.mark[j], price)
            out.initial[j], out.maintenance[j] = held
        if numbers[0] == numbers[0]:
            same = -1
            for other in range(j):
                if p.underlying[book.instrument[other]] == p.underlying[i]:
                    same = other
            factor[j] = factor[same] if same >= 0 else liquidation_factor(p, book, p.underlying[i])
            out.liquidation_price[j] = factor[j] * book.mark[j]
    return out
