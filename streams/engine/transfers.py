"""Posting collateral legs to the ledger, one source row after another; see `streams.engine.posting`."""

import numpy as np
import numpy.typing as npt

from streams.compiled import kernel
from streams.engine.columns import Balances, balance_entry, find
from streams.engine.identity import identity_hash
from streams.engine.posting import (
    APPLIED,
    DUPLICATE,
    EXTERNAL,
    HOUSE,
    NO_BOOK,
    OUT_OF_RANGE,
    TO_HOUSE,
    House,
    Terms,
    add,
    fits,
)
from streams.engine.remembered import PIECE_MAX, Recent, remember, seen_before
from streams.margin.parameters import I32, I64


@kernel
def post_transfers(
    balances: Balances,
    recent: Recent,
    terms: Terms,
    totals: House,
    account: I64,
    book: I64,
    asset: I32,
    amount: I64,
    leg: npt.NDArray[np.int8],
    liquidation: I64,
    source_offset: I64,
    taken_over: I64,
    id_end: I32,
    id_bytes: npt.NDArray[np.uint8],
    window: int,
    outcome: npt.NDArray[np.int8],
    first: int,
) -> int:
    """Post transfers from row `first` on; the row to go on from after making room or opening the book of a leg (its
    outcome is NO_BOOK), or the number of rows.

    Of the two legs of one source row that stand in the block neither posts where one would be out of range.
    """
    rows = account.shape[0]
    row = first
    while row < rows:
        end = row + 1
        if end < rows and leg[row] == 0 and leg[end] == 1 and source_offset[row] == source_offset[end]:
            end += 1
        all_fit = True
        identities = np.empty(2, dtype=np.uint64)
        for at in range(row, end):
            a, b = account[at], book[at]
            if recent.top[0] + 2 * (1 + PIECE_MAX) > recent.word.shape[0]:
                return row
            start = id_end[at - 1] if at > 0 else 0
            identities[at - row] = identity_hash(id_bytes, start, id_end[at], 2 + leg[at])
            if seen_before(recent, a, identities[at - row]):
                outcome[at] = DUPLICATE
                continue
            if b < 0:
                outcome[at] = NO_BOOK
                return row
            # twice the room of one leg: the other may be of the same book
            if balances.top[0] + 4 * balances.size[b] + 4 > balances.key.shape[0]:
                return row
            outcome[at] = TO_HOUSE if 0 <= liquidation[at] <= taken_over[b] else APPLIED
            if outcome[at] == APPLIED:
                entry = find(balances.start[b], balances.size[b], balances.key, asset[at])
                held = balances.amount[entry] if entry >= 0 else 0
                all_fit = all_fit and fits(amount[at]) and fits(held + amount[at])
        for at in range(row, end):
            if outcome[at] == DUPLICATE:
                continue
            if not all_fit:
                outcome[at] = OUT_OF_RANGE
                continue
            add(totals.assets, EXTERNAL, asset[at], -amount[at])
            if outcome[at] == TO_HOUSE:
                add(totals.assets, HOUSE, asset[at], amount[at])
            else:
                balances.amount[balance_entry(balances, book[at], asset[at], terms.asset_rank)] += amount[at]
            remember(recent, account[at], identities[at - row], window)
        row = end
    return rows
