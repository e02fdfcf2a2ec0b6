"""Posting rows to the ledger: double entry in exact integers, one row after another.

Each posting takes from a house account what it gives a book: fills post to the market, fees to the fees account,
funding to the funding account, transfers to the outside, what settling rounds to the rounding account. A row either
posts whole or not at all.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streams.compiled import inner, kernel
from streams.engine.columns import (
    Balances,
    Positions,
    balance_entry,
    find,
    position_entry,
    remove_position,
)
from streams.engine.identity import identity_hash
from streams.engine.prefetch import FAR, NEAR, prefetch
from streams.engine.remembered import PIECE_MAX, Recent, fetch_rings, remember, seen_before
from streams.margin.money import LIMIT, fill_cost, funding_payment, multiply_divide, share_of
from streams.margin.parameters import I32, I64

#: What became of a row; the last says that it waits for its book to be opened.
APPLIED, DUPLICATE, OUT_OF_RANGE, TO_HOUSE, NO_BOOK = 0, 1, 2, 3, 4

#: An instrument that has no settlement price yet.
NOT_SETTLED = -1

#: Position sizes stay exact as float64.
LOTS_LIMIT = 1 << 53

# rows of House.assets and House.instruments, and whose they are; MARKET is an instrument's own account of cash
FEES, FUNDING, EXTERNAL, HOUSE, ROUNDING = 0, 1, 2, 3, 4
MARKET, MARKET_LOTS, EXTERNAL_LOTS, HOUSE_LOTS = 0, 1, 2, 3
ASSET_ACCOUNTS = ("~fees", "~funding", "~external", "~house", "~rounding")
LOTS_ACCOUNTS = ("", "~market", "~external", "~house")


class Terms(NamedTuple):
    """What posting needs of instruments and assets; `rank` orders them by id."""

    settlement: I32
    inverse: npt.NDArray[np.bool_]
    unit: I64
    divisor: I64
    funding_scale: I64
    funding_index: I64  # moved by funding rows
    settled: I64  # settlement price of an expired instrument, in ticks of its settled_unit; NOT_SETTLED: none yet
    settled_unit: I64  # in the place of unit: an option pays out in minor units a lot, finer than its ticks
    instrument_rank: I32
    asset_rank: I32


#: A row adds to one limb of a house entry a few times at most, each time less than 2**32.
HOUSE_ROWS_MOST = 1 << 24


class House(NamedTuple):
    """What at most HOUSE_ROWS_MOST rows post to house accounts, as two limbs of 32 bits and more; see `total`."""

    assets: I64  # shape (5, assets, 2)
    instruments: I64  # shape (4, instruments, 2)


def house(assets: int, instruments: int) -> House:
    """No postings yet."""
    return House(np.zeros((5, assets, 2), dtype=np.int64), np.zeros((4, instruments, 2), dtype=np.int64))


def total(limbs: Sequence[int]) -> int:
    """The exact integer of two limbs."""
    return (limbs[1] << 32) + limbs[0]


@kernel(_nrt=False)
def add(table: I64, account: int, key: int, amount: int) -> None:
    """Add `amount` to a house entry."""
    table[account, key, 0] += amount & 0xFFFFFFFF
    table[account, key, 1] += amount >> 32


@kernel(_nrt=False)
def fits(amount: int) -> bool:
    """Whether a ledger amount stays in range."""
    return -LIMIT < amount < LIMIT


@inner(_nrt=False)
def post_fill(
    positions: Positions,
    balances: Balances,
    terms: Terms,
    totals: House,
    book: int,
    instrument: int,
    lots: int,
    ticks: int,
    unit: int,
    fee: int,
    opening: bool,
) -> int:
    """Post one fill at `ticks` of `unit` to a book; APPLIED, or OUT_OF_RANGE with nothing changed.

    A fill against the position first settles its funding, then releases cost x closed / size of the open cost and
    realises the rest; what is left over opens anew at the fill's price. Afterwards balance - cost has changed by
    -(cost of the fill) - fee + funding, which the house accounts mirror.
    """
    inverse, divisor = terms.inverse[instrument], terms.divisor[instrument]
    asset = terms.settlement[instrument]
    held_lots = 0
    held_cost = 0
    funding = 0
    entry = find(positions.start[book], positions.size[book], positions.key, instrument)
    if entry >= 0:
        held_lots = positions.lots[entry]
        held_cost = positions.cost[entry]
        funding = funding_payment(
            held_lots,
            terms.funding_index[instrument],
            positions.funding[entry],
            terms.funding_scale[instrument],
        )
    cost = fill_cost(lots, ticks, inverse, unit, divisor)
    realised = 0
    new_lots = held_lots + lots
    if held_lots == 0 or (held_lots > 0) == (lots > 0):
        new_cost = held_cost + cost
    elif abs(lots) <= abs(held_lots):
        released = share_of(held_cost, abs(lots), abs(held_lots))
        realised = -cost - released
        new_cost = held_cost - released
    else:
        reopened = fill_cost(new_lots, ticks, inverse, unit, divisor)
        realised = -(cost - reopened) - held_cost
        new_cost = reopened
    balance = 0
    at = find(balances.start[book], balances.size[book], balances.key, asset)
    if at >= 0:
        balance = balances.amount[at]
    after_pnl = balance + realised
    if not (fits(cost) and fits(new_cost) and fits(realised) and fits(after_pnl) and fits(fee) and fits(funding)):
        return OUT_OF_RANGE
    after_fee = after_pnl - fee
    if not (fits(after_fee) and fits(after_fee + funding) and -LOTS_LIMIT < new_lots < LOTS_LIMIT):
        return OUT_OF_RANGE
    entry = position_entry(positions, book, instrument, terms.instrument_rank)
    positions.lots[entry] = new_lots
    positions.cost[entry] = new_cost
    positions.funding[entry] = terms.funding_index[instrument]
    if new_lots == 0:
        remove_position(positions, book, entry)
    at = balance_entry(balances, book, asset, terms.asset_rank)
    balances.amount[at] = after_fee + funding
    if opening:
        add(totals.assets, EXTERNAL, asset, cost)
        add(totals.instruments, EXTERNAL_LOTS, instrument, -lots)
    else:
        add(totals.instruments, MARKET, instrument, cost)
        add(totals.instruments, MARKET_LOTS, instrument, -lots)
    add(totals.assets, FEES, asset, fee)
    add(totals.assets, FUNDING, asset, -funding)
    return APPLIED


@inner(_nrt=False)
def post_fill_to_house(terms: Terms, totals: House, instrument: int, lots: int, ticks: int, unit: int, fee: int) -> int:
    """A late fill, at `ticks` of `unit`, of a book that was taken over: the house account stands in for it."""
    asset = terms.settlement[instrument]
    cost = fill_cost(lots, ticks, terms.inverse[instrument], unit, terms.divisor[instrument])
    if not (fits(cost) and fits(fee)):
        return OUT_OF_RANGE
    add(totals.instruments, MARKET, instrument, cost)
    add(totals.instruments, MARKET_LOTS, instrument, -lots)
    add(totals.instruments, HOUSE_LOTS, instrument, lots)
    add(totals.assets, FEES, asset, fee)
    add(totals.assets, HOUSE, asset, -cost - fee)
    return TO_HOUSE


@kernel(_nrt=False)
def settle(
    positions: Positions,
    balances: Balances,
    terms: Terms,
    totals: House,
    book: int,
    instrument: int,
    ticks: int,
) -> int:
    """Close a book's position in an expired instrument at the settlement price; the caller made room.

    A position whose settlement would leave the ledger's range stays open (OUT_OF_RANGE).
    """
    entry = find(positions.start[book], positions.size[book], positions.key, instrument)
    if entry < 0:
        return APPLIED
    lots = -positions.lots[entry]
    unit = terms.settled_unit[instrument]
    outcome = post_fill(positions, balances, terms, totals, book, instrument, lots, ticks, unit, 0, False)
    if outcome == APPLIED:
        post_residue(terms, totals, instrument, lots, ticks)
    return outcome


@inner(_nrt=False)
def post_residue(terms: Terms, totals: House, instrument: int, lots: int, ticks: int) -> None:
    """Leave the market with what single lots cost at `ticks`, and give the rest to the rounding account.

    Coins are rounded a position, and both sides' positions are cut differently; lots alone are as many on both.
    """
    inverse, unit, divisor = terms.inverse[instrument], terms.settled_unit[instrument], terms.divisor[instrument]
    one = fill_cost(1, ticks, inverse, unit, divisor)
    residue = fill_cost(lots, ticks, inverse, unit, divisor) - lots * one
    if residue != 0:
        add(totals.instruments, MARKET, instrument, -residue)
        add(totals.assets, ROUNDING, terms.settlement[instrument], residue)


@inner(_nrt=False)
def fetch_ahead(
    positions: Positions, balances: Balances, recent: Recent, taken_over: I64, account: I64, book: I64, row: int
) -> None:
    """Have fetched what posting will need of the books of later rows: accounts come in no order of memory."""
    far, near = row + FAR, row + NEAR
    if far < account.shape[0]:
        a, b = account[far], book[far]
        prefetch(recent.start, a)
        prefetch(recent.size, a)
        prefetch(recent.head, a)
        prefetch(taken_over, b)
        prefetch(positions.start, b)
        prefetch(positions.size, b)
        prefetch(positions.capacity, b)
        prefetch(balances.start, b)
        prefetch(balances.size, b)
    if near < account.shape[0] and book[near] >= 0:
        position, balance = positions.start[book[near]], balances.start[book[near]]
        prefetch(positions.key, position)
        prefetch(positions.lots, position)
        prefetch(positions.cost, position)
        prefetch(positions.funding, position)
        prefetch(balances.key, balance)
        prefetch(balances.amount, balance)


@kernel(_nrt=False)
def post_fills(
    positions: Positions,
    balances: Balances,
    recent: Recent,
    terms: Terms,
    totals: House,
    account: I64,
    book: I64,
    instrument: I32,
    lots: I64,
    ticks: I64,
    fee: I64,
    kind: npt.NDArray[np.int8],
    liquidation: I64,
    taken_over: I64,
    id_end: I32,
    id_bytes: npt.NDArray[np.uint8],
    window: int,
    here: I64,
    outcome: npt.NDArray[np.int8],
    first: int,
) -> int:
    """Post fills from row `first` on; the row to go on from after making room or opening its book (where its outcome
    is NO_BOOK), or the number of rows.

    Parameters
    ----------
    book : -1 where it is not open; a row that was there needs none
    taken_over : per book: journal offset of its last take-over, -1 never; fills that answer an earlier liquidation
        go to the house. A fill of an expired instrument settles at once.
    here : room to fetch so many rings at a time
    outcome : written: what became of each row
    """
    for row in range(first, account.shape[0]):
        if (row - first) % here.shape[0] == 0:
            fetch_rings(recent, account, row, min(row + here.shape[0], account.shape[0]), here)
        fetch_ahead(positions, balances, recent, taken_over, account, book, row)
        a, b = account[row], book[row]
        if recent.top[0] + 1 + PIECE_MAX > recent.word.shape[0]:
            return row
        bust = kind[row] == 2
        start = id_end[row - 1] if row > 0 else 0
        identity = identity_hash(id_bytes, start, id_end[row], 1 if bust else 0)
        if seen_before(recent, a, identity):
            outcome[row] = DUPLICATE
            continue
        if b < 0:
            outcome[row] = NO_BOOK
            return row
        if positions.top[0] + 2 * positions.size[b] + 1 > positions.key.shape[0]:
            return row
        if balances.top[0] + 2 * balances.size[b] + 1 > balances.key.shape[0]:
            return row
        sign = -1 if bust else 1
        settled, unit = terms.settled[instrument[row]], terms.unit[instrument[row]]
        if 0 <= liquidation[row] <= taken_over[b]:
            outcome[row] = post_fill_to_house(
                terms, totals, instrument[row], sign * lots[row], ticks[row], unit, sign * fee[row]
            )
            if settled != NOT_SETTLED and outcome[row] == TO_HOUSE:
                back, own = -sign * lots[row], terms.settled_unit[instrument[row]]
                if post_fill_to_house(terms, totals, instrument[row], back, settled, own, 0) == TO_HOUSE:
                    post_residue(terms, totals, instrument[row], back, settled)
        else:
            outcome[row] = post_fill(
                positions,
                balances,
                terms,
                totals,
                b,
                instrument[row],
                sign * lots[row],
                ticks[row],
                unit,
                sign * fee[row],
                kind[row] == 1,
            )
            if settled != NOT_SETTLED:
                settle(positions, balances, terms, totals, b, instrument[row], settled)
        if outcome[row] != OUT_OF_RANGE:
            remember(recent, a, identity, window)
    return account.shape[0]


@kernel
def holders(positions: Positions, books: int, instrument: int) -> I64:
    """Books that hold a position in the instrument, ascending."""
    found = np.empty(books, dtype=np.int64)
    count = 0
    for book in range(books):
        if find(positions.start[book], positions.size[book], positions.key, instrument) >= 0:
            found[count] = book
            count += 1
    return found[:count]


@kernel
def funding_step(inverse: bool, unit: int, divisor: int, scale: int, ticks: int, rate: int) -> int:
    """How far one funding rate moves the index: lot value at `ticks` x rate x scale, rate in 1e-12, half-even.

    LIMIT where it would leave the range of the index. The caller has checked that ticks x unit and ticks x divisor
    are below LIMIT, and |rate| at most 1.
    """
    if inverse:
        value = multiply_divide(unit, scale, ticks * divisor)
        if value >= LIMIT:
            return LIMIT
        step = multiply_divide(value, abs(rate), 10**12)
    else:
        step = multiply_divide(ticks * unit, scale * abs(rate), 10**12)
    return -step if rate < 0 and step < LIMIT else step
