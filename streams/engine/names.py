"""Names of accounts, numbered as they come: bytes side by side and a hash table of numbers, no object for a name."""

from collections.abc import Iterator

import numpy as np
from numba import int64

from streams.compiled import inner, kernel
from streams.engine.columns import grown, zeros
from streams.engine.identity import identity_hash
from streams.engine.prefetch import prefetch
from streams.margin.parameters import I32, I64
from streams.rows import U8

#: Names looked up at a time: what they need is on its way by then, and still in the processor's cache.
BATCH = 256
#: Of a slot: half of the name's hash, and the name's number + 1.
UPPER, LOWER = -1 << 32, (1 << 32) - 1


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
        self._slots: I64 = np.zeros(16, dtype=np.int64)  # see UPPER, 0 empty; a power of two long

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
        """The number of each name; new ones are numbered as they come. ValueError where one holds a zero byte."""
        data = "\0".join([*names, ""]).encode()
        buffer: U8 = np.frombuffer(data, dtype=np.uint8)
        ends = np.flatnonzero(buffer == 0)
        if len(ends) != len(names):
            found = next(name for name in names if "\0" in name)
            raise ValueError(f"a name must hold no zero byte, found {found!r}")
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
            self._slots = zeros(length, np.int64)
            _fill(self.text, self.start, self.size, self._slots, self._count)


@inner(_nrt=False)
def _hash(data: U8, first: int, end: int) -> int:
    """A name's hash: its lower bits say where to begin to look, its upper half is kept in the slot."""
    return int64(identity_hash(data, first, end, 0))


@inner(_nrt=False)
def _alike(slots: I64, h: int, at: int) -> int:
    """The slot, from `at` on, that is empty or has a name whose hash has the same upper half."""
    mask = slots.shape[0] - 1
    at &= mask
    while slots[at] != 0 and ((slots[at] ^ h) & UPPER) != 0:
        at = (at + 1) & mask
    return at


@inner(_nrt=False)
def _slot(text: U8, start: I64, size: I32, slots: I64, data: U8, first: int, end: int, h: int) -> int:
    """The slot of a name, or the empty one where it belongs."""
    at = _alike(slots, h, h)
    while slots[at] != 0:
        number = (slots[at] & LOWER) - 1
        same = size[number] == end - first
        k = 0
        while same and k < end - first:
            same = text[start[number] + k] == data[first + k]
            k += 1
        if same:
            break
        at = _alike(slots, h, at + 1)
    return at


@kernel(_nrt=False)
def _find(text: U8, start: I64, size: I32, slots: I64, data: U8, first: int, end: int) -> int:
    return (slots[_slot(text, start, size, slots, data, first, end, _hash(data, first, end))] & LOWER) - 1


@kernel(_nrt=False)
def _put(text: U8, start: I64, size: I32, data: U8, first: int, end: int, number: int, used: int) -> int:
    start[number] = used
    size[number] = end - first
    for k in range(first, end):
        text[used] = data[k]
        used += 1
    return used


@kernel(_nrt=False)
def _number(
    text: U8, start: I64, size: I32, slots: I64, data: U8, ends: I64, count: int, used: int, out: I64
) -> tuple[int, int]:
    rows = ends.shape[0]
    for batch in range(0, rows, BATCH):
        stop = min(batch + BATCH, rows)
        _fetch(text, start, size, slots, data, ends, batch, stop, out)
        first = ends[batch - 1] + 1 if batch > 0 else 0
        for row in range(batch, stop):
            h = out[row]
            at = _slot(text, start, size, slots, data, first, ends[row], h)
            if slots[at] == 0:
                used = _put(text, start, size, data, first, ends[row], count, used)
                count += 1
                slots[at] = (h & UPPER) | count
            out[row] = (slots[at] & LOWER) - 1
            first = ends[row] + 1
    return count, used


@kernel(_nrt=False)
def _fetch(
    text: U8, start: I64, size: I32, slots: I64, data: U8, ends: I64, first_row: int, last_row: int, hashes: I64
) -> None:
    """Write the hashes of names, and have fetched on the way what comparing them will need."""
    first = ends[first_row - 1] + 1 if first_row > 0 else 0
    for row in range(first_row, last_row):
        hashes[row] = _hash(data, first, ends[row])
        prefetch(slots, hashes[row] & (slots.shape[0] - 1))
        first = ends[row] + 1
    for row in range(first_row, last_row):
        number = max((slots[_alike(slots, hashes[row], hashes[row])] & LOWER) - 1, 0)
        prefetch(start, number)
        prefetch(size, number)
    for row in range(first_row, last_row):
        prefetch(text, start[max((slots[_alike(slots, hashes[row], hashes[row])] & LOWER) - 1, 0)])


@kernel(_nrt=False)
def _place(
    text: U8, start: I64, size: I32, slots: I64, data: U8, starts: I64, ends: I64, numbers: I64, used: int
) -> tuple[int, int]:
    bad = -1
    for row in range(ends.shape[0]):
        number = numbers[row]
        h = _hash(data, starts[row], ends[row])
        at = _slot(text, start, size, slots, data, starts[row], ends[row], h)
        if slots[at] == 0 and size[number] == 0:
            used = _put(text, start, size, data, starts[row], ends[row], number, used)
            slots[at] = (h & UPPER) | (number + 1)
        elif (slots[at] & LOWER) != number + 1 and bad < 0:
            bad = row
    return bad, used


@kernel(_nrt=False)
def _fill(text: U8, start: I64, size: I32, slots: I64, count: int) -> None:
    for number in range(count):
        if size[number] > 0:
            end = start[number] + size[number]
            h = _hash(text, start[number], end)
            slots[_slot(text, start, size, slots, text, start[number], end, h)] = (h & UPPER) | (number + 1)


@kernel
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
