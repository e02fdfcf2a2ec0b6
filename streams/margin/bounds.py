"""How far a book's numbers can go while every price stays within a factor of what it is.

Each amount is taken at the worst corner of the range by itself: a position's value and its notional, the price of
its asset, the net amount before and after haircuts. So a mark and the price of its underlying may move apart, and
what can happen is inside the bounds, mostly well inside.
"""

from streams.compiled import kernel
from streams.margin.equity import Book, haircut_value, position_value
from streams.margin.parameters import F64, Parameters
from streams.margin.requirements import notional, requirement

#: No asset's price is held fixed.
NONE = -1


@kernel
def bounds(
    p: Parameters, book: Book, low: F64, high: F64, fixed: int, down: float, up: float, above: bool
) -> tuple[float, float, float, float, float, float]:
    """Least equity, least and most adjusted equity, least and most maintenance margin, and the turnover.

    True because a notional's requirement never falls as the notional grows (tier rates never fall, ingest sees to
    it), a net amount after haircuts never falls as the amount grows (haircuts are 0 to 1), and a value, linear or
    inverse, has its extremes at the ends of its mark's range.

    Parameters
    ----------
    book : priced
    low, high : room for as many numbers as the book has assets
    fixed : the asset whose price cannot move (the reporting currency), or NONE
    above : whether the most adjusted equity and the least maintenance margin are wanted too; else they are 0
    down, up : every mark, and every other price, stays between its own x down and its own x up; 0 < down <= 1 <= up

    Notes
    -----
    Turnover is the sum of all amounts that went into the bounds, reporting currency: rounding errors of the bounds,
    and of any valuation inside the range, are below 1e-12 of it.
    """
    equity = 0.0
    adjusted_least = 0.0
    adjusted_most = 0.0
    maintenance_least = 0.0
    maintenance_most = 0.0
    turnover = 0.0
    for k in range(book.asset.shape[0]):
        low[k] = book.balance[k]
        high[k] = book.balance[k]
        if book.balance[k] != 0.0:
            turnover += abs(book.balance[k]) * book.price[k] * up
    for j in range(book.instrument.shape[0]):
        i, k, quantity = book.instrument[j], book.slot[j], book.quantity[j]
        fallen, risen = book.mark[j] * down, book.mark[j] * up
        one = position_value(p, i, quantity, fallen)
        other = position_value(p, i, quantity, risen)
        paid = book.cost[j] - book.accrued[j]
        low[k] += min(one, other) - paid
        high[k] += max(one, other) - paid
        cheap, dear = book.price[k], book.price[k]
        if book.asset[k] != fixed:
            cheap *= down
            dear *= up
        one = notional(p, i, quantity, fallen, dear if p.inverse[i] else cheap)
        other = notional(p, i, quantity, risen, cheap if p.inverse[i] else dear)
        if above:
            maintenance_least += requirement(p, i, quantity, min(one, other))[1]
        maintenance_most += requirement(p, i, quantity, max(one, other))[1]
        turnover += 2.0 * max(one, other) + (abs(book.cost[j]) + abs(book.accrued[j])) * dear
    for k in range(book.asset.shape[0]):
        if low[k] != 0.0 or high[k] != 0.0:
            cheap, dear = book.price[k], book.price[k]
            if book.asset[k] != fixed:
                cheap *= down
                dear *= up
            least = cheap if low[k] >= 0.0 else dear
            most = dear if high[k] >= 0.0 else cheap
            equity += low[k] * least
            adjusted_least += haircut_value(p, book.asset[k], low[k], least)[0]
            if above:
                adjusted_most += haircut_value(p, book.asset[k], high[k], most)[0]
    return equity, adjusted_least, adjusted_most, maintenance_least, maintenance_most, turnover + maintenance_most
