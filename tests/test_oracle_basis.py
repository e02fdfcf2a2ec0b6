"""Marks of instruments: index, median of three, smoothed basis."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.oracle.basis import BASIS_WINDOW_MS, InstrumentBook, median_of_three
from streams.oracle.quotes import Quote
from streams.oracle.settings import MARK_METHODS, MarkRule

T = 1_760_130_900_000
HOUR = 3_600_000
SMOOTHED = MarkRule(method="smoothed_basis", basis_half_life_ms=60_000, basis_max=0.05)
OF_THREE = MarkRule(method="median_of_three", basis_max=0.05)


def book(mid: float, *, time: int = T, last: float | None = None, rate: float | None = None) -> Quote:
    next_ms = None if rate is None else T + 4 * HOUR
    return Quote("BTC", "v", mid, 0.0, time, None, None, "BTC-PERP", last, rate, next_ms)


@pytest.mark.parametrize(
    ("rate", "basis", "last", "expected"),
    [
        pytest.param(0.0001, 25.0, 60_110.0, 60_025.0, id="60,003 60,025 60,110: the basis"),
        pytest.param(0.0001, 25.0, 60_010.0, 60_010.0, id="60,003 60,010 60,025: the last trade"),
        pytest.param(0.0001, -25.0, 60_110.0, 60_003.0, id="59,975 60,003 60,110: the funding"),
        pytest.param(0.0, 0.0, 10_000.0, 60_000.0, id="one wild print of the last trade"),
    ],
)
def test_median_of_three_by_hand(rate: float, basis: float, last: float, expected: float) -> None:
    """One print on a thin book must not liquidate."""
    found = median_of_three(
        60_000.0, funding_rate=rate, to_funding_ms=4 * HOUR, funding_interval_ms=8 * HOUR, basis=basis, last=last
    )
    assert found == pytest.approx(expected, rel=1e-12)


def test_index_by_default() -> None:
    """A book-free mark: who can push the book cannot liquidate anybody."""
    assert InstrumentBook().mark(100.0, [book(150.0)], T, MarkRule()) == 100.0


def test_basis_moves_with_its_half_life_and_not_at_once() -> None:
    """A wick of the perpetual alone is smoothed away; a basis that stays is followed."""
    held = InstrumentBook()
    assert held.mark(100.0, [book(100.0)], T, SMOOTHED) == 100.0
    assert held.mark(100.0, [book(102.0)], T, SMOOTHED) == 100.0
    assert held.mark(100.0, [book(102.0)], T + 60_000, SMOOTHED) == pytest.approx(101.0)
    assert held.mark(200.0, [book(204.0)], T + 60_000, SMOOTHED) == pytest.approx(202.0)  # a fraction of the index


@pytest.mark.parametrize(
    ("rule", "mid", "expected"),
    [
        pytest.param(SMOOTHED, 150.0, 105.0, id="smoothed, far above"),
        pytest.param(SMOOTHED, 50.0, 95.0, id="smoothed, far below"),
        pytest.param(OF_THREE, 150.0, 105.0, id="of three, far above"),
        pytest.param(OF_THREE, 50.0, 95.0, id="of three, far below"),
    ],
)
def test_basis_is_capped(rule: MarkRule, mid: float, expected: float) -> None:
    """However far a book is pushed, and however long, the mark stays within basis_max of the index."""
    held = InstrumentBook()
    held.mark(100.0, [book(mid, last=mid)], T, rule)
    assert held.mark(100.0, [book(mid, last=mid)], T + 10 * 60_000, rule) == pytest.approx(expected)


def test_funding_is_capped_too() -> None:
    """A venue that states a wild funding rate with a wild trade moves the mark no further than a wild book does."""
    wild = book(100.0, last=150.0, rate=1.0)  # 150, 100 and 150
    assert InstrumentBook().mark(100.0, [wild], T, OF_THREE) == pytest.approx(105.0)


@pytest.mark.parametrize("rule", [SMOOTHED, OF_THREE], ids=["smoothed", "of three"])
def test_without_a_book_the_basis_fades(rule: MarkRule) -> None:
    """A venue that falls silent must not make the mark jump; nor may its last basis stay for ever."""
    held = InstrumentBook()
    before = held.mark(100.0, [book(103.0, last=103.0)], T, rule)
    assert before == pytest.approx(103.0)
    assert held.mark(100.0, [], T + 20_000, rule) == pytest.approx(103.0)
    soon = held.mark(100.0, [], T + 35_000, rule)
    assert 100.0 < soon < 103.0
    assert held.mark(100.0, [], T + 30 * 60_000, rule) == 100.0


def test_funding_counts_in_whole_minutes() -> None:
    """A mark that moved by the time to the next funding at every look would fill the journal."""
    held = InstrumentBook()
    quotes = [book(110.0, last=90.0, rate=0.01)]
    marks = [held.mark(100.0, quotes, T + step, OF_THREE) for step in (0, 1, 30_000, 59_999, 60_000)]
    assert marks[0] == pytest.approx(100.5)  # 1 % x 4 h / 8 h
    assert marks[0] == marks[1] == marks[3] > marks[4]


def test_newest_funding_and_middle_of_several_venues() -> None:
    """Two sources of one instrument: middle of their books and trades, the newer word on funding."""
    held = InstrumentBook()
    quotes = [book(101.0, last=101.0, rate=0.0), book(103.0, time=T + 5, last=103.0, rate=0.08)._replace(source="w")]
    # of 100 x (1 + 8 % x 4 / 8) = 104, 102 and 102
    assert held.mark(100.0, quotes, T + 5, OF_THREE) == pytest.approx(102.0)
    quotes[0] = quotes[0]._replace(time=T + 9, last=107.0)
    # of 100 (rate 0), 102 and 105
    assert held.mark(100.0, quotes, T + 9, OF_THREE) == pytest.approx(102.0)


@pytest.mark.parametrize("rule", [SMOOTHED, OF_THREE], ids=["smoothed", "of three"])
def test_when_to_look_again(rule: MarkRule) -> None:
    """A mark on its way moves by time alone, one that stands does not; a book that grows old is noticed."""
    held = InstrumentBook()
    held.quotes["v"] = book(102.0)
    held.mark(100.0, [book(102.0)], T, rule)
    assert held.wakes_ms(T, rule, lambda _: 3_000) == T + 3_001
    held.mark(100.0, [book(101.0)], T + 10, rule)
    assert held.wakes_ms(T + 10, rule, lambda _: 3_000) == T + 250
    assert held.wakes_ms(T + 10, MarkRule(), lambda _: 3_000) is None


@given(
    st.lists(
        st.tuples(st.integers(0, 40_000), st.floats(50.0, 200.0), st.none() | st.floats(1.0, 1e4)),
        min_size=1,
        max_size=10,
    ),
    st.sampled_from(MARK_METHODS),
)
def test_mark_stays_near_the_index_and_restores(steps: list[tuple[int, float, float | None]], method: str) -> None:
    """Whatever the book says the cap holds; and a restart gives the same mark."""
    rule = MarkRule(method=method, basis_max=0.05)
    held, now = InstrumentBook(), T
    for elapsed, index, mid in steps:
        now += elapsed
        if mid is not None:
            held.quotes["v"] = book(mid, time=now, last=mid)
        live = [] if mid is None else [held.quotes["v"]]
        again = InstrumentBook.restored("BTC", json.loads(json.dumps(held.record())))
        mark = held.mark(index, live, now, rule)
        assert index * 0.95 * (1 - 1e-12) <= mark <= index * 1.05 * (1 + 1e-12)
        assert again.mark(index, live, now, rule) == mark
    assert BASIS_WINDOW_MS == 30_000
