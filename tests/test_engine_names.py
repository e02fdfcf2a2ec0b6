"""Names and rows side by side: what a list and a dictionary would say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.names import Names
from streams.rows import Rows, side_by_side

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
PAIRS = st.lists(st.tuples(st.binary(max_size=5), st.binary(max_size=9)), max_size=6)


@given(st.lists(st.lists(TEXTS, max_size=30), max_size=6))
def test_a_name_keeps_the_number_it_came_with(blocks: list[list[str]]) -> None:
    """Two accounts under one number, or one under two, would mix up their money."""
    names, expected = Names(), {}
    for block in blocks:
        for name in block:
            expected.setdefault(name, len(expected))
        assert names.numbers(block).tolist() == [expected[name] for name in block]
    assert list(names) == list(expected)
    assert [names.find(name) for name in expected] == list(expected.values())
    assert names.find("someone else entirely") == -1
    keys, ends = names.keys(np.arange(len(names))[::-1])
    assert list(Rows(keys, ends, keys, ends)) == [(name.encode(),) * 2 for name in reversed(expected)]


def test_thousands_of_names_are_found_again() -> None:
    """The table of slots grows many times on the way."""
    names, texts = Names(), [f"user-{number * 7919 % 50_021}" for number in range(20_000)]
    names.numbers(texts)
    assert names.numbers(texts[::-1]).tolist() == list(range(20_000))[::-1]
    assert (names[0], names[19_999], names.find(texts[12_345])) == (texts[0], texts[19_999], 12_345)
    with pytest.raises(IndexError, match="must be below 20000, found 20000"):
        names[20_000]


def test_a_name_with_a_zero_byte_is_refused() -> None:
    """Ingest lets none through; in a journal that somebody made it would shift the names after it."""
    names = Names()
    with pytest.raises(ValueError, match=r"must hold no zero byte, found 'b\\x00c'"):
        names.numbers(["a", "b\0c", "d"])
    assert names.numbers([]).tolist() == []
    assert names.numbers(["d"]).tolist() == [0]


def test_names_placed_at_their_numbers_in_any_order() -> None:
    """As a compacted changelog brings them back."""
    names, texts = Names(), ["carol", "alice", "bob"]
    data, ends = side_by_side([text.encode() for text in texts])
    starts = np.append(0, ends)[:-1]
    assert names.place(data, starts, ends, np.array([2, 0, 1])) == -1
    assert names.place(data, starts, ends, np.array([2, 0, 1])) == -1
    assert list(names) == ["alice", "bob", "carol"]
    assert names.place(data, starts, ends, np.array([2, 1, 0])) == 1
    assert names.numbers(["dave", "bob"]).tolist() == [3, 1]


@given(st.lists(PAIRS, max_size=4))
def test_rows_are_their_pairs(parts: list[list[tuple[bytes, bytes]]]) -> None:
    """What is written to the changelog is what was meant, wherever one part ends and the next begins."""
    joined = Rows.joined([Rows.of(part) for part in parts])
    pairs = [pair for part in parts for pair in part]
    assert list(joined) == [joined[at] for at in range(len(joined))] == pairs
    with pytest.raises(IndexError):
        joined[len(pairs)]
