"""Means over time: by hand, and independent of how often anybody looks."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.oracle.smoothing import HALF_LIVES, PARTS, Ema, WindowMean

HALF_LIFE, WINDOW = 5_000, 30_000
LEVELS = st.floats(min_value=1e-3, max_value=1e6)
STEPS = st.lists(st.tuples(st.integers(0, 20_000), LEVELS), min_size=1, max_size=12)
LOOKS = st.lists(st.integers(0, 300_000), max_size=20)


@pytest.mark.parametrize(
    ("elapsed", "expected"),
    [
        pytest.param(0, 100.0, id="at the change: as before"),
        pytest.param(5_000, 104.0, id="one half-life: half way"),
        pytest.param(10_000, 106.0, id="two: three quarters"),
        pytest.param(HALF_LIVES * 5_000 - 1, pytest.approx(108.0, rel=1e-7), id="just before it settles"),
        pytest.param(HALF_LIVES * 5_000, 108.0, id="settled: the level itself"),
        pytest.param(-1, 100.0, id="time ran backwards"),
    ],
)
def test_half_life(elapsed: int, expected: float) -> None:
    """The index that collateral is valued at follows a move at the speed that was asked for."""
    mean = Ema(100.0, 0, 100.0)
    mean.step(108.0, 1_000, HALF_LIFE)
    assert mean.at(1_000 + elapsed, HALF_LIFE) == expected


def test_time_that_runs_backwards_counts_as_none() -> None:
    """A clock that is set back must not make a mean run ahead."""
    mean, window = Ema(100.0, 10_000, 100.0), WindowMean(100.0, 10_000)
    mean.step(108.0, 5_000, HALF_LIFE)
    window.step(108.0, 5_000, WINDOW)
    assert (mean.since_ms, window.since_ms, window.parts) == (10_000, 10_000, [])
    assert mean.at(15_000, HALF_LIFE) == 104.0


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param(20_000, 100.0, id="at the change"),
        pytest.param(30_000, 102.0, id="10 s of 106 after 20 s of 100"),
        pytest.param(35_000, 103.0, id="15 s of 106, 15 s of 100 are left"),
        pytest.param(50_000, 106.0, id="the window is past the change"),
    ],
)
def test_window(now: int, expected: float) -> None:
    """The mean of the last 30 s, to a part in sixty of the window."""
    mean = WindowMean(100.0, 0)
    mean.step(106.0, 20_000, WINDOW)
    assert mean.at(now, WINDOW) == pytest.approx(expected, abs=6 / PARTS)


def test_a_price_that_stands_still_has_no_other_mean() -> None:
    """A mean that trembles by rounding would fill the journal with new prices."""
    mean = WindowMean(0.1, 0)
    mean.step(0.3, 7, WINDOW)
    mean.step(0.1, 7, WINDOW)
    assert {mean.at(moment, WINDOW) for moment in range(40_000, 90_000, 333)} == {0.1}


@given(STEPS, LOOKS)
def test_looking_changes_nothing(steps: list[tuple[int, float]], looks: list[int]) -> None:
    """The clock ticks 20 times a second live and once a bar in a replay: both must give the same mean."""
    ema, seldom = Ema(100.0, 0, 100.0), Ema(100.0, 0, 100.0)
    window, rarely = WindowMean(100.0, 0), WindowMean(100.0, 0)
    now = 0
    for elapsed, level in steps:
        for look in (look for look in sorted(looks) if now <= look < now + elapsed):
            ema.step(ema.level, look, HALF_LIFE)
            window.step(window.level, look, WINDOW)
            ema.at(look, HALF_LIFE)
            window.at(look, WINDOW)
        now += elapsed
        for mean in (ema, seldom):
            mean.step(level, now, HALF_LIFE)
        for held in (window, rarely):
            held.step(level, now, WINDOW)
    assert ema == seldom
    assert window == rarely
    assert ema.at(now + 700, HALF_LIFE) == seldom.at(now + 700, HALF_LIFE)


@given(STEPS, st.integers(0, 60_000))
def test_means_stay_among_the_levels_and_settle(steps: list[tuple[int, float]], later: int) -> None:
    """A mean beyond every price would be a price that never was."""
    ema, window, now, levels = Ema(100.0, 0, 100.0), WindowMean(100.0, 0), 0, [100.0]
    for elapsed, level in steps:
        now += elapsed
        levels.append(level)
        ema.step(level, now, HALF_LIFE)
        window.step(level, now, WINDOW)
    for found in (ema.at(now + later, HALF_LIFE), window.at(now + later, WINDOW)):
        assert min(levels) * (1 - 1e-9) <= found <= max(levels) * (1 + 1e-9)
    assert ema.at(ema.settles_ms(HALF_LIFE), HALF_LIFE) == levels[-1]
    assert window.at(window.settles_ms(WINDOW), WINDOW) == pytest.approx(levels[-1], rel=1e-12)
    assert len(window.parts) <= PARTS + 1
    assert Ema(*json.loads(json.dumps(ema.record()))) == ema
    assert WindowMean(*json.loads(json.dumps(window.record()))) == window
