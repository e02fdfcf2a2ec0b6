"""Positions as units of float64, beside the ledger's integers: what valuing all books reads instead of dividing anew.

Entry by entry of the positions table, written when rows post. It follows from ledger and terms alone, so it is no
state and is never written down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from streams.compiled import kernel
from streams.engine.columns import Positions, zeros
from streams.engine.posting import Terms
from streams.engine.prefetch import FAR, NEAR, prefetch
from streams.margin.parameters import F64, I64, Parameters

if TYPE_CHECKING:
    from streams.engine.shard import Shard


class Held(NamedTuple):
    """Per entry of the positions table.

    `units` is quantity x multiplier, positive long; `paid` is cost less accrued funding, in units of the settlement
    asset: value - paid is what the position adds to the asset.
    """

    units: F64
    paid: F64


@kernel
def write(p: Parameters, positions: Positions, terms: Terms, books: I64, units: F64, paid: F64) -> None:
    """Write the entries of `books`; as `gather` of streams.engine.valuation and `net_assets` have them, to the bit."""
    for row in range(books.shape[0]):
        if row + FAR < books.shape[0]:
            prefetch(positions.start, books[row + FAR])
            prefetch(positions.size, books[row + FAR])
        if row + NEAR < books.shape[0]:
            ahead = positions.start[books[row + NEAR]]
            prefetch(positions.key, ahead)
            prefetch(positions.lots, ahead)
            prefetch(positions.cost, ahead)
            prefetch(positions.funding, ahead)
            prefetch(units, ahead)
            prefetch(paid, ahead)
        book = books[row]
        first = positions.start[book]
        for at in range(first, first + positions.size[book]):
            i = positions.key[at]
            scale = p.asset_scale[p.settlement[i]]
            moved = float(terms.funding_index[i] - positions.funding[at]) / terms.funding_scale[i]
            units[at] = positions.lots[at] / p.lot_scale[i] * p.multiplier[i]
            paid[at] = positions.cost[at] / scale - -float(positions.lots[at]) * moved / scale


class Exposures:
    """The columns of a shard; all are written anew where terms, funding or the table itself have changed."""

    def __init__(self) -> None:
        self._held = Held(np.zeros(0), np.zeros(0))
        self._table: Positions | None = None

    def forget(self) -> None:
        """Terms or funding have changed: nothing holds any more."""
        self._table = None

    def update(self, shard: Shard, books: I64) -> None:
        """Rows have posted to `books`."""
        if self._table is shard.ledger.positions:
            write(shard.parameters, self._table, shard.posting, books, *self._held)

    def held(self, shard: Shard) -> Held:
        """The columns as they stand."""
        table = shard.ledger.positions
        if self._table is not table:
            if len(self._held.units) != len(table.key):
                self._held = Held(zeros(len(table.key), np.float64), zeros(len(table.key), np.float64))
            books = np.arange(shard.ledger.books, dtype=np.int64)
            write(shard.parameters, table, shard.posting, books, *self._held)
            self._table = table
        return self._held
