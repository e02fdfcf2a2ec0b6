"""Senders that send again: a producer that missed an answer, a mirror that starts again at an older offset. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from faults.trades import Row

#: How often a batch is sent twice as it is, twice but cut otherwise, or followed by what a mirror replays.
AGAIN_SHARE, RECUT_SHARE, REPLAY_SHARE = 0.15, 0.15, 0.05


def replayed(
    rows: Sequence[Row], rng: random.Random, *, batch_rows_max: int, tail_rows_max: int
) -> Iterator[Sequence[Row]]:
    """The batches in which the rows of one partition are sent, every row at least once, in order at first.

    Parameters
    ----------
    tail_rows_max : how far back a mirror starts again; what lies further back than an account's duplicate window
        would be taken for new
    """
    sent = 0
    while sent < len(rows):
        first, sent = sent, sent + rng.randint(1, batch_rows_max)
        yield rows[first:sent]
        fate = rng.random()
        if fate < AGAIN_SHARE:
            yield rows[first:sent]
        elif fate < AGAIN_SHARE + RECUT_SHARE:
            yield from recut(rows[first:sent], rng, batch_rows_max)
        elif fate < AGAIN_SHARE + RECUT_SHARE + REPLAY_SHARE:
            end = min(sent, len(rows))
            yield from recut(rows[max(0, end - rng.randint(1, tail_rows_max)) : end], rng, batch_rows_max)


def recut(rows: Sequence[Row], rng: random.Random, batch_rows_max: int) -> Iterator[Sequence[Row]]:
    """The same rows in batches of other sizes."""
    first = 0
    while first < len(rows):
        size = rng.randint(1, batch_rows_max)
        yield rows[first : first + size]
        first += size
