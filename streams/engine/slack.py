"""Which books a move of prices can matter to: an index that leaves the others alone.

A book that was judged is *anchored*: the prices of that moment, and its radius (streams.engine.radius), how far every
price may move from there before its status could change. A marks block wakes the books whose radius is used up, and
only those are judged. Radii are bounds, so the decisions are those of judging every book; they are no state and are
never written down: a book without one is always woken, and judging gives it one.

All books anchored at one moment share a *slot*: its prices, and its books sorted by radius, so that those to wake are
the first ones and nobody looks at the others. A slot that no book needs is free; when slots run short, the books of the
emptiest are woken. A book that rows have touched since is *loose*: the next marks block wakes it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from numba import njit

from streams.engine.columns import Balances, Positions, distinct, grown
from streams.engine.posting import Terms
from streams.engine.radius import BOTH, FALLS, KINDS, LEAN, RADIUS_MIN, RISES, searched_radius
from streams.engine.reach import UNKNOWN, floor_of, radii
from streams.engine.valuation import (
    OK,
    Judged,
    Levels,
    gather,
    scratch,
)
from streams.margin.bounds import NONE
from streams.margin.parameters import F64, I32, I64, Parameters

if TYPE_CHECKING:
    from streams.engine.shard import Shard

SLOTS = 128
#: What `slot_of` says of books without a slot: no move matters to them, or the next marks block must wake them.
ASLEEP, LOOSE = -1, -2
#: Radii are cut to float32 with four bits of fraction, LEVELS of them from RADIUS_MIN to RADIUS_MAX, so that counting
#: sorts them; moves are rounded up by more than float32 can round.
CUT, FIRST_LEVEL, LEVELS, SAFE = 19, 1700, 400, 1e-6
#: A move larger than any radius.
FAR = 1e30

F32 = npt.NDArray[np.float32]
I16 = npt.NDArray[np.int16]


@njit(cache=True, error_model="numpy")
def search(
    p: Parameters,
    positions: Positions,
    balances: Balances,
    terms: Terms,
    marks: F64,
    prices: F64,
    books: I64,
    rows: I64,
    judged: Judged,
    levels: Levels,
    level_set: I32,
    status: npt.NDArray[np.int8],
    called: npt.NDArray[np.bool_],
    fixed: int,
    radius: F32,
    kind: npt.NDArray[np.int8],
) -> None:
    """Ask the bounds for the `rows` of books that `radii` has left: called ones, and those near the edge of a tier."""
    most, assets = 0, 0
    for row in rows:
        most = max(most, positions.size[books[row]])
        assets = max(assets, balances.size[books[row]])
    room = scratch(most, assets)
    low, high = np.empty(assets), np.empty(assets)
    for row in rows:
        book = books[row]
        own = level_set[book]
        equity, adjusted, maintenance = judged.equity[row], judged.adjusted[row], judged.maintenance[row]
        if status[book] == OK:
            floor, ceiling = floor_of(levels.call[own], levels.call_exit[own], called[book]), math.inf
        else:
            floor = 1.0
            ceiling = max(levels.call[own], levels.call_exit[own]) if called[book] else levels.call[own]
        found, its_kind = 0.0, BOTH
        if adjusted >= floor * maintenance:
            view = gather(p, positions, balances, terms, marks, prices, book, room)
            found, its_kind = searched_radius(p, view, low, high, fixed, equity, adjusted, maintenance, floor, ceiling)
        radius[row] = found if found >= RADIUS_MIN else 0.0
        kind[row] = its_kind


@njit(cache=True, error_model="numpy")
def sort_in(
    books: I64,
    radius: F32,
    level: I32,
    kind: npt.NDArray[np.int8],
    slot: int,
    start: I64,
    end: I64,
    entry: I32,
    reaches: F32,
    at: int,
) -> None:
    """Write the books to `entry` from `at` on, sorted by kind and level, and where the kinds of the slot lie."""
    place = np.zeros(KINDS * LEVELS + 1, dtype=np.int64)
    place[0] = at
    for row in range(books.shape[0]):
        place[kind[row] * LEVELS + level[row] + 1] += 1
    for bucket in range(KINDS * LEVELS):
        place[bucket + 1] += place[bucket]
    for which in range(KINDS):
        start[slot, which], end[slot, which] = place[which * LEVELS], place[(which + 1) * LEVELS]
    for row in range(books.shape[0]):
        bucket = kind[row] * LEVELS + level[row]
        entry[place[bucket]] = books[row]
        reaches[place[bucket]] = radius[row]
        place[bucket] += 1


@njit(cache=True, error_model="numpy")
def wake(
    anchors: F64, here: F64, live: I64, start: I64, end: I64, entry: I32, reaches: F32, slot_of: I16, out: I64
) -> int:
    """Write the anchored books whose radius is used up to `out`; how many. `start` passes those anchored elsewhere.

    A price that is known and was not known then is infinitely far. With no slot left, the emptiest is woken whole.
    """
    emptiest, used = -1, 0
    for slot in range(live.shape[0]):
        if live[slot] > 0:
            used += 1
            if emptiest < 0 or live[slot] < live[emptiest]:
                emptiest = slot
    moved = np.empty(KINDS)
    count = 0
    for slot in range(live.shape[0]):
        if live[slot] > 0:
            fall, rise = 0.0, 0.0
            for at in range(here.shape[0]):
                move = here[at] - anchors[slot, at]
                if move > rise:
                    rise = move
                elif -move > fall:
                    fall = -move
                elif move != move and here[at] == here[at]:
                    rise = FAR
            if slot == emptiest and used >= live.shape[0] - 1:
                rise = FAR
            moved[FALLS] = max(fall, rise / LEAN) * (1.0 + SAFE)
            moved[RISES] = max(rise, fall / LEAN) * (1.0 + SAFE)
            moved[BOTH] = max(rise, fall) * (1.0 + SAFE)
            for kind in range(KINDS):
                first, stop = start[slot, kind], end[slot, kind]
                while first < stop and slot_of[entry[first]] != slot:
                    first += 1
                start[slot, kind] = first
                while first < stop and reaches[first] <= moved[kind]:
                    if slot_of[entry[first]] == slot:
                        out[count] = entry[first]
                        count += 1
                    first += 1
    return count


class Slack:
    """Anchors of all books of a shard.

    Attributes
    ----------
    slot_of : by book, NOWHERE where it is loose, or no move matters to it
    anchors : log prices by slot, of all instruments and then of all assets, nan where never seen
    live : by slot, how many books are anchored there
    start, end : by slot and kind, where its books lie in `entry`, with their radii in `reaches`, ascending
    """

    def __init__(self) -> None:
        self.slot_of: I16 = np.zeros(0, dtype=np.int16)
        self.anchors: F64 = np.zeros((SLOTS, 0))
        self.live: I64 = np.zeros(SLOTS, dtype=np.int64)
        self.start: I64 = np.zeros((SLOTS, KINDS), dtype=np.int64)
        self.end: I64 = np.zeros((SLOTS, KINDS), dtype=np.int64)
        self.entry: I32 = np.zeros(0, dtype=np.int32)
        self.reaches: F32 = np.zeros(0, dtype=np.float32)
        self._top = 0
        self._loose: list[I64] = []  # books that were loose, some twice
        self._laid_out: tuple[F64, F64] = (np.zeros(0), np.zeros(0))  # the prices last met, never written to again
        self._log: F64 = np.zeros(0)  # their logarithms
        self._seen: F64 = np.zeros(0)  # the log prices at which books were last judged
        self._marked = False  # a marks block has come since

    def woken(self, shard: Shard) -> I64:
        """The books that the shard's newest prices may matter to, ascending; each must now be judged and anchored."""
        here = self._here(shard)
        self._marked = True
        out = np.empty(int(self.live.sum()), dtype=np.int64)
        count = wake(self.anchors, here, self.live, self.start, self.end, self.entry, self.reaches, self.slot_of, out)
        if self._loose:
            loose = distinct(np.concatenate(self._loose))
            self._loose = [loose[self.slot_of[loose] == LOOSE]]
        return np.sort(np.concatenate((out[:count], *self._loose)))

    def anchor(self, shard: Shard, books: I64, judged: Judged) -> None:
        """Anchor the books at the shard's prices, after all that judging them has brought about.

        Books judged between two marks blocks become loose: rows have touched them.
        """
        here = self._here(shard)
        self._detach(books)
        if not self._marked and (here is self._seen or np.array_equal(self._seen, here, equal_nan=True)):
            self._loosen(books)
            return
        self._seen, self._marked = here, False
        radius, kind = self._radii(shard, books, judged)
        if (radius == 0.0).any():
            self._loosen(books[radius == 0.0])
        anchored = (radius > 0.0) & (radius < np.inf)
        if anchored.any():
            self._enter(here, books[anchored], radius[anchored], kind[anchored])

    def _radii(self, shard: Shard, books: I64, judged: Judged) -> tuple[F32, npt.NDArray[np.int8]]:
        """Radius and kind of each book."""
        ledger, standing, prices, rules = shard.ledger, shard.standing, shard.prices, shard.terms.rules
        fixed = shard.terms.asset_index.get(rules.reporting_currency, NONE)
        radius, kind = np.empty(len(books), dtype=np.float32), np.empty(len(books), dtype=np.int8)
        levels = standing.levels()
        radii(
            shard.parameters,
            ledger.positions,
            shard.exposures.held(shard),
            ledger.balances,
            prices.marks,
            prices.prices,
            books,
            judged,
            levels,
            standing.level_set,
            standing.status,
            standing.called,
            standing.step,
            fixed,
            radius,
            kind,
        )
        rows = np.nonzero(radius == UNKNOWN)[0]
        if rows.size:
            search(
                shard.parameters,
                ledger.positions,
                ledger.balances,
                shard.posting,
                prices.marks,
                prices.prices,
                books,
                rows,
                judged,
                levels,
                standing.level_set,
                standing.status,
                standing.called,
                fixed,
                radius,
                kind,
            )
        return radius, kind

    def _enter(self, here: F64, books: I64, radius: F32, kind: npt.NDArray[np.int8]) -> None:
        """Take a free slot for books with these radii."""
        slot = int(np.argmin(self.live))
        if self._top + len(books) > len(self.entry):
            self._pack(len(books))
        self.anchors[slot] = here
        self.live[slot] = len(books)
        self.slot_of[books] = slot
        level = radius.view(np.int32) >> CUT
        cut = (level << CUT).view(np.float32)
        own = level - FIRST_LEVEL
        sort_in(books, cut, own, kind, slot, self.start, self.end, self.entry, self.reaches, self._top)
        self._top += len(books)

    def _loosen(self, books: I64) -> None:
        """Have the next marks block wake them."""
        self.slot_of[books] = LOOSE
        self._loose.append(books)

    def _pack(self, more: int) -> None:
        """Drop the entries of books that have left their slot, and make room for as many again, and `more`."""
        entry, reaches = self.entry, self.reaches
        room = 2 * (int(self.live.sum()) + more) + SLOTS
        self.entry, self.reaches = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.float32)
        self._top = 0
        for slot, kind in np.argwhere(self.end > self.start):
            first, stop = self.start[slot, kind], self.end[slot, kind]
            kept = first + np.nonzero(self.slot_of[entry[first:stop]] == slot)[0]
            top = self._top + (len(kept) if self.live[slot] else 0)
            self.entry[self._top : top], self.reaches[self._top : top] = entry[kept], reaches[kept]
            self.start[slot, kind], self.end[slot, kind] = self._top, top
            self._top = top

    def _detach(self, books: I64) -> None:
        """Take the books out of their slots."""
        slots = self.slot_of[books]
        self.live -= np.bincount(slots[slots >= 0], minlength=SLOTS)
        self.slot_of[books] = ASLEEP

    def _here(self, shard: Shard) -> F64:
        """Log prices now; room for every book, and no anchor of fewer prices than there are."""
        books, known = shard.ledger.books, len(self.slot_of)
        self.slot_of = grown(self.slot_of, books)
        self.slot_of[known:] = ASLEEP
        laid_out = (shard.prices.marks, shard.prices.prices)
        if any(now is not then for now, then in zip(laid_out, self._laid_out, strict=True)):
            self._laid_out, self._log = laid_out, np.log(np.concatenate(laid_out))
        here = self._log
        if len(here) != self.anchors.shape[1] or known == 0:
            self.anchors = np.full((SLOTS, len(here)), np.nan)
            self.live[:] = 0
            self._loose = []
            self._loosen(np.arange(books, dtype=np.int64))
        return here
