"""The ids that each account remembers, for recognising a user's duplicates: hashes of the last ones, as a ring.

A ring lies in pieces that never move: each is as large as all before it, from PIECE_MIN to PIECE_MAX hashes, so an
account takes little more than 8 bytes an id, however long it has been there. A piece's first word says where the next
one begins.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import int64, uint64

from streams.compiled import inner, kernel
from streams.engine.columns import grown
from streams.engine.prefetch import prefetch
from streams.margin.parameters import I32, I64

#: Hashes of a ring's first piece, and of its largest.
PIECE_MIN, PIECE_MAX = 8, 64
#: Hashes of a cache line, and the most of a ring that are fetched ahead of its use.
LINE, FETCHED_MAX = 8, 512


class Recent(NamedTuple):
    """Rings of all accounts; `head` and `size` count hashes from the ring's first."""

    start: I64  # per account: the first piece, once there is one
    size: I32
    head: I32  # where the next hash goes
    top: I64  # length 1: first unused word
    word: npt.NDArray[np.uint64]


def no_rings() -> Recent:
    """Rings of no accounts."""
    none = np.zeros(0, dtype=np.int32)
    return Recent(np.zeros(0, dtype=np.int64), none, none, np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.uint64))


def with_accounts(rings: Recent, accounts: int) -> Recent:
    """Room for so many accounts."""
    per_account: dict[str, Any] = {name: grown(getattr(rings, name), accounts) for name in ("start", "size", "head")}
    return rings._replace(**per_account)


def with_words(rings: Recent, extra: int) -> Recent:
    """At least so many unused words."""
    return rings._replace(word=grown(rings.word, int(rings.top[0]) + extra))


@kernel(_nrt=False)
def piece(first: int) -> int:
    """How many hashes the piece takes that begins with a ring's hash number `first`."""
    return min(max(first, PIECE_MIN), PIECE_MAX)


@kernel(_nrt=False)
def words(count: int) -> int:
    """Words that the pieces of a ring of `count` hashes take."""
    first, taken = 0, 0
    while first < count:
        taken += 1 + piece(first)
        first += piece(first)
    return taken


@inner(_nrt=False)
def following(r: Recent, at: int) -> int:
    """Where the piece behind the one at `at` begins; it must be there."""
    return int64(r.word[at])


@inner(_nrt=False)
def add_piece(r: Recent, account: int, last: int, first: int) -> int:
    """A new piece for hash number `first` on, behind the one at `last` (-1: the ring's first); the caller made room."""
    at = r.top[0]
    if last < 0:
        r.start[account] = at
    else:
        r.word[last] = uint64(at)
    r.top[0] = at + 1 + piece(first)
    return int64(at)


@inner(_nrt=False)
def fetch_rings(r: Recent, account: I64, first: int, end: int, here: I64) -> None:
    """Have the rings of ``account[first:end]`` fetched, all a piece at a time: each says where the next one lies.

    Parameters
    ----------
    here : room for the place in each ring
    """
    for row in range(first, end):
        here[row - first] = r.start[account[row]]
    reached = 0
    more = True
    while more and reached < FETCHED_MAX:
        more = False
        count = piece(reached)
        for row in range(first, end):
            if r.size[account[row]] > reached:
                at = here[row - first]
                if reached > 0:
                    at = following(r, at)
                for k in range(at, at + 1 + count, LINE):
                    prefetch(r.word, k)
                here[row - first] = at
                more = True
        reached += count


@kernel(_nrt=False)
def seen_before(r: Recent, account: int, identity: int) -> bool:
    """Whether the account's ring holds this hash."""
    size, first, at = int64(r.size[account]), 0, int64(r.start[account])
    while first < size:
        count = min(piece(first), size - first)
        found = False
        for k in range(at + 1, at + 1 + count):  # to its end, many at a time
            found |= r.word[k] == identity
        if found:
            return True
        first += count
        if first < size:
            at = following(r, at)
    return False


@kernel(_nrt=False)
def remember(r: Recent, account: int, identity: int, window: int) -> None:
    """Put a hash into the account's ring, over the oldest once it holds `window`; the caller made room."""
    size, head = int64(r.size[account]), int64(r.head[account])
    first, last, at = 0, -1, int64(r.start[account])
    while first + piece(first) <= head:
        first += piece(first)
        last = at
        if first < size:
            at = following(r, at)
    if first == size:
        at = add_piece(r, account, last, first)
    r.word[at + 1 + head - first] = identity
    r.size[account] = max(size, head + 1)
    r.head[account] = (head + 1) % window
