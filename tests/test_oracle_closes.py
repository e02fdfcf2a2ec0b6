"""Closes by the clock of prices: what a period is, what is missing, and what a file brings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.oracle.closes import Closes


def test_returns_by_hand() -> None:
    """Periods of 10: closes are the last prices before 10, 20 and 30."""
    closes = Closes(period_ms=10, window=3)
    for time, price in ((1, 100.0), (9, 110.0), (10, 120.0), (15, 99.0), (29, 121.0)):
        closes.take(time, {"BTC": price})
    # 110, 99, and 121 still open
    assert closes.returns["BTC"] == pytest.approx([99.0 / 110.0 - 1.0])
    assert closes.take(35, {"ETH": 5.0}) == 1
    assert closes.returns["BTC"] == pytest.approx([-0.1, 121.0 / 99.0 - 1.0])
    assert closes.whole(9)[0] == []
    closes.take(40, {})
    units, returns = closes.whole(9)
    assert units == ["BTC"]
    assert returns[:, 0] == pytest.approx([-0.1, 121.0 / 99.0 - 1.0, 0.0])
    assert closes.period == 4


def test_a_price_that_was_away_moves_when_it_is_back() -> None:
    """Three periods without a price: no move, then all of it; the periods stay those of all units."""
    closes = Closes(period_ms=10, window=9)
    closes.take(5, {"A": 100.0, "B": 1.0})
    closes.take(15, {"A": 101.0})
    assert closes.take(45, {"A": 50.0, "B": 2.0}) == 3
    closes.take(50, {})
    assert closes.returns["A"] == pytest.approx([0.01, 0.0, 0.0, 50.0 / 101.0 - 1.0])
    assert closes.returns["B"] == [0.0, 0.0, 0.0, 1.0]
    assert closes.take(12, {"B": 9.0}) == 0
    assert closes.last["B"] == 2.0, "a late price of an ended period changes nothing"


def test_loaded_closes() -> None:
    """A file's history and the stream's go on as one."""
    closes = Closes(period_ms=10, window=3)
    assert not closes.load("A", 6, [1.0, 2.0]), "before the first price nobody knows what has ended"
    closes.take(75, {"A": 3.0})
    assert closes.load("A", 6, [1.0, 2.0, 4.0, 2.0])
    assert closes.returns == {"A": [1.0, 1.0, -0.5]}
    closes.take(80, {})
    assert closes.returns == {"A": [1.0, -0.5, 0.5]}
    assert not closes.load("A", 7, [9.0, 9.0]), "its own fill the window"
    with pytest.raises(ValueError, match=r"found -1.0 of A at 81"):
        closes.take(81, {"A": -1.0})


def test_closes_that_end_early_or_late() -> None:
    """Two periods ago: no move since, or its own moves where it has them. Of periods to come: passed over."""
    closes = Closes(period_ms=10, window=4)
    closes.take(55, {"A": 3.0, "B": 1.0})
    closes.take(75, {"B": 4.0})
    assert closes.load("A", 4, [1.0, 2.0])
    assert closes.returns["A"] == [1.0, 0.0, 0.0]
    assert closes.load("B", 5, [8.0, 4.0, 1.0])
    assert closes.returns["B"] == [-0.5, -0.75, 0.0]
    assert closes.load("C", 8, [1.0, 3.0, 9.0, 27.0])
    assert closes.returns["C"] == [2.0]
    assert not closes.load("C", 12, [1.0, 3.0])
    closes.forget({"B", "C", "D"})
    assert list(closes.returns) == list(closes.close) == list(closes.last) == ["A"]


@given(st.lists(st.tuples(st.integers(0, 300), st.floats(1.0, 2.0)), min_size=1, max_size=40))
def test_growth_is_kept(prices: list[tuple[int, float]]) -> None:
    """However sparse the prices, returns compound to the last close over the first, and are one a period."""
    prices = sorted(prices)
    closes = Closes(period_ms=10, window=1000)
    for time, price in prices:
        closes.take(time, {"A": price})
    closes.take(310, {})
    by_period = {time // 10: price for time, price in prices}
    first, *_, last = [*by_period.values(), list(by_period.values())[-1]]
    found = closes.returns.get("A", [])
    assert len(found) == 30 - min(by_period)
    assert np.prod(1.0 + np.array(found)) == pytest.approx(last / first)


def test_a_long_sleep_is_no_long_loop() -> None:
    """A history that was away for a million periods is a window of nothing."""
    closes = Closes(period_ms=1, window=5)
    closes.take(0, {"A": 1.0})
    assert closes.take(10**12, {"A": 2.0}) == 10**12
    assert closes.returns["A"] == [0.0] * 4
