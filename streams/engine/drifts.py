"""Which books on portfolio margin what has happened to the risk table can matter to; the others are left alone.

As streams.engine.slack for the standard model: a book judged is anchored with all others of that moment, and woken
when the drift (streams.engine.drift) since is as large as its radius (streams.engine.drift_radius). Here an anchor is a
whole sketch of the table, so they are fewer, and one is taken only for enough books at once: the rest stay loose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from streams.compiled import kernel
from streams.engine.columns import grown
from streams.engine.drift import SCALES, Sketch, drifts, empty_sketch, sketch, write_scales
from streams.engine.drift_radius import ALL, drift_radii
from streams.engine.judged_books import Judged
from streams.engine.radius import RADIUS_MIN
from streams.engine.risk_model import RiskModel
from streams.margin.bounds import NONE
from streams.margin.parameters import F64, I32, I64

if TYPE_CHECKING:
    from streams.engine.shard import Shard

I16 = npt.NDArray[np.int16]

ANCHORS = 24
#: An anchor is taken for one in so many of the books on portfolio margin, or more.
SHARE = 256
#: The anchor of a book that has none; of one that no drift matters to.
NOWHERE, NEVER = -1, -2
#: Drifts are rounded up by more than float64 can round.
SAFE = 1e-9


@kernel
def reached(anchor: I16, radius: F64, group: I32, drift: F64, emptiest: int, out: I64) -> int:
    """Write the books whose radius is used up, ascending, and all of the anchor `emptiest`; how many.

    Parameters
    ----------
    drift : by anchor, of each unit, of the assets of no unit, and of all of them
    """
    count, last = 0, drift.shape[1] - 1
    for book in range(anchor.shape[0]):
        at = anchor[book]
        if at >= 0:
            moved = drift[at, last]
            if group[book] != ALL:
                moved = max(drift[at, group[book]], drift[at, last - 1])
            if moved >= radius[book] or at == emptiest:
                out[count] = book
                count += 1
    return count


class Drifts:
    """Anchors of the books of a shard that are on portfolio margin."""

    def __init__(self) -> None:
        self._anchor: I16 = np.zeros(0, dtype=np.int16)  # by book
        self._radius: F64 = np.zeros(0)
        self._group: I32 = np.zeros(0, dtype=np.int32)
        self._live: I64 = np.zeros(ANCHORS, dtype=np.int64)  # by anchor, how many books it has
        self._model: RiskModel | None = None
        self._then: list[Sketch] = []
        self._last: tuple[F64, F64, Sketch] | None = None  # with the marks and prices it was made at
        self._scale: F64 = np.zeros(0)
        self._beside: I32 = np.zeros(0, dtype=np.int32)

    def anchored(self) -> npt.NDArray[np.bool_]:
        """By book, whether it is."""
        found: npt.NDArray[np.bool_] = self._anchor >= 0
        return found

    def forget(self, books: I64) -> None:
        """These books are anchored nowhere."""
        own = books[books < len(self._anchor)]
        before = self._anchor[own]
        self._live -= np.bincount(before[before >= 0], minlength=ANCHORS)
        self._anchor[own] = NOWHERE

    def woken(self, shard: Shard) -> I64:
        """The anchored books that the newest prices may matter to, ascending; each must be judged and anchored anew."""
        model = self._model
        if not self._live.any() or model is None or model is not shard.portfolio.model:
            found = np.nonzero(self._anchor >= 0)[0]
        else:
            units = len(self._live), len(model.symbols) + 2
            drift, now = np.zeros(units), self._now(shard)
            p, fixed = shard.portfolio.parameters(shard), _fixed(shard)
            table = shard.portfolio.table(shard)
            for at in np.nonzero(self._live)[0]:
                what = p, table, model.units, model.coin, fixed
                drifts(*what, self._then[at], self._scale[at], now, drift[at, :-1])
            drift[:, -1] = drift.max(axis=1)
            drift *= 1.0 + SAFE
            taken = np.where(self._live > 0, self._live, np.iinfo(np.int64).max)
            emptiest = int(taken.argmin()) if (self._live > 0).sum() >= ANCHORS - 1 else NOWHERE
            found = np.empty(len(self._anchor), dtype=np.int64)
            found = found[: reached(self._anchor, self._radius, self._group, drift, emptiest, found)]
        self.forget(found)
        return found

    def anchor(self, shard: Shard, books: I64, rows: I64, judged: Judged) -> npt.NDArray[np.bool_]:
        """Anchor the `rows` of books, all on portfolio margin; which of them could be, the others stay loose."""
        self.forget(books[rows])
        if self._model is not shard.portfolio.model:
            self._begin(shard)
        model = self._model
        assert model is not None
        if shard.ledger.books > len(self._anchor):
            self._grow(shard.ledger.books)
        free = int(self._live.argmin())
        if self._live[free] > 0:
            return np.zeros(len(rows), dtype=np.bool_)
        now, table, p = self._now(shard), shard.portfolio.table(shard), shard.portfolio.parameters(shard)
        write_scales(p, table, model.units, self._beside, model.coin, now, self._scale[free])
        radius, group = np.empty(len(rows)), np.empty(len(rows), dtype=np.int32)
        ledger, standing = shard.ledger, shard.standing
        drift_radii(
            p,
            table,
            model.units,
            model.coin,
            ledger.positions,
            ledger.balances,
            shard.posting,
            shard.prices.marks,
            shard.prices.prices,
            self._scale[free],
            books,
            rows,
            judged,
            shard.portfolio.offset,
            standing.levels(),
            standing.level_set,
            standing.status,
            standing.called,
            standing.step,
            _fixed(shard),
            radius,
            group,
        )
        own = books[rows]
        self._anchor[own[np.isinf(radius)]] = NEVER
        bounded = (radius >= RADIUS_MIN) & np.isfinite(radius)
        if bounded.sum() * SHARE < len(shard.portfolio.books()):
            bounded[:] = False
        if bounded.any():
            self._anchor[own[bounded]], self._live[free], self._then[free] = free, bounded.sum(), now
            self._radius[own[bounded]], self._group[own[bounded]] = radius[bounded], group[bounded]
        return bounded | np.isinf(radius)

    def _now(self, shard: Shard) -> Sketch:
        """What the table says at the shard's prices; never written to again."""
        prices, last = shard.prices, self._last
        if last is None or last[0] is not prices.marks or last[1] is not prices.prices:
            table = shard.portfolio.table(shard)
            now = empty_sketch(table, len(prices.prices))
            sketch(shard.portfolio.parameters(shard), table, prices.marks, prices.prices, now)
            self._last = last = prices.marks, prices.prices, now
        return last[2]

    def _begin(self, shard: Shard) -> None:
        """Room for anchors of another table; no book has one."""
        self._model = model = shard.portfolio.model
        assert model is not None
        table = shard.portfolio.table(shard)
        self._anchor[:] = NOWHERE
        self._live[:] = 0
        self._then = [self._now(shard)] * ANCHORS
        self._scale = np.empty((ANCHORS, len(table.unit), SCALES))
        self._beside = _beside(model.units.move, model.units.shock)

    def _grow(self, books: int) -> None:
        known = len(self._anchor)
        self._anchor = grown(self._anchor, books)
        self._anchor[known:] = NOWHERE
        self._radius, self._group = grown(self._radius, books), grown(self._group, books)


def _beside(move: F64, shock: I32) -> I32:
    """By unit and scenario, the nearest other one of the same volatility shock that moves the price to elsewhere."""
    found = np.full(move.shape, NONE, dtype=np.int32)
    for unit in range(len(move)):
        for s, (own, kind) in enumerate(zip(move[unit], shock[unit], strict=True)):
            far = np.where((shock[unit] == kind) & (move[unit] != own), np.abs(move[unit] - own), np.inf)
            if np.isfinite(far.min(initial=np.inf)):
                found[unit, s] = far.argmin()
    return found


def _fixed(shard: Shard) -> int:
    return shard.terms.asset_index.get(shard.terms.rules.reporting_currency, NONE)
