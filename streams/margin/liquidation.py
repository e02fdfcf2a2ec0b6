"""What to close, how much of it and at which limit, so that a book below its maintenance margin recovers.

Sizes come from the book's own requirement function, not from a closed form, so tiers, premiums and haircuts are in
them. Closing at the mark turns unrealised into realised P&L, which changes no net asset; only the liquidation fee
does.
"""

import numpy as np
import numpy.typing as npt

from streams.compiled import inner, kernel
from streams.margin.equity import TIE, Book, net_assets, position_value, standard_equity
from streams.margin.parameters import F64, I64, Parameters
from streams.margin.rational import Rational
from streams.margin.requirements import notional, position_requirement


@inner
def fee_of(p: Parameters, instrument: int, quantity: float, price: float) -> float:
    """Liquidation fee in units of the settlement asset for closing `quantity` (any sign) at `price`; >= 0."""
    return abs(position_value(p, instrument, quantity, price)) * p.liquidation_fee[instrument]


@kernel
def leg_maintenance(p: Parameters, book: Book, j: int, quantity: float) -> float:
    """Maintenance margin of position j of the book if it held `quantity`."""
    return position_requirement(p, book.instrument[j], quantity, book.mark[j], book.price[book.slot[j]])[1]


@inner
def closing_order(p: Parameters, book: Book) -> I64:
    """Positions in the order to close them: most maintenance margin freed per unit of cost first.

    Cost is the liquidation fee; a leg without fee goes before any with one. Ties: larger margin, then the book's
    order.
    """
    n = book.instrument.shape[0]
    margin = np.empty(n)
    cost = np.empty(n)
    for j in range(n):
        margin[j] = leg_maintenance(p, book, j, book.quantity[j])
        fee = fee_of(p, book.instrument[j], book.quantity[j], book.mark[j])
        cost[j] = fee * book.price[book.slot[j]]
    order = np.arange(n)
    for at in range(1, n):
        leg = order[at]
        place = at
        while place > 0:
            other = order[place - 1]
            mine, theirs = margin[leg] * cost[other], margin[other] * cost[leg]
            first = mine > theirs or (mine == theirs and margin[leg] > margin[other])
            if not first:
                break
            order[place] = other
            place -= 1
        order[place] = leg
    return order


@inner
def _recovery(p: Parameters, book: Book, net: F64, j: int, quantity: float, others: float, target: float) -> float:
    """Adjusted equity minus target x maintenance margin with position j reduced to `quantity` at the mark.

    `net` has the fees of closes already decided taken out; `others` is the margin of the other positions. Of an
    option bought, what is sold becomes money that counts.
    """
    slot, held = book.slot[j], book.quantity[j]
    before = net[slot]
    net[slot] -= fee_of(p, book.instrument[j], held - quantity, book.mark[j])
    book.quantity[j] = quantity
    adjusted = standard_equity(p, book, net)[1]
    net[slot], book.quantity[j] = before, held
    return adjusted - target * (others + leg_maintenance(p, book, j, quantity))


@inner
def _candidates(p: Parameters, book: Book, j: int, lots: int) -> I64:
    """Closed sizes (lots, ascending, ending with all) between which recovery has no jump and bends one way."""
    i = book.instrument[j]
    whole = abs(lots)
    value = notional(p, i, book.quantity[j], book.mark[j], book.price[book.slot[j]])
    found = [whole]
    for tier in range(p.tier_start[i], p.tier_start[i + 1]):
        edge = p.tier_from[tier]
        if 0.0 < edge <= value:
            kept = int(edge / value * whole)
            for closed in range(whole - kept - 1, whole - kept + 3):
                if 0 < closed < whole:
                    found.append(closed)
    return np.unique(np.array(found))


@inner
def smallest_close(p: Parameters, book: Book, net: F64, j: int, lots: int, others: float, target: float) -> int:
    """The fewest lots of position j whose close reaches the target; -1 where no size of it does.

    Between neighbouring candidates recovery is concave in the lots closed, so it is bisected where an end reaches
    the target, and its peak is sought where neither does. Where lots are coarse, a target missed by rounding alone
    (TIE) is reached.
    """
    scale = p.lot_scale[book.instrument[j]]
    side = 1.0 if lots > 0 else -1.0
    whole = abs(lots)
    margin = leg_maintenance(p, book, j, book.quantity[j])
    coarse = margin > 1e-9 * (margin + others) * whole
    aim = -TIE * target * (margin + others) if coarse else 0.0
    low = 0
    for high in _candidates(p, book, j, lots):
        value = _recovery(p, book, net, j, side * float(whole - high) / scale, others, target)
        if value < aim:
            # a peak inside: climb by ternary search, then treat it as the upper end
            left, right = low, high
            while right - left > 2:
                third = (right - left) // 3
                a, b = left + third, right - third
                at_a = _recovery(p, book, net, j, side * float(whole - a) / scale, others, target)
                at_b = _recovery(p, book, net, j, side * float(whole - b) / scale, others, target)
                if at_a < at_b:
                    left = a
                else:
                    right = b
            peak = left
            for size in range(left, right + 1):
                if _recovery(p, book, net, j, side * float(whole - size) / scale, others, target) >= aim:
                    peak = size
                    value = aim
                    break
            if value < aim:
                low = high
                continue
            high = peak
        while high - low > 1:
            middle = (low + high) // 2
            if _recovery(p, book, net, j, side * float(whole - middle) / scale, others, target) >= aim:
                high = middle
            else:
                low = middle
        return high
    return -1


@kernel
def closing_sizes(p: Parameters, book: Book, lots: I64, closable: npt.NDArray[np.bool_], target: float) -> I64:
    """Lots to close of each position (>= 0), the least that brings the book to `target`, best legs first.

    A leg that cannot reach the target alone is closed whole and the next one follows; where all of them together
    cannot, everything closable is closed. What may not be closed keeps its requirement.

    Parameters
    ----------
    book : priced, below the target
    lots : position sizes in lots, positive long
    closable : by position, whether an order may be sent for it
    target : adjusted equity / maintenance margin to reach, e.g. 1.10
    """
    n = book.instrument.shape[0]
    book = Book(
        book.instrument,
        book.quantity.copy(),  # written to: what is closed is held no more
        book.cost,
        book.accrued,
        book.mark,
        book.slot,
        book.asset,
        book.balance,
        book.price,
    )
    sizes = np.zeros(n, dtype=np.int64)
    net = np.empty(book.asset.shape[0])
    net_assets(p, book, net)
    margin = np.empty(n)
    for j in range(n):
        margin[j] = leg_maintenance(p, book, j, book.quantity[j])
    for j in closing_order(p, book):
        if not closable[j]:
            continue
        others = 0.0
        for other in range(n):
            if other != j and sizes[other] == 0:
                others += margin[other]
        size = smallest_close(p, book, net, j, lots[j], others, target)
        if size >= 0:
            sizes[j] = size
            return sizes
        sizes[j] = abs(lots[j])
        net[book.slot[j]] -= fee_of(p, book.instrument[j], book.quantity[j], book.mark[j])
        book.quantity[j] = 0.0
    return sizes


def limit_price(
    *, quantity: Rational, multiplier: Rational, mark: Rational, share: Rational, fee: Rational, inverse: bool
) -> Rational | None:
    """The price at which closing a position, fee included, loses exactly `share` against its mark.

    linear, side s = sign of quantity: s x (mark - L) + fee x L = share / size
    inverse: s x (1/L - 1/mark) + fee / L = share / size

    Exact, so that rounding it to the tick is the only rounding.

    Parameters
    ----------
    quantity : units, positive long, not 0
    share : units of the settlement asset, >= 0
    fee : fraction of the notional at the limit, 0 to 1

    Returns
    -------
    The price, > 0; None where even the worst price (0 for a sell, any for a buy) loses less, and where the fee takes
    all, so that the price makes no difference.

    Examples
    --------
    A long of 1 at 50,000 with 1,500 to lose and no fee:

    >>> limit_price(quantity=Rational(1), multiplier=Rational(1), mark=Rational(50000), share=Rational(1500),
    ...             fee=Rational(0), inverse=False)
    mpq(48500,1)
    """
    side = 1 if quantity > 0 else -1
    loss = share / (abs(quantity) * multiplier)
    if inverse:
        denominator = loss + side / mark
        limit = (side + fee) / denominator if denominator else None
    else:
        limit = (side * mark - loss) / (side - fee) if side != fee else None
    return limit if limit is not None and limit > 0 else None
