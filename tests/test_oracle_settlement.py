"""Options that settle at a mean: what the oracle counts and tells, before and after the expiry, and what it doubts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.margin.black76 import settlement_forward, settlement_mean, values
from streams.oracle.legs import PRICE_MIN
from streams.oracle.marks import STALE
from streams.oracle.options import OptionMark
from streams.oracle.partition import OraclePartition
from streams.oracle.quotes import Quote
from streams.oracle.volatilities import YEAR_MS
from tests.test_oracle_option_marks import CALL, EXPIRY, row, surface

MINUTE = 60_000
WINDOW = 10 * MINUTE
ASIAN = CALL._replace(instrument="BTC-A", strike=100.0, window_ms=WINDOW)
OPENS = EXPIRY - WINDOW


def partition(*, age_ms: int = 10**9, told: bool = True, **terms: Any) -> OraclePartition:
    found = OraclePartition(0, 1, heartbeat_ms=1_000, quote_age_ms_max=age_ms, max_source_skew_ms=2_000)
    learn(found, told=told, **terms)
    return found


def learn(found: OraclePartition, *, told: bool = True, **terms: Any) -> None:
    found.dated([ASIAN._replace(**terms)])
    if told:
        found.volatilities([surface(time=EXPIRY - MINUTE)])


def quote(here: OraclePartition, minute: float, price: float) -> OptionMark | None:
    """A quote so many minutes after the window opens; the option as told then."""
    time = OPENS + round(minute * MINUTE)
    here.quotes([Quote("BTC", "a", price, 0.5, time)])
    options = row(here.due(time, None)).options
    return options[0] if options else None


MEANS = [
    # (minute, price)..., the mean
    ([(-1, 100.0)], 100.0),  # one price, long before
    ([(-1, 100.0), (4, 110.0), (8, 130.0)], 110.0),  # (4 x 100 + 4 x 110 + 2 x 130) / 10
    ([(-1, 90.0), (0, 100.0), (5, 120.0)], 110.0),  # what was told before it opens does not count
    ([(5, 120.0)], 120.0),  # half of the window is covered: just enough
    ([(-1, 50_000.1), (3, 50_000.1)], 50_000.1),  # not a rounding off
]


@pytest.mark.parametrize(("told", "mean"), MEANS)
@pytest.mark.parametrize("volatile", [True, False])
def test_the_settlement_price_is_the_mean_of_the_window(
    told: list[tuple[float, float]], mean: float, volatile: bool
) -> None:
    """A single trade at the expiry would decide what everybody pays; without a volatility it settles too."""
    here = partition(told=volatile)
    for minute, price in told:
        quote(here, minute, price)
    found = row(here.due(EXPIRY, None)).options
    assert found == (OptionMark("BTC-A", max(mean - 100.0, PRICE_MIN), False, 0.0, mean, 1.0),)
    # and no later price changes it
    settled = quote(here, 11, 999.0)
    assert settled == found[0]


def test_less_than_half_of_the_window_settles_nothing() -> None:
    """A mean of a minute is no mean: the option stands at the index, stale, until its price is stated."""
    here = partition()
    quote(here, 5.001, 120.0)
    (found,) = row(here.due(EXPIRY, None)).options
    assert (found.stale, found.forward, found.volatility > 0.0) == (True, 120.0, True)


def test_time_without_a_young_price_does_not_count() -> None:
    """Quotes end after 6 of 10 minutes, a minute is the age: the mean is of 0 to 7 alone, not of a price grown old."""
    here = partition(age_ms=MINUTE)
    for minute in range(-1, 7):
        quote(here, minute, 100.0 if minute < 6 else 170.0)
    assert row(here.due(OPENS + 7 * MINUTE + 1, None)).state == STALE
    # back a millisecond before the end, at a price that hardly counts: (6 x 100 + 170) / 7
    quote(here, 10 - 1 / MINUTE, 170.0)
    (found,) = row(here.due(EXPIRY, None)).options
    assert found.forward == pytest.approx(110.0, abs=1e-3)
    assert found.volatility == 0.0


def test_an_oracle_that_was_away_does_not_count_its_last_price_for_ever() -> None:
    """Killed in the window and back after the expiry, it has 2 + 1 minutes of 10: nothing settles."""
    here = partition(age_ms=MINUTE)
    quote(here, 0, 100.0)
    quote(here, 2, 100.0)
    back = partition(age_ms=MINUTE)
    back.restore(here.dirty())
    found = quote(back, 12, 100.0)
    assert found is not None
    assert found.stale


def test_half_way_a_half_is_settled() -> None:
    """5 minutes at 100, then the index at 120: the forward is 110, and what is left moves by a third of its time."""
    here = partition()
    quote(here, -1, 100.0)
    found = quote(here, 5, 120.0)
    forward, years = settlement_forward(120.0, 100.0, 5 * MINUTE / YEAR_MS, WINDOW / YEAR_MS)
    assert forward == 110.0
    expected = values(*(np.array([x]) for x in (1.0, forward, 100.0, years, 0.5, 1.0)))[0]
    assert found is not None
    assert (found.price, found.forward) == (expected, forward)


def test_before_the_window_its_mean_varies_less_than_its_end() -> None:
    """Two thirds of the window less of time; the forward is the index."""
    here, plain = partition(), partition(window_ms=0)
    of_mean, of_end = (quote(one, -60, 100.0) for one in (here, plain))
    assert of_mean is not None
    assert of_end is not None
    assert of_mean.forward == of_end.forward == 100.0
    assert of_mean.price < of_end.price


def test_options_without_a_window_keep_their_changelog() -> None:
    """Records of older releases are the same bytes."""
    here = partition(window_ms=0)
    quote(here, 1, 100.0)
    assert b"means" not in dict(here.dirty())[b"symbol:BTC"]


PATHS = st.lists(st.tuples(st.integers(1, 200_000), st.integers(1, 10**7)), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(path=PATHS, kills=st.lists(st.integers(0, 12), max_size=3), asked=st.lists(st.integers(0, 900_000), max_size=5))
def test_mean_is_that_of_what_was_told_however_often_asked_and_restarted(
    path: list[tuple[int, int]], kills: list[int], asked: list[int]
) -> None:
    """Two oracles that told the same prices, one of them killed and asked in between, settle at the same bits."""
    calm, other = partition(), partition()
    time, told, log = OPENS - 2 * MINUTE, [], dict[bytes, bytes]()
    for at, (wait, price) in enumerate([(0, 5_000), *path]):
        time += wait
        if time >= EXPIRY:
            break
        told.append((time, price / 100.0))
        for here in (calm, other):
            here.quotes([Quote("BTC", "a", price / 100.0, 0.5, time)])
            here.due(time, None)
        log |= dict(other.dirty())
        if at in kills:
            other = partition()
            other.restore(log.items())
    for wait in sorted(asked):
        if time + wait < EXPIRY:
            other.due(time + wait, None)
    ends = [row(here.due(EXPIRY, None)).options for here in (calm, other)]
    assert ends[0] == ends[1]
    times, prices = np.array([t for t, _ in told], dtype=float), np.array([p for _, p in told])
    assert ends[0][0].forward == pytest.approx(settlement_mean(times, prices, OPENS, EXPIRY), rel=1e-12)
