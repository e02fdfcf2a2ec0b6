"""How far prices may move before a book's status can change: its radius, found by trying the bounds.

A *radius* is a log ratio that every price may move by. Which moves count whole in it is its kind, falls, rises or
both; what counts less counts by 1 / LEAN of its size, so that a book of longs is not woken by rises.
"""

import math

from streams.compiled import inner
from streams.margin.bounds import bounds
from streams.margin.equity import Book, position_value
from streams.margin.parameters import F64, Parameters

FALLS, RISES, BOTH = 0, 1, 2
KINDS = 3
LEAN = 4.0
#: Radii above the first are cut to it (a price halved or doubled and more), below the second to 0.
RADIUS_MAX, RADIUS_MIN = 1.0, 1e-6
#: How close to a line the bounds may come, as part of the turnover: past any rounding, and past a TIE.
GUARD = 1e-10
#: The first radius tried, as part of what the exposures at the anchor suggest; how far below what the try before it
#: suggests the next one stays; and how many there are.
FIRST, NEXT, TRIES = 0.9, 0.97, 12


@inner(inline="always")
def part_that_fits(
    p: Parameters,
    book: Book,
    low: F64,
    high: F64,
    fixed: int,
    equity: float,
    adjusted: float,
    maintenance: float,
    floor: float,
    ceiling: float,
    kind: int,
    radius: float,
) -> float:
    """1 where no move within the radius can take the book to equity below 0 or across a level.

    Else about which part of the radius would do, were what remains of each slack to fall evenly; below 1.

    Parameters
    ----------
    equity, adjusted, maintenance : at the anchor
    floor : adjusted equity stays at or above this many times the maintenance margin
    ceiling : and below this many times; inf: no matter
    """
    down = math.exp(-radius * (LEAN if kind == RISES else 1.0))
    up = math.exp(radius * (LEAN if kind == FALLS else 1.0))
    capped = ceiling < math.inf
    worst, least, most, small, large, turnover = bounds(p, book, low, high, fixed, down, up, capped)
    guard = GUARD * (turnover + floor * large)
    part = _part(equity, worst, guard)
    part = min(part, _part(adjusted - floor * maintenance, least - floor * large, guard))
    if capped:
        guard = GUARD * (turnover + ceiling * large)
        part = min(part, _part(ceiling * maintenance - adjusted, ceiling * small - most, guard))
    return part


@inner
def _part(slack: float, left: float, guard: float) -> float:
    """1 where what is left of a slack is enough; else slack / what was used of it, at most just below 1."""
    if left >= guard:
        return 1.0
    return min(max(slack, 0.0) / max(slack - left, 1e-300), NEXT)


@inner(inline="always")
def searched_radius(
    p: Parameters,
    book: Book,
    low: F64,
    high: F64,
    fixed: int,
    equity: float,
    adjusted: float,
    maintenance: float,
    floor: float,
    ceiling: float,
) -> tuple[float, int]:
    """Radius and kind of a priced book: a guess from its exposures, then less until the bounds hold; 0 where none does.

    Parameters
    ----------
    floor, ceiling : as in `part_that_fits`; the book is between them
    """
    falls, rises = 0.0, floor * maintenance  # what a move of 1 would cost
    debts = False
    for k in range(book.asset.shape[0]):
        if book.asset[k] != fixed and book.balance[k] != 0.0:
            value = book.balance[k] * book.price[k]
            falls += max(value, 0.0)
            rises += max(-value, 0.0)
        debts = debts or book.balance[k] < 0.0
    for j in range(book.instrument.shape[0]):
        value = position_value(p, book.instrument[j], book.quantity[j], book.mark[j]) * book.price[book.slot[j]]
        if book.quantity[j] > 0.0:
            falls += abs(value)
        else:
            rises += abs(value)
    kind = BOTH
    exposure = falls + rises
    slack = min(equity, adjusted - floor * maintenance)
    if ceiling < math.inf:
        slack = min(slack, ceiling * maintenance - adjusted)
    elif 3.0 * rises < falls:
        kind = FALLS
        exposure = falls + LEAN * rises
    elif 3.0 * falls < rises:
        kind = RISES
        exposure = rises + LEAN * falls
    if exposure == 0.0 or (book.instrument.shape[0] == 0 and not debts):
        radius = math.inf
    else:
        radius = min(FIRST * slack / exposure, RADIUS_MAX)
        tries = 0
        part = 0.0
        while radius > 0.0 and part < 1.0:
            part = part_that_fits(
                p, book, low, high, fixed, equity, adjusted, maintenance, floor, ceiling, kind, radius
            )
            tries += 1
            if part < 1.0:
                radius *= part * NEXT
            if part < 1.0 and (tries == TRIES or radius < RADIUS_MIN):
                radius = 0.0
    return max(radius, 0.0), kind
