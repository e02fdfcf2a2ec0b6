"""Initial equity and margin of many books while prices are suspect: each price on the side worse for its holder.

What is long or owned counts at the lower of price and check price, what is short or owed at the higher.
"""

from typing import NamedTuple

import numpy as np

from streams.compiled import kernel
from streams.engine.columns import Balances, Positions
from streams.engine.posting import Terms
from streams.engine.trust import Trust
from streams.engine.valuation import gather, scratch
from streams.margin.equity import book_requirement, net_assets, standard_equity
from streams.margin.parameters import F64, I64, Parameters


class Sides(NamedTuple):
    """By instrument and by asset, the lower and the higher of price and check price; nan where never seen."""

    low_marks: F64
    high_marks: F64
    low_prices: F64
    high_prices: F64


def both_sides(trust: Trust, marks: F64, prices: F64) -> Sides:
    """The sides of each price; a check price that is not known changes nothing."""
    return Sides(
        np.fmin(marks, trust.check_marks),
        np.fmax(marks, trust.check_marks),
        np.fmin(prices, trust.check_prices),
        np.fmax(prices, trust.check_prices),
    )


@kernel
def cautious_books(
    p: Parameters, positions: Positions, balances: Balances, terms: Terms, sides: Sides, books: I64
) -> tuple[F64, F64]:
    """Initial equity and initial margin of `books`; where both sides of its prices are one, those of `value_books`."""
    total = books.shape[0]
    initial_equity, initial = np.empty(total), np.empty(total)
    most, assets = 0, 0
    for book in books:
        most = max(most, positions.size[book])
        assets = max(assets, balances.size[book])
    room = scratch(most, assets)
    net = np.empty(assets)
    for at in range(total):
        book = gather(p, positions, balances, terms, sides.low_marks, sides.low_prices, books[at], room)
        for j in range(book.instrument.shape[0]):
            if book.quantity[j] < 0.0:
                book.mark[j] = sides.high_marks[book.instrument[j]]
        priced = net_assets(p, book, net)
        for k in range(book.asset.shape[0]):
            if net[k] < 0.0:
                book.price[k] = sides.high_prices[book.asset[k]]
        initial_equity[at] = standard_equity(p, book, net)[2]
        initial[at] = book_requirement(p, book)[0]
        if not priced:
            initial_equity[at] = initial[at] = np.nan
    return initial_equity, initial
