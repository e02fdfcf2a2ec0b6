"""Remembered ids against a deque: what is found, what is forgotten, and how much room that takes."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from streams.engine.remembered import (
    PIECE_MAX,
    PIECE_MIN,
    Recent,
    no_rings,
    remember,
    seen_before,
    with_accounts,
    with_words,
    words,
)

ACCOUNTS = 3


def put(rings: Recent, account: int, identity: int, window: int) -> Recent:
    rings = with_words(rings, 1 + PIECE_MAX)
    remember(rings, account, identity, window)
    return rings


@given(
    window=st.integers(1, 3 * PIECE_MAX),
    ids=st.lists(st.tuples(st.integers(0, ACCOUNTS - 1), st.integers(0, 400)), max_size=1_200),
)
def test_an_account_remembers_its_last_ids_and_no_others(window: int, ids: list[tuple[int, int]]) -> None:
    rings = with_accounts(no_rings(), ACCOUNTS)
    expected: list[deque[int]] = [deque(maxlen=window) for _ in range(ACCOUNTS)]
    for account, identity in ids:
        assert seen_before(rings, account, identity) == (identity in expected[account])
        if identity not in expected[account]:
            rings = put(rings, account, identity, window)
            expected[account].append(identity)
    for account, known in enumerate(expected):
        for identity in range(401):
            assert seen_before(rings, account, identity) == (identity in known)


@given(window=st.integers(1, 600), more=st.integers(0, 100))
def test_a_ring_takes_eight_bytes_an_id_and_no_more_however_often_it_goes_round(window: int, more: int) -> None:
    rings = with_accounts(no_rings(), 1)
    for identity in range(2 * window + more):
        rings = put(rings, 0, identity, window)
        held = min(identity + 1, window)
        assert rings.size[0] == held
        assert rings.top[0] == words(held)
        assert held < words(held) <= held + max(PIECE_MIN, min(held, PIECE_MAX)) + held // PIECE_MAX + 5


def test_256_ids_take_2104_bytes() -> None:
    """Pieces of 8, 8, 16, 32, 64, 64 and 64 hashes, each with one word more."""
    assert 8 * words(256) == 2_104
    assert 8 * words(128) == 1_064
    assert words(0) == 0
