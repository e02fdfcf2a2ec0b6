"""Slots of the slack index: books anchored together, sorted by radius, and who of them a move of prices wakes.

Each book is at one place: anchored in a slot, asleep (no move matters to it), or loose (the next marks block wakes it).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streams.compiled import kernel
from streams.engine.radius import BOTH, FALLS, KINDS, LEAN, RISES
from streams.margin.parameters import F64, I32, I64

F32 = npt.NDArray[np.float32]
I16 = npt.NDArray[np.int16]
I8 = npt.NDArray[np.int8]

SLOTS = 128
#: What `slot_of` says of books without a slot.
ASLEEP, LOOSE = -1, -2
#: Radii are cut to float32 with four bits of fraction, LEVELS of them from RADIUS_MIN to RADIUS_MAX, so that counting
#: sorts them; moves are rounded up by more than float32 can round.
CUT, FIRST_LEVEL, LEVELS, SAFE = 19, 1700, 400, 1e-6
#: A move larger than any radius.
FAR = 1e30


class Slots(NamedTuple):
    """All slots, and where each book is.

    Attributes
    ----------
    slot_of : by book: its slot, ASLEEP or LOOSE
    loose : the books that are LOOSE, as many as `used[0]` says; room for all
    used : length 2; how many are loose, and how many entries are taken
    anchors : log prices, of all instruments and then of all assets, shape (prices, SLOTS); nan where never seen
    live : by slot, how many books are anchored there
    nearest : by slot and kind, no larger than the least radius of its books; infinite where there are none
    start, end : by slot and kind, where its books lie in `entry`, with their radii in `reaches`, ascending; some may
        have left
    """

    slot_of: I16
    loose: I64
    used: I64
    anchors: F64
    live: I64
    nearest: F64
    start: I64
    end: I64
    entry: I32
    reaches: F32


@kernel
def wake(slots: Slots, here: F64, out: I64) -> int:
    """Write the books to judge at these log prices to `out`: all that are loose, and the anchored whose radius is used
    up; how many.

    A price that is known and was not known then is infinitely far. With no slot left, the emptiest is woken whole.
    Where the nearest radius is out of reach, no book of the slot is looked at: they lie far apart in memory.
    """
    anchors, live, start, end, nearest = slots.anchors, slots.live, slots.start, slots.end, slots.nearest
    entry, reaches, slot_of = slots.entry, slots.reaches, slots.slot_of
    falls, rises = np.zeros(SLOTS), np.zeros(SLOTS)
    for at in range(here.shape[0]):
        now = here[at]
        if now == now:
            for slot in range(SLOTS):
                move = now - anchors[at, slot]
                falls[slot] = -move if -move > falls[slot] else falls[slot]
                rises[slot] = move if move > rises[slot] else rises[slot]
                rises[slot] = FAR if move != move else rises[slot]
    emptiest, taken = -1, 0
    for slot in range(SLOTS):
        if live[slot] > 0:
            taken += 1
            if emptiest < 0 or live[slot] < live[emptiest]:
                emptiest = slot
    moved = np.empty(KINDS)
    count = slots.used[0]
    for at in range(count):
        out[at] = slots.loose[at]
    for slot in range(SLOTS):
        if live[slot] > 0:
            fall, rise = falls[slot], rises[slot]
            if slot == emptiest and taken >= SLOTS - 1:
                rise = FAR
            moved[FALLS] = max(fall, rise / LEAN) * (1.0 + SAFE)
            moved[RISES] = max(rise, fall / LEAN) * (1.0 + SAFE)
            moved[BOTH] = max(rise, fall) * (1.0 + SAFE)
            for kind in range(KINDS):
                if nearest[slot, kind] <= moved[kind]:
                    first, stop = start[slot, kind], end[slot, kind]
                    while first < stop and slot_of[entry[first]] != slot:
                        first += 1
                    start[slot, kind] = first
                    nearest[slot, kind] = reaches[first] if first < stop else np.inf
                    while first < stop and reaches[first] <= moved[kind]:
                        if slot_of[entry[first]] == slot:
                            out[count] = entry[first]
                            count += 1
                        first += 1
    return count


@kernel
def loosen(slots: Slots, books: I64) -> None:
    """Have the next marks block wake these books, wherever they are."""
    for book in books:
        slot = slots.slot_of[book]
        if slot >= 0:
            slots.live[slot] -= 1
        if slot != LOOSE:
            slots.slot_of[book] = LOOSE
            slots.loose[slots.used[0]] = book
            slots.used[0] += 1


@kernel
def enter(slots: Slots, here: F64, books: I64, radius: F32, kind: I8) -> None:
    """Put books just judged where their radii say: none is loose, infinite asleep, the others share a free slot.

    The caller has made room for as many entries.
    """
    slot_of, live, anchors, used = slots.slot_of, slots.live, slots.anchors, slots.used
    for book in books:
        if slot_of[book] >= 0:
            live[slot_of[book]] -= 1
    slot = np.argmin(live)
    place = np.zeros(KINDS * LEVELS + 1, dtype=np.int64)
    bits = radius.view(np.int32)
    anchored = 0
    for row in range(books.shape[0]):
        if 0.0 < radius[row] < np.inf:
            anchored += 1
            place[kind[row] * LEVELS + (bits[row] >> CUT) - FIRST_LEVEL + 1] += 1
    if anchored > 0:
        live[slot] = anchored
        for at in range(here.shape[0]):
            anchors[at, slot] = here[at]
        place[0] = used[1]
        for bucket in range(KINDS * LEVELS):
            place[bucket + 1] += place[bucket]
        for which in range(KINDS):
            slots.start[slot, which], slots.end[slot, which] = place[which * LEVELS], place[(which + 1) * LEVELS]
    cut = slots.reaches.view(np.int32)
    newly = 0
    for row in range(books.shape[0]):
        book = books[row]
        if not radius[row] > 0.0:
            if slot_of[book] != LOOSE:  # those that stay loose are listed
                slots.loose[used[0] + newly] = book
                newly += 1
            slot_of[book] = LOOSE
        elif radius[row] == np.inf:
            slot_of[book] = ASLEEP
        else:
            level = bits[row] >> CUT
            bucket = kind[row] * LEVELS + level - FIRST_LEVEL
            slots.entry[place[bucket]] = book
            cut[place[bucket]] = level << CUT
            place[bucket] += 1
            slot_of[book] = slot
    if anchored > 0:
        for which in range(KINDS):
            first = slots.start[slot, which]
            slots.nearest[slot, which] = slots.reaches[first] if first < slots.end[slot, which] else np.inf
    used[1] += anchored
    listed, kept = used[0] + newly, 0
    for at in range(listed):
        book = slots.loose[at]
        if slot_of[book] == LOOSE:
            slots.loose[kept] = book
            kept += 1
    used[0] = kept


@kernel
def pack(slots: Slots, entry: I32, reaches: F32) -> None:
    """Move the entries of books that are still in their slot to new columns."""
    top = 0
    for slot in range(SLOTS):
        for kind in range(KINDS):
            first, stop = slots.start[slot, kind], slots.end[slot, kind]
            slots.start[slot, kind] = top
            if slots.live[slot] > 0:
                for at in range(first, stop):
                    if slots.slot_of[slots.entry[at]] == slot:
                        entry[top], reaches[top] = slots.entry[at], slots.reaches[at]
                        top += 1
            slots.end[slot, kind] = top
    slots.used[1] = top
