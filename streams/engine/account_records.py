"""The changelog record of one account, written from columns and read back into them in bulk.

Bytes: format (1 byte) | account | settings (length, bytes) | ring of remembered ids (head, count, 8 bytes each) |
number of books | books, the cross one first. A book: instrument (-1 cross) | journal offset of its last take-over |
status | called | step | step's offset | step's time | step's ratio (8 bytes) | positions (count; instrument, lots,
cost, funding index of each) | balances (count; asset, amount of each). Integers are zigzag varints; what is said to be
8 bytes is little-endian.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import int64, uint8, uint64

from streams.compiled import inner, kernel
from streams.engine.columns import Balances, Positions
from streams.engine.remembered import Recent, add_piece, following, piece, words
from streams.margin.parameters import I32, I64
from streams.rows import U8

#: Raised with every change of the bytes; a record of another format is refused.
FORMAT = 1

#: What is wrong with a record.
WHOLE, OTHER_FORMAT, BROKEN = 0, 1, 2


class Books(NamedTuple):
    """Every column of accounts and books that a record holds; see `Ledger` and `Standing`."""

    cross: I64
    account: I64
    instrument: I32
    next: I32
    taken_over: I64
    status: npt.NDArray[np.int8]
    called: npt.NDArray[np.bool_]
    step: I32
    step_offset: I64
    step_time: I64
    step_ratio: npt.NDArray[np.uint64]  # the float's bits
    positions: Positions
    balances: Balances
    recent: Recent


@kernel(_nrt=False)
def put(out: U8, at: int, value: int) -> int:
    """Write an integer; where the next one goes."""
    rest = uint64((value << 1) ^ (value >> 63))
    while rest >= uint64(128):
        out[at] = uint8(rest & uint64(127)) | uint8(128)
        rest >>= uint64(7)
        at += 1
    out[at] = uint8(rest)
    return at + 1


@inner(_nrt=False)
def put_word(out: U8, at: int, word: int) -> int:
    """Write 8 bytes; where the next ones go."""
    for k in range(8):
        out[at + k] = uint8(uint64(word) >> uint64(8 * k))
    return at + 8


@kernel(_nrt=False)
def get(data: U8, at: int, end: int) -> tuple[int, int]:
    """An integer and where the next one is; -1 where the bytes end before it does, or `at` was -1."""
    value, shift, following = uint64(0), 0, -1
    while following < 0 and 0 <= at < end and shift < 64:
        byte = data[at]
        value |= uint64(byte & 127) << uint64(shift)
        shift += 7
        at += 1
        if byte < 128:
            following = at
    return int64(value >> uint64(1)) ^ -int64(value & uint64(1)), following


@inner(_nrt=False)
def get_word(data: U8, at: int) -> int:
    """8 bytes that are known to be there."""
    word = uint64(0)
    for k in range(8):
        word |= uint64(data[at + k]) << uint64(8 * k)
    return word


@kernel(_nrt=False)
def room(accounts: I64, b: Books) -> int:
    """Bytes that the records of `accounts` take at most, without their settings."""
    size = 0
    for account in accounts:
        size += 1 + 5 * 10 + 8 * int64(b.recent.size[account])
        book = b.cross[account]
        while book >= 0:
            size += 8 + 9 * 10 + 40 * int64(b.positions.size[book]) + 20 * int64(b.balances.size[book])
            book = int64(b.next[book])
    return size


@kernel(_nrt=False)
def write(accounts: I64, b: Books, settings: U8, settings_end: I64, out: U8, ends: I64) -> None:
    """Write the record of each of `accounts` into `out`, one after another, and where each ends into `ends`."""
    at = 0
    for row in range(accounts.shape[0]):
        account = accounts[row]
        out[at] = FORMAT
        at = put(out, at + 1, account)
        first = settings_end[row - 1] if row > 0 else 0
        at = put(out, at, settings_end[row] - first)
        for k in range(first, settings_end[row]):
            out[at] = settings[k]
            at += 1
        at = write_ring(out, at, b.recent, account)
        books = 0
        book = b.cross[account]
        while book >= 0:
            books += 1
            book = int64(b.next[book])
        at = put(out, at, books)
        book = b.cross[account]
        while book >= 0:
            at = write_book(out, at, b, book)
            book = int64(b.next[book])
        ends[row] = at


@inner(_nrt=False)
def write_ring(out: U8, at: int, r: Recent, account: int) -> int:
    """Write an account's remembered ids; where the next bytes go."""
    size, first, here = int64(r.size[account]), 0, int64(r.start[account])
    at = put(out, at, int64(r.head[account]))
    at = put(out, at, size)
    while first < size:
        count = min(piece(first), size - first)
        for k in range(here + 1, here + 1 + count):
            at = put_word(out, at, r.word[k])
        first += count
        if first < size:
            here = following(r, here)
    return at


@inner(_nrt=False)
def write_book(out: U8, at: int, b: Books, book: int) -> int:
    """Write one book; where the next one goes."""
    at = put(out, at, int64(b.instrument[book]))
    at = put(out, at, b.taken_over[book])
    at = put(out, at, int64(b.status[book]))
    at = put(out, at, int64(b.called[book]))
    at = put(out, at, int64(b.step[book]))
    at = put(out, at, b.step_offset[book])
    at = put(out, at, b.step_time[book])
    at = put_word(out, at, b.step_ratio[book])
    first, count = b.positions.start[book], int64(b.positions.size[book])
    at = put(out, at, count)
    for k in range(first, first + count):
        at = put(out, at, int64(b.positions.key[k]))
        at = put(out, at, b.positions.lots[k])
        at = put(out, at, b.positions.cost[k])
        at = put(out, at, b.positions.funding[k])
    first, count = b.balances.start[book], int64(b.balances.size[book])
    at = put(out, at, count)
    for k in range(first, first + count):
        at = put(out, at, int64(b.balances.key[k]))
        at = put(out, at, b.balances.amount[k])
    return at


class Found(NamedTuple):
    """What the records say of themselves before anything is stored.

    Attributes
    ----------
    account, settings_start, settings_size : per record; a size of 0 is no settings
    """

    account: I64
    settings_start: I64
    settings_size: I64


@kernel(_nrt=False)
def check(data: U8, starts: I64, ends: I64, found: Found) -> tuple[int, int, int, int, int, int]:
    """Walk through every record, storing nothing.

    Returns
    -------
    the first record that cannot be read (-1: none) and what is wrong with it; then how many isolated books,
    positions, balances and words of remembered ids all records have.
    """
    bad, wrong = -1, WHOLE
    isolated, positions, balances, taken = 0, 0, 0, 0
    for row in range(starts.shape[0]):
        at, end = starts[row], ends[row]
        whole = at < end and data[at] == FORMAT
        if not whole and bad < 0:
            bad, wrong = row, OTHER_FORMAT
        account, at = get(data, at + 1, end)
        size, at = get(data, at, end)
        whole = whole and at >= 0 and 0 <= account < (1 << 31) - 1 and 0 <= size <= end - at
        found.account[row], found.settings_start[row], found.settings_size[row] = account, at, size
        at = at + size if whole else -1
        head, at = get(data, at, end)
        count, at = get(data, at, end)
        whole = whole and at >= 0 and 0 <= head <= count <= (end - at) // 8
        at = at + 8 * count if whole else -1
        taken += words(count) if whole else 0
        books, at = get(data, at, end)
        whole = whole and at >= 0 and 1 <= books <= end - at
        for k in range(books if whole else 0):
            instrument, at = get(data, at, end)
            whole = whole and (instrument == -1 if k == 0 else 0 <= instrument < (1 << 31))
            at, more, held = check_book(data, at, end)
            positions += more
            balances += held
        isolated += books - 1
        if bad < 0 and (not whole or at != end):
            bad, wrong = row, BROKEN
    return bad, wrong, isolated, positions, balances, taken


@inner(_nrt=False)
def check_book(data: U8, at: int, end: int) -> tuple[int, int, int]:
    """Where the book behind its instrument ends, -1 where it cannot be read; its numbers of positions and balances."""
    _, at = get(data, at, end)  # journal offset of the last take-over
    status, at = get(data, at, end)
    called, at = get(data, at, end)
    step, at = get(data, at, end)
    _, at = get(data, at, end)
    _, at = get(data, at, end)
    whole = 0 <= status <= 4 and 0 <= called <= 1 and 0 <= step < (1 << 31) and 0 <= at <= end - 8
    positions, at = get(data, at + 8 if whole else -1, end)
    whole = whole and at >= 0 and 0 <= positions <= end - at
    for _ in range(positions if whole else 0):
        instrument, at = get(data, at, end)
        whole = whole and 0 <= instrument < (1 << 31)
        for _ in range(3):
            _, at = get(data, at, end)
    balances, at = get(data, at, end)
    whole = whole and at >= 0 and 0 <= balances <= end - at
    for _ in range(balances if whole else 0):
        asset, at = get(data, at, end)
        whole = whole and 0 <= asset < (1 << 31)
        _, at = get(data, at, end)
    return at if whole else -1, positions, balances


@kernel
def load(data: U8, starts: I64, b: Books, books: int) -> tuple[int, int]:
    """Store checked records in columns that have room for them; a later record of an account replaces the one before.

    Parameters
    ----------
    books : the number of books that are open

    Returns
    -------
    the number of books then, and the first record whose books are not those of a record before it (-1: none).
    """
    bad, end = -1, data.shape[0]
    for row in range(starts.shape[0]):
        account, at = get(data, starts[row] + 1, end)
        size, at = get(data, at, end)
        head, at = get(data, at + size, end)
        count, at = get(data, at, end)
        at = load_ring(data, at, b.recent, account, head, count)
        more, at = get(data, at, end)
        book = b.cross[account]
        for k in range(more):
            instrument, at = get(data, at, end)
            if k > 0:
                if b.next[book] < 0:
                    b.next[book] = books
                    b.account[books], b.instrument[books], b.next[books] = account, instrument, -1
                    books += 1
                book = int64(b.next[book])
            if b.instrument[book] != instrument and bad < 0:
                bad = row
            at = load_book(data, at, end, b, book)
        if b.next[book] >= 0 and bad < 0:
            bad = row
    return books, bad


@inner
def load_ring(data: U8, at: int, r: Recent, account: int, head: int, count: int) -> int:
    """Store remembered ids, in the pieces that the account has and in new ones; where the next bytes are."""
    held, first, last, here = int64(r.size[account]), 0, -1, int64(r.start[account])
    while first < count:
        if first >= held:
            here = add_piece(r, account, last, first)
        size = piece(first)
        for k in range(min(size, count - first)):
            r.word[here + 1 + k] = get_word(data, at)
            at += 8
        first += size
        last = here
        if first < held:
            here = following(r, here)
    r.head[account], r.size[account] = head, count
    return at


@inner
def load_book(data: U8, at: int, end: int, b: Books, book: int) -> int:
    """Store one book; where the next one is."""
    b.taken_over[book], at = get(data, at, end)
    b.status[book], at = get(data, at, end)
    called, at = get(data, at, end)
    b.called[book] = called != 0
    b.step[book], at = get(data, at, end)
    b.step_offset[book], at = get(data, at, end)
    b.step_time[book], at = get(data, at, end)
    b.step_ratio[book] = get_word(data, at)
    count, at = get(data, at + 8, end)
    p = b.positions
    first = run(p.start, p.size, p.capacity, p.top, book, count)
    for k in range(first, first + count):
        p.key[k], at = get(data, at, end)
        p.lots[k], at = get(data, at, end)
        p.cost[k], at = get(data, at, end)
        p.funding[k], at = get(data, at, end)
    count, at = get(data, at, end)
    held = b.balances
    first = run(held.start, held.size, held.capacity, held.top, book, count)
    for k in range(first, first + count):
        held.key[k], at = get(data, at, end)
        held.amount[k], at = get(data, at, end)
    return at


@kernel
def run(start: I64, size: I32, capacity: I32, top: I64, row: int, count: int) -> int:
    """Where the `count` entries of a row go: in its run, or at the end of the table where that is too short."""
    if count > capacity[row]:
        start[row] = top[0]
        capacity[row] = count
        top[0] += count
    size[row] = count
    return start[row]


@kernel
def sound(b: Books, accounts: int, books: int, instrument_rank: I32, asset_rank: I32, window: int) -> tuple[int, int]:
    """The first account whose ring, and the first book whose entries no ledger can hold; -1: none.

    Entries are of known instruments and assets, in the order of their ranks; a ring that is not full grows at its end.
    """
    ring, torn = -1, -1
    for account in range(accounts):
        size, head = b.recent.size[account], b.recent.head[account]
        if ring < 0 and not ((size < window and head == size) or (size == window and (head < size or size == 0))):
            ring = account
    for book in range(books):
        first, end = b.positions.start[book], b.positions.start[book] + b.positions.size[book]
        whole = b.instrument[book] < instrument_rank.shape[0] and ascend(b.positions.key, first, end, instrument_rank)
        first, end = b.balances.start[book], b.balances.start[book] + b.balances.size[book]
        if torn < 0 and not (whole and ascend(b.balances.key, first, end, asset_rank)):
            torn = book
    return ring, torn


@inner
def ascend(keys: I32, first: int, end: int, rank: I32) -> bool:
    """Whether the keys are known and their ranks ascend."""
    last = -1
    for k in range(first, end):
        if keys[k] >= rank.shape[0] or rank[keys[k]] <= last:
            return False
        last = rank[keys[k]]
    return True
