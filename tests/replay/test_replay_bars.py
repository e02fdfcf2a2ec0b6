"""Bars and the walk through them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.replay.bars import DAY_MS, Bar, Bars, Step, deepest_day, price_text, steps, steps_per_bar, walk

PRICES = st.floats(0.0001, 200_000.0)


def bar_of(open_price: float, extra_high: float, extra_low: float, close: float) -> Bar:
    top, bottom = max(open_price, close), min(open_price, close)
    return Bar(0, "BTC", "x", open_price, top * (1 + extra_high), bottom * (1 - extra_low), close)


@given(st.builds(bar_of, PRICES, st.floats(0, 0.5), st.floats(0, 0.5), PRICES), st.integers(4, 80))
def test_walk_prints_all_four_prices_and_nothing_outside(bar: Bar, count: int) -> None:
    """A walk that skips the low of a crash bar would liquidate nobody where the real market did."""
    prices = walk(bar, count)
    assert len(prices) == count
    assert (prices[0], prices[-1]) == (bar.open, bar.close)
    assert min(prices) == bar.low
    assert max(prices) == bar.high


def test_walk_takes_the_shorter_path() -> None:
    """The rule for which extreme comes first is part of what makes two runs of a file the same."""
    rising = walk(Bar(0, "BTC", "x", 10.0, 14.0, 8.0, 12.0), 4)
    falling = walk(Bar(0, "BTC", "x", 12.0, 14.0, 8.0, 10.0), 4)
    flat = walk(Bar(0, "BTC", "x", 10.0, 14.0, 8.0, 10.0), 4)
    assert rising == [10.0, 8.0, 14.0, 12.0]
    assert falling == [12.0, 14.0, 8.0, 10.0]
    assert flat == [10.0, 8.0, 14.0, 10.0]


@given(st.sampled_from([1_000, 60_000, 300_000, 3_600_000]), st.integers(500, 30_000))
def test_steps_are_never_longer_than_asked(length_ms: int, step_ms: int) -> None:
    """A step longer than the liquidation time-out would let orders stand unanswered across a time-out."""
    bars = Bars(length_ms=length_ms, bars=[Bar(at * length_ms, "BTC", "x", 1, 1, 1, 1) for at in range(2)])
    times = [step.time for step in steps(bars, step_ms)]
    assert len(times) == bars.step_count(step_ms) == 2 * steps_per_bar(length_ms, step_ms)
    assert max(later - time for time, later in pairwise(times)) <= max(step_ms, length_ms / 4)
    assert times == sorted(times)
    assert times[-1] < bars.end


def test_step_price_is_the_middle_source() -> None:
    """One broken source must not move the price that the exchange trades at."""
    step = Step(0, {("BTC", "a"): 100.0, ("BTC", "b"): 1.0, ("BTC", "c"): 101.0, ("ETH", "a"): 5.0})
    assert step.prices() == {"BTC": 100.0, "ETH": 5.0}


def test_cut_keeps_the_assets_that_are_there_from_its_start() -> None:
    """An asset listed in the middle of the cut has no price for the books that are drawn at its start."""
    bars = Bars(
        length_ms=1, bars=[Bar(0, "A", "x", 1, 1, 1, 1), Bar(1, "A", "x", 1, 1, 1, 1), Bar(1, "B", "x", 1, 1, 1, 1)]
    )
    assert bars.between(0, 2).assets() == ["A"]
    assert {bar.asset for bar in bars.between(0, 2).bars} == {"A"}
    assert {bar.asset for bar in bars.between(1, 2).bars} == {"A", "B"}


def test_deepest_day_counts_a_fall_only_after_its_top() -> None:
    """A day that rises from a low is no crash."""
    rise = [Bar(0, "BTC", "x", 50, 100, 50, 100)]
    fall = [Bar(DAY_MS, "BTC", "x", 100, 100, 80, 90)]
    assert deepest_day(Bars(length_ms=DAY_MS, bars=rise + fall), "BTC") == DAY_MS


@pytest.mark.parametrize(
    ("price", "text"), [(0.1 + 0.2, "0.3"), (121_500.0, "121500"), (1e-7, "0.0000001"), (1e12, "1000000000000")]
)
def test_price_text_has_no_exponent(price: float, text: str) -> None:
    """Readers of decimal strings need not know exponents."""
    assert price_text(price) == text
