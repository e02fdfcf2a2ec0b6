"""Which books a move of prices can matter to: an index that leaves the others alone.

A book that was judged is *anchored*: the prices of that moment, and its radius (streams.engine.radius), how far every
price may move from there before its status could change. A marks block wakes the books whose radius is used up, and
only those are judged. Radii are bounds, so the decisions are those of judging every book; they are no state and are
never written down: a book without one is always woken, and judging gives it one.

All books anchored at one moment share a *slot*: its prices, and its books sorted by radius, so that those to wake are
the first ones and nobody looks at the others. A slot that no book needs is free; when slots run short, the books of the
emptiest are woken. A book that rows have touched since is *loose*: the next marks block wakes it.

Marks of options are in no anchor: they move by no common factor, and a book that holds one on the standard model stays
loose. A book on portfolio margin is loose or asleep here: what wakes it is in streams.engine.drifts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from streams.compiled import kernel
from streams.engine.columns import distinct, grown
from streams.engine.drifts import Drifts
from streams.engine.frame import radii_framed
from streams.engine.judged_books import Judged
from streams.engine.radius import BOTH, KINDS, RADIUS_MIN, searched_radius
from streams.engine.reach import UNKNOWN, floor_of
from streams.engine.slots import ASLEEP, F32, I8, SLOTS, Slots, enter, loosen, pack, wake
from streams.engine.valuation import OK, gather, scratch
from streams.margin.bounds import NONE
from streams.margin.parameters import F64, I64

if TYPE_CHECKING:
    from streams.engine.shard import Shard


@kernel
def search(
    f: Any, marks: F64, prices: F64, books: I64, rows: I64, judged: Judged, fixed: int, radius: F32, kind: I8
) -> None:
    """Ask the bounds for the `rows` of books that `radii` has left: called ones, and those near the edge of a tier."""
    p, positions, balances, levels = f.parameters, f.positions, f.balances, f.levels
    level_set, status, called = f.level_set, f.status, f.called
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
            view = gather(p, positions, balances, f.terms, marks, prices, book, room)
            found, its_kind = searched_radius(p, view, low, high, fixed, equity, adjusted, maintenance, floor, ceiling)
        radius[row] = found if found >= RADIUS_MIN else 0.0
        kind[row] = its_kind


@kernel
def logs(right: F64, marks: F64, prices: F64) -> F64:
    """Log prices, of all instruments and then of all assets; nan where never seen, and of options (`right` not 0)."""
    found = np.empty(marks.shape[0] + prices.shape[0])
    for at in range(marks.shape[0]):
        found[at] = math.log(marks[at]) if right[at] == 0.0 else np.nan
    for at in range(prices.shape[0]):
        found[marks.shape[0] + at] = math.log(prices[at])
    return found


class Slack:
    """Anchors of all books of a shard.

    Attributes
    ----------
    slots : where each book is
    drifts : anchors of the books on portfolio margin
    """

    def __init__(self) -> None:
        self.drifts = Drifts()
        self.slots = _no_slots(0)
        self._books = 0
        self._room: I64 = np.zeros(0, dtype=np.int64)  # for the books woken
        self._laid_out: tuple[F64, F64] = (np.zeros(0), np.zeros(0))  # the prices last met, never written to again
        self._log: F64 = np.zeros(0)  # their logarithms
        self._seen: F64 = np.zeros(0)  # the log prices at which books were last judged
        self._marked = False  # a marks block has come since

    def woken(self, shard: Shard) -> I64:
        """The books that the shard's newest prices may matter to, ascending; each must now be judged and anchored."""
        here = self._here(shard)
        self._marked = True
        books = np.sort(self._room[: wake(self.slots, here, self._room)])
        if shard.portfolio.model is None:
            return books
        return distinct(np.concatenate((books, self.drifts.woken(shard))))

    def anchor(self, shard: Shard, books: I64, judged: Judged) -> None:
        """Anchor the books at the shard's prices, after all that judging them has brought about.

        Books judged between two marks blocks become loose: rows have touched them.
        """
        here = self._here(shard)
        if not self._marked and (here is self._seen or np.array_equal(self._seen, here, equal_nan=True)):
            loosen(self.slots, books)
            self.drifts.forget(books)
            return
        self._seen, self._marked = here, False
        standard, portfolio = shard.portfolio.apart(books)
        if portfolio.size:
            radius, kind = np.zeros(len(books), dtype=np.float32), np.full(len(books), BOTH, dtype=np.int8)
            if standard.size:
                numbers = judged.equity[standard], judged.adjusted[standard], judged.maintenance[standard]
                own = Judged(*numbers, judged.status[standard])
                radius[standard], kind[standard] = self._radii(shard, books[standard], own)
            anchored = self.drifts.anchor(shard, books, portfolio, judged)
            radius[portfolio] = np.where(anchored, np.float32(np.inf), np.float32(0.0))
        else:
            radius, kind = self._radii(shard, books, judged)
        if self.slots.used[1] + len(books) > len(self.slots.entry):
            self._pack(len(books))
        enter(self.slots, here, books, radius, kind)

    def _radii(self, shard: Shard, books: I64, judged: Judged) -> tuple[F32, I8]:
        """Radius and kind of each book."""
        frame, marks, prices = shard.frames.of(shard), shard.prices.marks, shard.prices.prices
        fixed = shard.terms.asset_index.get(shard.terms.rules.reporting_currency, NONE)
        radius, kind = np.empty(len(books), dtype=np.float32), np.empty(len(books), dtype=np.int8)
        if radii_framed(frame, marks, prices, books, judged, fixed, radius, kind):
            rows = np.nonzero(radius == UNKNOWN)[0]
            search(frame, marks, prices, books, rows, judged, fixed, radius, kind)
        return radius, kind

    def _pack(self, more: int) -> None:
        """Drop the entries of books that have left their slot, and make room for as many again, and `more`."""
        room = 2 * (int(self.slots.live.sum()) + more) + SLOTS
        entry, reaches = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.float32)
        pack(self.slots, entry, reaches)
        self.slots = self.slots._replace(entry=entry, reaches=reaches)

    def _here(self, shard: Shard) -> F64:
        """Log prices now; room for every book, and no anchor of fewer prices than there are."""
        if shard.ledger.books > self._books:
            self._grow(shard.ledger.books)
        laid_out = (shard.prices.marks, shard.prices.prices)
        if laid_out[0] is not self._laid_out[0] or laid_out[1] is not self._laid_out[1]:
            self._laid_out, self._log = laid_out, logs(shard.parameters.right, *laid_out)
        here = self._log
        if len(here) != len(self.slots.anchors):
            self.slots = _no_slots(len(here), len(self.slots.slot_of))
            loosen(self.slots, np.arange(self._books, dtype=np.int64))
        return here

    def _grow(self, books: int) -> None:
        """Room for so many books; new ones are asleep, all are loose where there were none."""
        known, self._books = self._books, books
        slot_of, loose = grown(self.slots.slot_of, books), grown(self.slots.loose, books)
        slot_of[known:] = ASLEEP
        self.slots = self.slots._replace(slot_of=slot_of, loose=loose)
        self._room = np.empty(len(slot_of), dtype=np.int64)
        if known == 0:
            loosen(self.slots, np.arange(books, dtype=np.int64))


def _no_slots(prices: int, books: int = 0) -> Slots:
    """Free slots for so many prices, and room for so many books, all asleep."""
    return Slots(
        slot_of=np.full(books, ASLEEP, dtype=np.int16),
        loose=np.zeros(books, dtype=np.int64),
        used=np.zeros(2, dtype=np.int64),
        anchors=np.full((prices, SLOTS), np.nan),
        live=np.zeros(SLOTS, dtype=np.int64),
        nearest=np.full((SLOTS, KINDS), np.inf),
        start=np.zeros((SLOTS, KINDS), dtype=np.int64),
        end=np.zeros((SLOTS, KINDS), dtype=np.int64),
        entry=np.zeros(0, dtype=np.int32),
        reaches=np.zeros(0, dtype=np.float32),
    )
