"""The walk forward: by hand, against the slow way, and with another future."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.backtest.coverage import independence, joint, unconditional
from streams.backtest.panel import BacktestError, Panel
from streams.backtest.results import results, row
from streams.backtest.walk import DELTA_NORMAL, FILTERED, HISTORICAL, MODELS, REQUIREMENT, Rules, losses, required
from streams.margin.correlation import ewma_correlation
from streams.margin.history import TailRules, ewma_variance, linear_requirement, tail_requirement
from streams.margin.procyclicality import buffered
from streams.margin.screens import delta_normal

TAIL = TailRules(0.99, 0.975, 0.97, 10, 1.0)
BOOK = np.array([1.0, -0.5])


def prices(seed: int, count: int, assets: int = 2, scale: float = 0.01) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return 100.0 * np.exp(np.cumsum(scale * draw.standard_t(4.0, (count, assets)), axis=0))


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), at=st.integers(45, 119), period=st.sampled_from([1, 3]))
def test_no_look_ahead(seed: int, at: int, period: int) -> None:
    """Another future changes nothing up to now, to the bit, and what is required after it."""
    price, rules = prices(seed, 120), Rules(TAIL, 12, 0.25)
    other = price.copy()
    other[at:] *= np.array([0.5, 1.7])
    before, after = required(BOOK, price, period, rules), required(BOOK, other, period, rules)
    assert before[:, :at].tobytes() == after[:, :at].tobytes()
    assert np.isnan(before[:, : 12 * period]).all()
    assert (before[:, at] != after[:, at]).all(), "the row itself is known at its own time"


def test_each_model_is_its_textbook() -> None:
    """At one time: the quantile of the past, the covariance matrix of EWMA, and the engine's own function."""
    price, window = prices(3, 80), 60
    found = required(BOOK, price, 1, Rules(TAIL._replace(scale=2.0), window, 0.0))
    known = (price[1:] / price[:-1] - 1.0)[72 - window : 72]
    gains = known @ BOOK
    assert found[HISTORICAL, 72] == pytest.approx(2.0 * np.quantile(-gains, 0.99), rel=1e-12)
    room = np.empty((3, window + 1))
    wanted = linear_requirement(BOOK, known, TAIL._replace(scale=2.0), room)
    assert found[REQUIREMENT, 72] == pytest.approx(wanted, rel=1e-15)
    assert found[FILTERED, 72] == pytest.approx(2.0 * np.quantile(room[2, : window - 10], 0.99), rel=1e-12)
    # without a start of its own the EWMA of products is the EWMA of the book's squares
    sigma = np.empty(2)
    late = np.vstack([np.zeros((10, 2)), known])
    for k in range(2):
        variance = np.empty(len(late) + 1)
        ewma_variance(late[:, k].copy(), 0.97, 10, variance)
        sigma[k] = math.sqrt(variance[-1])
    variance = np.empty(len(late) + 1)
    ewma_variance(late @ BOOK, 0.97, 10, variance)
    value, _, _ = delta_normal(BOOK, sigma, ewma_correlation(known, 0.97), 0.99)
    assert 2.326347874 * math.sqrt(variance[-1]) == pytest.approx(value, rel=1e-9)
    assert found[DELTA_NORMAL, 72] == pytest.approx(2.0 * 2.326347874 * math.sqrt(room[1, window]), rel=1e-9)


def test_floor_and_buffer() -> None:
    """A book of one asset: the buffered requirement is that of the volatility; quiet weeks do not empty it."""
    price = prices(5, 200, 1)
    tail = TAIL._replace(decay=0.8)
    price[100:] = price[100] * np.exp(1e-5 * np.arange(100.0) % 3e-5)[:, None]
    plain, kept, floored = (
        required(np.ones(1), price, 1, Rules(tail._replace(floor=floor), 50, buffer))[REQUIREMENT, 50:]
        for floor, buffer in ((0.0, 0.0), (0.0, 0.25), (0.5, 0.0))
    )
    assert (plain <= kept * (1.0 + 1e-12)).all()
    assert (kept <= 1.25 * plain * (1.0 + 1e-12)).all()
    assert kept[0] == pytest.approx(1.25 * plain[0], rel=1e-12)
    volatility = np.empty(150)
    for t in range(150):
        known = (price[1:, 0] / price[:-1, 0] - 1.0)[t : t + 50]
        variance = np.empty(51)
        ewma_variance(known, 0.8, 10, variance)
        volatility[t] = math.sqrt(variance[50])
        if t in (0, 75, 80):
            least = 0.5 * math.sqrt(np.mean(known**2))
            z = known[10:] / np.maximum(np.sqrt(variance[10:50]), least)
            wanted = tail_requirement(-z * max(volatility[t], least), tail)
            assert floored[t] == pytest.approx(wanted, rel=1e-9)
    assert kept / plain == pytest.approx(buffered(volatility) / volatility, rel=1e-9)
    assert floored[75] > 1.1 * plain[75]


def test_losses_by_hand() -> None:
    """100 -> 90 -> 110 -> 99, long 1: over two rows it ends at +10 %, was at -10 %; short the other way round."""
    price = np.array([[100.0], [90.0], [110.0], [99.0]])
    found = losses(np.ones(1), price, 2)
    assert found.end == pytest.approx([-0.1, -0.1])
    assert found.worst == pytest.approx([0.1, -0.1])
    short = losses(-np.ones(1), price, 2)
    assert short.end == pytest.approx([0.1, 0.1])
    assert short.worst == pytest.approx([0.1, 2.0 / 9.0])


def panel(price: np.ndarray) -> Panel:
    return Panel(3_600_000 * np.arange(len(price)), 3_600_000, ("A", "B"), price)


def test_a_period_is_a_market_of_its_own() -> None:
    """Every third hour of an hourly market is a three-hourly one: phase by phase the same to the bit."""
    price, rules = prices(9, 200), Rules(TAIL, 40, 0.25)
    found = required(BOOK, price, 3, rules)
    for phase in range(3):
        alone = required(BOOK, np.ascontiguousarray(price[phase::3]), 1, rules)
        assert found[:, phase::3].tobytes() == alone.tobytes()


def test_coverage_of_a_market_as_the_model_has_it() -> None:
    """Normal returns of one volatility: 1.1 % of hours pass the filtered quantile, as they should."""
    draw = np.random.default_rng(4)
    move = 0.01 * draw.standard_normal((8_000, 1))
    book = {"A": {"A": 1.0}}
    rules = Rules(TAIL._replace(warm_up=50), 1000, 0.25)
    calm = panel(np.hstack([100.0 * np.exp(np.cumsum(move, axis=0))] * 2))
    (found,) = results(calm, book, [1], None, rules)
    told = [row(found, model, 0.99) for model in range(len(MODELS))]
    assert [line["model"] for line in told] == list(MODELS)
    # the quantile of 950 past draws is passed by (950 - 0.99 x 949) / 951 of the next
    assert told[FILTERED]["breaches"] == pytest.approx(0.01103, abs=2.5e-3)
    assert min(told[FILTERED][name] for name in ("kupiec_p", "independence_p", "conditional_p")) > 0.05
    assert told[REQUIREMENT]["breaches"] < told[FILTERED]["breaches"]
    assert all(line["inside_breaches"] == line["breaches"] for line in told), "one row: its end is all there is"
    factor = told[HISTORICAL]["inside_factor"]
    lifted = found.required[HISTORICAL] * factor
    assert (found.lost.worst > lifted).mean() == pytest.approx(0.01, abs=3e-4)
    # an inside that a fall and a rise hide: every horizon of two rows ends where it began
    wave = np.tile([[100.0, 1.0], [90.0, 1.0]], (300, 1)) + 0.01 * draw.random((600, 2))
    (hidden,) = results(panel(wave), book, [2], None, rules._replace(window=100))
    line = row(hidden, FILTERED, 0.99)
    assert line["breaches"] < 0.1
    assert line["inside_breaches"] > 0.4


def test_what_cannot_be_tested() -> None:
    """Too little history, or a horizon that is no whole periods: said, with what it takes."""
    rules = Rules(TAIL, 50, 0.25)
    with pytest.raises(BacktestError, match=r"must have 212 rows .* found 200 \(both\)"):
        list(results(panel(prices(1, 200)), {"both": {"A": 1.0, "B": -1.0}}, [4], None, rules))
    with pytest.raises(BacktestError, match="must be whole periods of 3 rows, found 4 rows"):
        list(results(panel(prices(1, 200)), {"both": {"A": 1.0}}, [4], 3, rules))


def test_overlapping_horizons_are_no_clusters() -> None:
    """Independent hours held for eight: breaches of neighbours share seven hours, those of a phase nothing."""
    draw = np.random.default_rng(11)
    move = 0.01 * draw.standard_normal((9_000, 1))
    (found,) = results(
        panel(np.hstack([100.0 * np.exp(np.cumsum(move, axis=0))] * 2)),
        {"A": {"A": 1.0}},
        [8],
        1,
        Rules(TAIL._replace(warm_up=50), 1000, 0.25),
    )
    breached = found.lost.end > found.required[HISTORICAL]
    assert independence(breached).p < 1e-9, "counted from hour to hour they seem to come in clusters"
    told = row(found, HISTORICAL, 0.99)
    assert told["independence_p"] > 0.05
    assert told["periods_a_phase"] == len(breached) // 8
    assert told["kupiec_p"] == joint([unconditional(int(one.sum()), len(one), 0.99).p for one in phases(breached)])


def phases(breached: np.ndarray) -> list[np.ndarray]:
    return [np.array([breached[at] for at in range(phase, len(breached), 8)]) for phase in range(8)]
