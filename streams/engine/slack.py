"""Which books a move of prices can matter to: an index that leaves the others alone.

A book that was judged is *anchored*: the prices of that moment, and its *radius*, how far every price may move from
there (as a log ratio) before its status could change. A marks block wakes the books whose radius is used up, and only
those are judged. Radii are bounds, so the decisions are those of judging every book; they are no state and are never
written down: a book without one is always woken, and judging gives it one.

Anchors are kept in slots, one for each moment at which books were judged; books of one slot share one look at how far
prices have moved. A slot that no book needs is free; when slots run short, the books of the emptiest are woken.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from numba import njit

from streams.engine.columns import Balances, Positions, grown
from streams.engine.posting import Terms
from streams.engine.valuation import (
    BANKRUPT,
    MARGIN_CALL,
    OK,
    UNPRICED,
    Judged,
    Levels,
    gather,
    scratch,
)
from streams.margin.bounds import NONE, bounds
from streams.margin.equity import Book, position_value
from streams.margin.parameters import F64, I64, Parameters

if TYPE_CHECKING:
    from streams.engine.shard import Shard

SLOTS = 64
#: Which moves count whole in a radius, falls, rises or both; what counts less counts by 1 / LEAN of its size, so that
#: a book of longs is not woken by rises.
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
#: Radii are kept as float32, moves are compared to them: both rounded to the safe side by more than float32 can round.
SAFE = 1e-6
#: A move larger than any radius but an endless one.
FAR = 1e30

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]


@njit(cache=True, error_model="numpy", inline="always")
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


@njit(cache=True, error_model="numpy")
def _part(slack: float, left: float, guard: float) -> float:
    """1 where what is left of a slack is enough; else slack / what was used of it, at most just below 1."""
    if left >= guard:
        return 1.0
    return min(max(slack, 0.0) / max(slack - left, 1e-300), NEXT)


@njit(cache=True, error_model="numpy", inline="always")
def radius_of(
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


@njit(cache=True, error_model="numpy")
def anchor_books(
    p: Parameters,
    positions: Positions,
    balances: Balances,
    terms: Terms,
    marks: F64,
    prices: F64,
    books: I64,
    judged: Judged,
    levels: Levels,
    level_set: npt.NDArray[np.int32],
    status: npt.NDArray[np.int8],
    called: npt.NDArray[np.bool_],
    step: npt.NDArray[np.int32],
    fixed: int,
    slot: int,
    code: U8,
    radius: F32,
    live: I64,
) -> None:
    """Anchor the books just judged in `slot`; `status`, `called` and `step` are as it left them.

    A book in liquidation, or held back from it, has radius 0; one that was taken over, or has no price, no end to it.
    """
    most, assets = 0, 0
    for book in books:
        most = max(most, positions.size[book])
        assets = max(assets, balances.size[book])
    room = scratch(most, assets)
    low, high = np.empty(assets), np.empty(assets)
    for at in range(books.shape[0]):
        book = books[at]
        own = level_set[book]
        equity, adjusted, maintenance = judged.equity[at], judged.adjusted[at], judged.maintenance[at]
        reach, kind = 0.0, BOTH
        if status[book] == BANKRUPT or (status[book] == UNPRICED and step[book] == 0 and equity != equity):
            reach = math.inf
        elif step[book] == 0 and (status[book] == OK or status[book] == MARGIN_CALL) and equity == equity:
            line = max(levels.call[own], levels.call_exit[own]) if called[book] else levels.call[own]
            floor = max(line, 1.0) if status[book] == OK else 1.0
            ceiling = math.inf if status[book] == OK else line
            if equity >= 0.0 and adjusted >= floor * maintenance:
                view = gather(p, positions, balances, terms, marks, prices, book, room)
                reach, kind = radius_of(p, view, low, high, fixed, equity, adjusted, maintenance, floor, ceiling)
        if 0.0 < radius[book] < math.inf:
            live[code[book] // KINDS] -= 1
        code[book] = slot * KINDS + kind
        radius[book] = reach * (1.0 - SAFE)
        if 0.0 < radius[book] < math.inf:
            live[slot] += 1


@njit(cache=True, error_model="numpy")
def moves(anchors: F64, here: F64) -> F32:
    """How far prices have moved from each slot's anchor, by code: slot x KINDS + kind.

    Infinitely far where a price is known that was not known then.
    """
    out = np.empty(anchors.shape[0] * KINDS, dtype=np.float32)
    for slot in range(anchors.shape[0]):
        fall, rise = 0.0, 0.0
        for at in range(here.shape[0]):
            move = here[at] - anchors[slot, at]
            if move > rise:
                rise = move
            elif -move > fall:
                fall = -move
            elif move != move and here[at] == here[at]:
                rise = math.inf
        out[slot * KINDS + FALLS] = max(fall, rise / LEAN) * (1.0 + SAFE)
        out[slot * KINDS + RISES] = max(rise, fall / LEAN) * (1.0 + SAFE)
        out[slot * KINDS + BOTH] = max(rise, fall) * (1.0 + SAFE)
    return out


@njit(cache=True, error_model="numpy")
def woken(moved: F32, code: U8, radius: F32, books: int) -> I64:
    """The books whose radius is used up, ascending."""
    out = np.empty(books, dtype=np.int64)
    count = 0
    for book in range(books):
        if moved[code[book]] >= radius[book]:
            out[count] = book
            count += 1
    return out[:count]


class Slack:
    """Radii and anchors of all books of a shard.

    Attributes
    ----------
    radius, code : by book: see `woken`; code is slot x KINDS + kind
    anchors : log prices by slot, of all instruments and then of all assets, nan where never seen
    live : by slot, how many books are anchored there with a radius that has an end
    """

    def __init__(self) -> None:
        self.radius: F32 = np.zeros(0, dtype=np.float32)
        self.code: U8 = np.zeros(0, dtype=np.uint8)
        self.anchors: F64 = np.zeros((SLOTS, 0))
        self.live: I64 = np.zeros(SLOTS, dtype=np.int64)
        self.slot = 0

    def woken(self, shard: Shard) -> I64:
        """The books that the shard's newest prices may matter to, ascending; each must now be judged and anchored."""
        here = self._here(shard)
        moved = moves(self.anchors, here)
        if np.count_nonzero(self.live) >= SLOTS - 1:
            emptiest = int(np.argmin(np.where(self.live > 0, self.live, np.iinfo(np.int64).max)))
            moved[emptiest * KINDS : (emptiest + 1) * KINDS] = FAR
        return woken(moved, self.code, self.radius, shard.ledger.books)

    def anchor(self, shard: Shard, books: I64, judged: Judged) -> None:
        """Anchor the books at the shard's prices; after all that judging them has brought about."""
        here = self._here(shard)
        if not np.array_equal(self.anchors[self.slot], here, equal_nan=True):
            self.slot = int(np.argmin(self.live))
            if self.live[self.slot] > 0:
                self._forget()
            self.anchors[self.slot] = here
        ledger, standing, prices, rules = shard.ledger, shard.standing, shard.prices, shard.terms.rules
        anchor_books(
            shard.parameters,
            ledger.positions,
            ledger.balances,
            shard.posting,
            prices.marks,
            prices.prices,
            books,
            judged,
            standing.levels(),
            standing.level_set,
            standing.status,
            standing.called,
            standing.step,
            shard.terms.asset_index.get(rules.reporting_currency, NONE),
            self.slot,
            self.code,
            self.radius,
            self.live,
        )

    def _here(self, shard: Shard) -> F64:
        """Log prices now; room for every book, and no anchor of fewer prices than there are."""
        books = shard.ledger.books
        self.radius, self.code = grown(self.radius, books), grown(self.code, books)
        here = np.log(np.concatenate((shard.prices.marks, shard.prices.prices)))
        if len(here) != self.anchors.shape[1]:
            self._forget()
            self.anchors = np.full((SLOTS, len(here)), np.nan)
        return here

    def _forget(self) -> None:
        self.radius[:] = 0.0
        self.live[:] = 0
