"""The price at which a book meets its maintenance margin when one underlying moves and all else is held.

All marks and asset prices of the underlying are scaled by one factor f. Adjusted equity minus maintenance margin is
piecewise smooth in f: it bends at tier edges, where a net asset changes sign or crosses a haircut edge, and where the
size premium takes over, and jumps at the edges of whole tiers. Every bend is listed, and between two bends it is a
straight line (or, where a linear instrument settles in its own underlying or an inverse one does not, a curve that
turns once), so no root hides between samples; within a piece the root is bisected to the last bit.
"""

import math

import numpy as np

from streams.compiled import inner, kernel
from streams.margin.equity import Book, book_requirement, net_assets, position_value, standard_equity
from streams.margin.parameters import F64, Parameters
from streams.margin.requirements import notional

#: No liquidation price is looked for beyond this many times the mark, nor below its inverse.
FACTOR_MAX = 1e9
#: How far beside a jump its two sides are looked at, relative to the factor: past the rounding of the edge itself.
JUMP = 1e-12
#: How near its root the sign of a straight line is asked for: a middle of the bisection further off needs no valuation.
NEAR = 1e-11


@inner(_nrt=False)
def _excess(p: Parameters, book: Book, moved: Book, net: F64, underlying: int, factor: float) -> float:
    """Adjusted equity minus maintenance margin with the underlying at `factor`; `moved` and `net` are scratch."""
    for j in range(book.instrument.shape[0]):
        same = p.underlying[book.instrument[j]] == underlying
        moved.mark[j] = book.mark[j] * factor if same else book.mark[j]
    for k in range(book.asset.shape[0]):
        same = p.asset_underlying[book.asset[k]] == underlying
        moved.price[k] = book.price[k] * factor if same else book.price[k]
    net_assets(p, moved, net)
    return standard_equity(p, moved, net)[1] - book_requirement(p, moved)[1]


@inner
def _root(ratio: float, power: int) -> float:
    """The factor whose power of -1, 1 or 2 the ratio is."""
    if power == 2:
        return math.sqrt(ratio)
    return ratio if power == 1 else 1.0 / ratio


@inner
def _edge_factors(p: Parameters, book: Book, underlying: int) -> list[float]:
    """Factors where a position on the underlying meets a tier edge or its size premium takes over or lets go."""
    factors = [1.0]
    for j in range(book.instrument.shape[0]):
        i = book.instrument[j]
        own = p.underlying[i] == underlying
        settles = p.asset_underlying[book.asset[book.slot[j]]] == underlying
        power = (0 if not own else (-1 if p.inverse[i] else 1)) + (1 if settles else 0)
        value = notional(p, i, book.quantity[j], book.mark[j], book.price[book.slot[j]])
        if power == 0 or value == 0.0:
            continue
        first, last = p.tier_start[i], p.tier_start[i + 1]
        premium = p.size_premium_factor[i] * math.sqrt(abs(book.quantity[j]) * p.multiplier[i])
        for tier in range(first, last):
            if p.tier_from[tier] > 0.0:
                edge = _root(p.tier_from[tier] / value, power)
                factors.append(edge)
                if p.whole_tiers[i]:
                    # the margin jumps here: look at both sides
                    factors.append(edge * (1.0 - JUMP))
                    factors.append(edge * (1.0 + JUMP))
            if premium > 0.0 and not p.whole_tiers[i]:
                # 0.2 x (below + (n - from) x rate) = premium x n
                slope = premium - 0.2 * p.tier_maintenance[tier]
                level = 0.2 * (p.tier_maintenance_below[tier] - p.tier_from[tier] * p.tier_maintenance[tier])
                if slope != 0.0 and level / slope > 0.0:
                    factors.append(_root(level / slope / value, power))
    return factors


@inner
def _net_factors(p: Parameters, book: Book, underlying: int, factors: list[float]) -> None:
    """Add the factors where a net asset is zero or at a haircut edge: net = fixed + direct x f + inverse / f."""
    for k in range(book.asset.shape[0]):
        fixed = book.balance[k]
        direct = 0.0
        inverse = 0.0
        for j in range(book.instrument.shape[0]):
            i = book.instrument[j]
            if book.slot[j] != k:
                continue
            lent = p.right[i] == 0.0 or book.quantity[j] < 0.0
            value = position_value(p, i, book.quantity[j], book.mark[j]) if lent else 0.0
            fixed += book.accrued[j] - book.cost[j]
            if p.underlying[i] != underlying:
                fixed += value
            elif p.inverse[i]:
                inverse += value
            else:
                direct += value
        for tier in range(p.haircut_start[book.asset[k]], p.haircut_start[book.asset[k] + 1]):
            constant = fixed - p.haircut_from[tier]
            if direct == 0.0:
                if constant != 0.0:
                    factors.append(-inverse / constant)
                continue
            square = constant * constant - 4.0 * direct * inverse
            if square >= 0.0:
                root = math.sqrt(square)
                factors.append((-constant - root) / (2.0 * direct))
                factors.append((-constant + root) / (2.0 * direct))


@inner(_nrt=False)
def _rounding(p: Parameters, book: Book) -> float:
    """More than the rounding of the excess can be: some units in the last place of all amounts added up."""
    total = 0.0
    for j in range(book.instrument.shape[0]):
        value = abs(position_value(p, book.instrument[j], book.quantity[j], book.mark[j]))
        total += (value + abs(book.cost[j]) + abs(book.accrued[j])) * book.price[book.slot[j]]
    for k in range(book.asset.shape[0]):
        total += abs(book.balance[k]) * book.price[k]
    return (book.instrument.shape[0] + book.asset.shape[0] + 8) * 1e-15 * total


@inner(_nrt=False)
def _root_within(
    p: Parameters, book: Book, moved: Book, net: F64, underlying: int, low: float, high: float, rounding: float
) -> tuple[float, float]:
    """Where in [low, high] the root of a straight line is, but for rounding: beyond these two its sign is known.

    They are `low` and `high` themselves where rounding could hide the sign so near the root.
    """
    at_low = _excess(p, book, moved, net, underlying, low)
    at_high = _excess(p, book, moved, net, underlying, high)
    root = low + (high - low) * (at_low / (at_low - at_high))
    first, last = root * (1.0 - NEAR), root * (1.0 + NEAR)
    if not low < first < last < high:
        return low, high
    before = _excess(p, book, moved, net, underlying, first)
    after = _excess(p, book, moved, net, underlying, last)
    sure = min(abs(before), abs(after)) > rounding * max(high, 1.0)
    crossed = (before < 0.0) == (at_low < 0.0) and (after < 0.0) != (at_low < 0.0)
    return (first, last) if sure and crossed else (low, high)


@inner(_nrt=False)
def _bisect(
    p: Parameters,
    book: Book,
    moved: Book,
    net: F64,
    underlying: int,
    low: float,
    high: float,
    rising: bool,
    straight: bool,
    rounding: float,
) -> float:
    """The factor in [low, high] where the excess changes sign; `rising`: negative at low."""
    first, last = low, high
    if straight:
        first, last = _root_within(p, book, moved, net, underlying, low, high, rounding)
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle <= low or middle >= high:
            break
        if middle <= first:
            negative = rising
        elif middle >= last:
            negative = not rising
        else:
            negative = _excess(p, book, moved, net, underlying, middle) < 0.0
        if negative == rising:
            low = middle
        else:
            high = middle
    # the side that is still safe, so that the price itself is not yet a liquidation
    return high if rising else low


@inner(_nrt=False)
def _curved(p: Parameters, book: Book, underlying: int) -> bool:
    """Whether the excess is no straight line between bends: a value moves with the factor's square or inverse."""
    for j in range(book.instrument.shape[0]):
        i = book.instrument[j]
        settles = p.asset_underlying[book.asset[book.slot[j]]] == underlying
        if p.underlying[i] == underlying and settles != p.inverse[i]:
            return True
    return False


@kernel(_nrt=False)
def _turn(
    p: Parameters, book: Book, moved: Book, net: F64, underlying: int, low: float, high: float, sign: float
) -> float:
    """Where in (low, high) sign x excess is below zero though it is not at the ends; nan where it nowhere is."""
    for _ in range(120):
        third = (high - low) / 3.0
        left, right = low + third, high - third
        if left <= low or right >= high or left >= right:
            break
        at_left = sign * _excess(p, book, moved, net, underlying, left)
        at_right = sign * _excess(p, book, moved, net, underlying, right)
        if at_left < 0.0:
            return left
        if at_right < 0.0:
            return right
        if at_left < at_right:
            high = right
        else:
            low = left
    return np.nan


@kernel
def liquidation_factor(p: Parameters, book: Book, underlying: int) -> float:
    """The factor nearest to 1 where adjusted equity meets maintenance margin; nan where there is none.

    Ties go to the lower factor. Nan too where the book holds options on the underlying: their marks move by no factor.

    Parameters
    ----------
    book : priced; its arrays are not changed

    Notes
    -----
    Cost: about 25 valuations of the book for a root where the excess is straight, 60 where it is curved.
    """
    n, m = book.instrument.shape[0], book.asset.shape[0]
    for j in range(n):
        if p.right[book.instrument[j]] != 0.0 and p.underlying[book.instrument[j]] == underlying:
            return np.nan
    moved = Book(
        book.instrument,
        book.quantity,
        book.cost,
        book.accrued,
        np.empty(n),
        book.slot,
        book.asset,
        book.balance,
        np.empty(m),
    )
    net = np.empty(m)
    here = _excess(p, book, moved, net, underlying, 1.0)
    if here == 0.0:
        return 1.0
    factors = _edge_factors(p, book, underlying)
    _net_factors(p, book, underlying, factors)
    points = np.array(factors)
    points = np.sort(points[(points > 1.0 / FACTOR_MAX) & (points < FACTOR_MAX)])
    middle = np.searchsorted(points, 1.0)

    sign = -1.0 if here < 0.0 else 1.0
    straight, rounding = not _curved(p, book, underlying), _rounding(p, book)

    above = np.nan
    low, at_low = 1.0, here
    step = middle
    while low < FACTOR_MAX and above != above:
        while step < points.shape[0] and points[step] <= low:
            step += 1
        high = points[step] if step < points.shape[0] else low * 2.0
        at_high = _excess(p, book, moved, net, underlying, high)
        end = high
        if not straight and sign * at_high >= 0.0:
            end = _turn(p, book, moved, net, underlying, low, high, sign)
        if end == end and (_excess(p, book, moved, net, underlying, end) < 0.0) != (here < 0.0):
            above = _bisect(p, book, moved, net, underlying, low, end, here < 0.0, straight, rounding)
        elif straight and step >= points.shape[0] and sign * (at_high - at_low) > rounding * high:
            break  # no bend follows, and it leads away from zero
        low, at_low = high, at_high

    below = np.nan
    high, at_high = 1.0, here
    step = middle - 1
    while high > 1.0 / FACTOR_MAX and below != below:
        while step >= 0 and points[step] >= high:
            step -= 1
        low = points[step] if step >= 0 else high * 0.5
        at_low = _excess(p, book, moved, net, underlying, low)
        end = low
        if not straight and sign * at_low >= 0.0:
            end = _turn(p, book, moved, net, underlying, low, high, sign)
        if end == end and (_excess(p, book, moved, net, underlying, end) < 0.0) != (here < 0.0):
            below = _bisect(p, book, moved, net, underlying, end, high, here > 0.0, straight, rounding)
        elif straight and step < 0 and sign * (at_low - at_high) > rounding:
            break  # as above
        high, at_high = low, at_low

    if above != above:
        return below
    if below != below:
        return above
    return below if 1.0 - below <= above - 1.0 else above
