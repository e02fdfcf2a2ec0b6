"""Names of accounts, numbered as they come: bytes side by side and a hash table of numbers, no object for a name."""

from collections.abc import Iterator

import numpy as np
from numba import int64, njit, uint64

from streams.engine.columns import grown
from streams.engine.identity import identity_hash
from streams.engine.prefetch import prefetch
from streams.margin.parameters import I32, I64
from streams.rows import U8, side_by_side

#: Names looked up at a time: what they need is on its way by then, and still in the processor's cache.
BATCH = 256


class Names:
    """A sequence of different names; a name's number is its place in it.

    Attributes
    ----------
    text, start, size : the bytes of name n are ``text[start[n] : start[n] + size[n]]``; a size of 0 is a number
        without a name, which only a half-read changelog has
    """

    def __init__(self) -> None:
        self.text: U8 = np.zeros(0, dtype=np.uint8)
        self.start: I64 = np.zeros(0, dtype=np.int64)
        self.size: I32 = np.zeros(0, dtype=np.int32)
        self._used = 0  # bytes of text
        self._count = 0
        self._slots: I32 = np.zeros(16, dtype=np.int32)  # number + 1, 0 empty; a power of two long

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> str:
        return self.encoded(number).decode()

    def __iter__(self) -> Iterator[str]:
        return (self[number] for number in range(self._count))

    def encoded(self, number: int) -> bytes:
        """The bytes of a name."""
        if not 0 <= number < self._count:
            raise IndexError(f"a name's number must be below {self._count}, found {number}")
        start = int(self.start[number])
        return self.text[start : start + int(self.size[number])].tobytes()

    def find(self, name: str) -> int:
        """The name's number, -1 where there is none."""
        data = np.frombuffer(name.encode(), dtype=np.uint8)
        return int(_find(self.text, self.start, self.size, self._slots, data, 0, len(data)))

    def numbers(self, names: list[str]) -> I64:
        """The number of each name; new ones are numbered as they come."""
        joined = "".join(names)
        data = joined.encode()
        if len(data) == len(joined):
            ends = np.cumsum(np.fromiter(map(len, names), dtype=np.int64, count=len(names)))
            buffer: U8 = np.frombuffer(data, dtype=np.uint8)
        else:
            buffer, ends = side_by_side([name.encode() for name in names])
        self._reserve(len(names), len(data))
        out = np.empty(len(names), dtype=np.int64)
        self._count, self._used = _number(
            self.text, self.start, self.size, self._slots, buffer, ends, self._count, self._used, out
        )
        return out

    def place(self, names: U8, starts: I64, ends: I64, numbers: I64) -> int:
        """Give names the numbers that they had; the row of the first that contradicts an earlier one, or -1."""
        highest = int(numbers.max(initial=-1)) + 1
        self._reserve(max(highest - self._count, 0), int((ends - starts).sum()))
        bad, self._used = _place(
            self.text, self.start, self.size, self._slots, names, starts, ends, numbers, self._used
        )
        self._count = max(self._count, highest)
        return int(bad)

    def keys(self, numbers: I64) -> tuple[U8, I64]:
        """The bytes of names side by side, and where each ends."""
        keys: tuple[U8, I64] = _keys(self.text, self.start, self.size, numbers)
        return keys

    def _reserve(self, names: int, size: int) -> None:
        self.text = grown(self.text, self._used + size)
        self.start = grown(self.start, self._count + names)
        self.size = grown(self.size, self._count + names)
        length = len(self._slots)
        while 2 * length < 3 * (self._count + names):  # at most two thirds full
            length *= 2
        if length > len(self._slots):
            self._slots = np.zeros(length, dtype=np.int32)
            _fill(self.text, self.start, self.size, self._slots, self._count)


@njit(cache=True)
def _home(slots: I32, data: U8, first: int, end: int) -> int:
    """Where to begin to look for a name."""
    return int64(uint64(identity_hash(data, first, end, 0)) & uint64(slots.shape[0] - 1))


@njit(cache=True)
def _slot(text: U8, start: I64, size: I32, slots: I32, data: U8, first: int, end: int, home: int) -> int:
    """The slot of a name, or the empty one where it belongs."""
    mask = slots.shape[0] - 1
    at = home
    while slots[at] > 0:
        number = slots[at] - 1
        if size[number] == end - first:
            same = True
            for k in range(end - first):
                same = same and text[start[number] + k] == data[first + k]
            if same:
                break
        at = (at + 1) & mask
    return at


@njit(cache=True)
def _find(text: U8, start: I64, size: I32, slots: I32, data: U8, first: int, end: int) -> int:
    return slots[_slot(text, start, size, slots, data, first, end, _home(slots, data, first, end))] - 1


@njit(cache=True)
def _put(text: U8, start: I64, size: I32, data: U8, first: int, end: int, number: int, used: int) -> int:
    start[number] = used
    size[number] = end - first
    for k in range(first, end):
        text[used] = data[k]
        used += 1
    return used


@njit(cache=True)
def _number(
    text: U8, start: I64, size: I32, slots: I32, data: U8, ends: I64, count: int, used: int, out: I64
) -> tuple[int, int]:
    rows = ends.shape[0]
    for batch in range(0, rows, BATCH):
        stop = min(batch + BATCH, rows)
        _fetch(text, start, size, slots, data, ends, batch, stop, out)
        first = ends[batch - 1] if batch > 0 else 0
        for row in range(batch, stop):
            at = _slot(text, start, size, slots, data, first, ends[row], out[row])
            if slots[at] == 0:
                used = _put(text, start, size, data, first, ends[row], count, used)
                count += 1
                slots[at] = count
            out[row] = slots[at] - 1
            first = ends[row]
    return count, used


@njit(cache=True)
def _fetch(
    text: U8, start: I64, size: I32, slots: I32, data: U8, ends: I64, first_row: int, last_row: int, homes: I64
) -> None:
    """Write the homes of names, and have fetched on the way what looking there will need."""
    first = ends[first_row - 1] if first_row > 0 else 0
    for row in range(first_row, last_row):
        homes[row] = _home(slots, data, first, ends[row])
        prefetch(slots, homes[row])
        first = ends[row]
    for row in range(first_row, last_row):
        number = max(slots[homes[row]] - 1, 0)
        prefetch(start, number)
        prefetch(size, number)
    for row in range(first_row, last_row):
        prefetch(text, start[max(slots[homes[row]] - 1, 0)])


@njit(cache=True)
def _place(
    text: U8, start: I64, size: I32, slots: I32, data: U8, starts: I64, ends: I64, numbers: I64, used: int
) -> tuple[int, int]:
    bad = -1
    for row in range(ends.shape[0]):
        number = numbers[row]
        home = _home(slots, data, starts[row], ends[row])
        at = _slot(text, start, size, slots, data, starts[row], ends[row], home)
        if slots[at] == 0 and size[number] == 0:
            used = _put(text, start, size, data, starts[row], ends[row], number, used)
            slots[at] = number + 1
        elif slots[at] != number + 1 and bad < 0:
            bad = row
    return bad, used


@njit(cache=True)
def _fill(text: U8, start: I64, size: I32, slots: I32, count: int) -> None:
    for number in range(count):
        if size[number] > 0:
            end = start[number] + size[number]
            home = _home(slots, text, start[number], end)
            slots[_slot(text, start, size, slots, text, start[number], end, home)] = number + 1


@njit(cache=True)
def _keys(text: U8, start: I64, size: I32, numbers: I64) -> tuple[U8, I64]:
    ends = np.empty(numbers.shape[0], dtype=np.int64)
    at = 0
    for row in range(numbers.shape[0]):
        at += size[numbers[row]]
        ends[row] = at
    out = np.empty(at, dtype=np.uint8)
    at = 0
    for number in numbers:
        for k in range(start[number], start[number] + size[number]):
            out[at] = text[k]
            at += 1
    return out, ends
