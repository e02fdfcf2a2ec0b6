"""Growable columns and per-book segments: where a shard's numbers lie in memory.

A *segment table* keeps, for each book, a short run of entries side by side (its positions, its balances), ordered by
the id of their instrument or asset. A run that is full moves to the end of the table with twice the room; the table
is packed anew when it would have to grow and a quarter of it is holes (runs that double leave almost half). What each
account remembers is far more, and never shrinks: see `streams.engine.remembered`.

Kernels here, there and in `streams.engine.posting` that make no array are compiled with `_nrt=False`: the compiler then
counts no references to those it is given (it would at each call, which took a third of the time of posting a fill), and
refuses one that makes an array after all.
"""

import contextlib
import mmap
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streams.compiled import inner, kernel
from streams.margin.parameters import I32, I64


class Positions(NamedTuple):
    """Positions of all books. Amounts in lots and minor units of the settlement asset; positive long."""

    start: I64  # per book: first entry
    size: I32
    capacity: I32
    top: I64  # length 1: first unused entry
    key: I32  # per entry: instrument
    lots: I64
    cost: I64  # what opening paid; value - cost is unrealised P&L
    funding: I64  # the instrument's funding index up to which funding is settled


class Balances(NamedTuple):
    """Balances of all books, in minor units; negative is borrowed."""

    start: I64
    size: I32
    capacity: I32
    top: I64
    key: I32  # per entry: asset
    amount: I64


PER_ROW = ("start", "size", "capacity")

#: Bytes of a large page, and of the smallest array that is worth some.
LARGE_PAGE, LARGE_ARRAY = 2 << 20, 512 << 10


def empty(kind: type[Any]) -> Any:
    """A segment table of `kind` with no rows and no entries."""
    wide = ("start", "top", "lots", "cost", "funding", "amount")
    types: dict[str, Any] = dict.fromkeys(wide, np.int64)
    return kind(**{name: np.zeros(1 if name == "top" else 0, dtype=types.get(name, np.int32)) for name in kind._fields})


def zeros(length: int, kind: npt.DTypeLike) -> npt.NDArray[Any]:
    """So many zeros, on large pages where they are many and the system has such pages.

    Accounts come in no order of memory, and a processor knows by heart where few pages are.
    """
    item = np.dtype(kind)
    size = length * item.itemsize
    if size < LARGE_ARRAY or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.zeros(length, dtype=item)
    pages = mmap.mmap(-1, -(-size // LARGE_PAGE) * LARGE_PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a system may know the word and have none
        pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, item, length)


def grown(array: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
    """`array` with at least `length` items, new ones zero; doubles so that growing is cheap on average."""
    if length <= len(array):
        return array
    bigger = zeros(max(length, 2 * len(array), 16), array.dtype)
    bigger[: len(array)] = array
    return bigger


def with_rows(table: Any, rows: int) -> Any:
    """The table with room for `rows` books or accounts."""
    if rows <= len(table.start):
        return table
    return table._replace(**{n: grown(getattr(table, n), rows) for n in table._fields if n in PER_ROW})


def with_room(table: Any, rows: int, extra: int) -> Any:
    """The table with at least `extra` unused entries; packs it where at least a quarter of it is holes."""
    top = int(table.top[0])
    if top + extra <= len(table[-1]):
        return table
    entries = [n for n in table._fields if n not in PER_ROW and n != "top"]
    used = int(table.capacity[:rows].sum())
    if 4 * used <= 3 * top:
        order = np.argsort(table.start[:rows], kind="stable")
        capacity = table.capacity[:rows][order].astype(np.int64)
        ends = np.cumsum(capacity)
        source = np.repeat(table.start[:rows][order] - (ends - capacity), capacity) + np.arange(used)
        start = table.start.copy()
        start[:rows][order] = ends - capacity
        packed = {n: grown(getattr(table, n)[source], used + extra) for n in entries}
        return table._replace(start=start, top=np.array([used], dtype=np.int64), **packed)
    return table._replace(**{n: grown(getattr(table, n), top + extra) for n in entries})


def distinct(rows: I64) -> I64:
    """The different ones among `rows`, ascending; `np.unique` hashes them, which takes ten times as long."""
    ascending = np.sort(rows)
    if len(rows) < 2:
        return ascending
    first = np.empty(len(rows), dtype=np.bool_)
    first[0] = True
    np.not_equal(ascending[1:], ascending[:-1], out=first[1:])
    return ascending[first]


class Marked:
    """A set of row numbers, kept as one flag a row."""

    def __init__(self) -> None:
        self._flags: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)

    def update(self, rows: npt.ArrayLike) -> None:
        """Mark rows."""
        given = np.asarray(rows, dtype=np.int64)
        self._flags = grown(self._flags, int(given.max(initial=-1)) + 1)
        self._flags[given] = True

    def add(self, row: int) -> None:
        """Mark one row."""
        self.update([row])

    def take(self) -> I64:
        """The marked rows, ascending; none is marked any more."""
        rows = np.nonzero(self._flags)[0]
        self._flags[rows] = False
        return rows


@kernel
def find_books(first: I64, next_book: I32, book_instrument: I32, account: I64, instrument: I32) -> I64:
    """The book of each account and instrument, -1 where it has none; see `streams.engine.ledger.Ledger`."""
    found = np.empty(account.shape[0], dtype=np.int64)
    for row in range(account.shape[0]):
        book = first[account[row]]
        while book >= 0 and book_instrument[book] != instrument[row]:
            book = np.int64(next_book[book])
        found[row] = book
    return found


@kernel(_nrt=False)
def find(start: int, count: int, keys: I32, key: int) -> int:
    """Entry of `key` in the run, -1 where it has none."""
    for entry in range(start, start + count):
        if keys[entry] == key:
            return entry
    return -1


@kernel(_nrt=False)
def place(start: int, count: int, keys: I32, key: int, rank: I32) -> int:
    """Where in the run `key` belongs, so that the ranks of its keys ascend."""
    for entry in range(start, start + count):
        if rank[keys[entry]] > rank[key]:
            return entry
    return start + count


@kernel(_nrt=False)
def position_entry(t: Positions, book: int, key: int, rank: I32) -> int:
    """The book's entry for instrument `key`, opened at its place where it has none; the caller made room."""
    entry = find(t.start[book], t.size[book], t.key, key)
    if entry >= 0:
        return entry
    if t.size[book] == t.capacity[book]:
        first, count = t.start[book], t.size[book]
        top = t.top[0]
        for at in range(count):
            t.key[top + at] = t.key[first + at]
            t.lots[top + at] = t.lots[first + at]
            t.cost[top + at] = t.cost[first + at]
            t.funding[top + at] = t.funding[first + at]
        t.start[book] = top
        t.capacity[book] = max(1, 2 * count)
        t.top[0] = top + t.capacity[book]
    entry = place(t.start[book], t.size[book], t.key, key, rank)
    for at in range(t.start[book] + t.size[book], entry, -1):
        t.key[at] = t.key[at - 1]
        t.lots[at] = t.lots[at - 1]
        t.cost[at] = t.cost[at - 1]
        t.funding[at] = t.funding[at - 1]
    t.key[entry] = key
    t.lots[entry] = 0
    t.cost[entry] = 0
    t.funding[entry] = 0
    t.size[book] += 1
    return entry


@inner(_nrt=False)
def remove_position(t: Positions, book: int, entry: int) -> None:
    """Close the gap of a flat position."""
    for at in range(entry, t.start[book] + t.size[book] - 1):
        t.key[at] = t.key[at + 1]
        t.lots[at] = t.lots[at + 1]
        t.cost[at] = t.cost[at + 1]
        t.funding[at] = t.funding[at + 1]
    t.size[book] -= 1


@inner(_nrt=False)
def balance_entry(t: Balances, book: int, key: int, rank: I32) -> int:
    """The book's entry for asset `key`, opened at zero where it has none; the caller made room."""
    entry = find(t.start[book], t.size[book], t.key, key)
    if entry >= 0:
        return entry
    if t.size[book] == t.capacity[book]:
        first, count = t.start[book], t.size[book]
        top = t.top[0]
        for at in range(count):
            t.key[top + at] = t.key[first + at]
            t.amount[top + at] = t.amount[first + at]
        t.start[book] = top
        t.capacity[book] = max(1, 2 * count)
        t.top[0] = top + t.capacity[book]
    entry = place(t.start[book], t.size[book], t.key, key, rank)
    for at in range(t.start[book] + t.size[book], entry, -1):
        t.key[at] = t.key[at - 1]
        t.amount[at] = t.amount[at - 1]
    t.key[entry] = key
    t.amount[entry] = 0
    t.size[book] += 1
    return entry


@kernel
def holders_of(t: Positions | Balances, wanted: npt.NDArray[np.bool_], books: int, most: int) -> I64:
    """Books with an entry of any key that is wanted, ascending; where they are more than `most`, the first most + 1."""
    found = np.empty(most + 1, dtype=np.int64)
    count = 0
    for book in range(books):
        if count <= most:
            for at in range(t.start[book], t.start[book] + t.size[book]):
                if wanted[t.key[at]]:
                    found[count] = book
                    count += 1
                    break
    return found[:count]
