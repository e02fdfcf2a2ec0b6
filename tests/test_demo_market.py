"""The seeded market."""

import numpy as np

from streams.demo.market import ASSETS, SOURCES, STABLES, market
from streams.replay.bars import Bars

CRASH_MIN = 0.25


def closes(bars: Bars, asset: str) -> np.ndarray:
    return np.array([bar.close for bar in bars.bars if bar.asset == asset and bar.source == SOURCES[0]])


def test_same_seed_gives_the_same_market() -> None:
    """A demo that cannot be repeated cannot be debugged."""
    assert market(7) == market(7)
    assert market(7) != market(8)


def test_market_crashes_in_the_middle_and_rebounds() -> None:
    """Without the fall nobody is called; without the rebound no short is."""
    for seed in range(5):
        bars = market(seed, count=60)
        for asset in ASSETS:
            lows = [bar.low for bar in bars.bars if bar.asset == asset and bar.source == SOURCES[0]]
            bottom = int(np.argmin(lows))
            assert 20 < bottom < 40
            assert lows[bottom] < closes(bars, asset)[0] * (1 - CRASH_MIN)
            assert closes(bars, asset)[bottom:].max() > lows[bottom] * 1.08


def test_assets_move_together_with_fat_tails() -> None:
    """Independent assets would let every hedged book survive anything."""
    bars = market(3, count=2000)
    moves = {asset: np.diff(np.log(closes(bars, asset))) for asset in ASSETS}
    together = np.corrcoef(np.array(list(moves.values())))
    assert together.min() > 0.3
    for change in moves.values():
        assert ((change - change.mean()) ** 4).mean() / change.var() ** 2 > 4


def test_stable_coins_stay_near_one() -> None:
    """The cash that settles everything must not be the crash."""
    for asset in STABLES:
        assert np.abs(closes(market(1), asset) - 1).max() < 0.01


def test_every_bar_is_one() -> None:
    """The walk trusts low <= open, close <= high."""
    for bar in market(2).bars:
        assert 0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
