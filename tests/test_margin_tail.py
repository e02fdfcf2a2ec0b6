"""Value at risk, expected shortfall, filtered history, correlation and buffers: worked cases and bounds.

If one of these failed, a requirement would cover fewer days than it says.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.margin.correlation import eigen, ewma_correlation, low_and_high, made_valid, shrunk, stressed
from streams.margin.elementary import exp
from streams.margin.history import (
    TailRules,
    curve_requirement,
    ewma_variance,
    factor_moves,
    linear_requirement,
    standardised,
    tail_requirement,
)
from streams.margin.procyclicality import buffered, floored_volatility, limited_fall, liquidity_horizon
from streams.margin.risk_parameters import margined_moves
from streams.margin.screens import cornish_fisher, delta_normal, quadratic_loss, threshold_moves
from streams.margin.tail import (
    expected_shortfall,
    normal_tail,
    quantile_of,
    student_tail,
    tail_size,
    value_at_risk,
    worst_of,
)

CASES = {
    case["id"]: case for case in json.loads((Path(__file__).parent / "reference" / "option_cases.json").read_text())
}


def worst(losses: np.ndarray, level: float) -> np.ndarray:
    found = np.empty(tail_size(len(losses), level))
    worst_of(losses, found)
    return found


def test_quantile_rules() -> None:
    """V4: three rules give three numbers; ours are type 7 for value at risk and exact mass for the shortfall."""
    case = CASES["V4"]
    returns, level = np.array(case["inputs"]["sorted_returns"]), case["inputs"]["alpha"]
    losses = -returns
    wanted = case["expected"]
    for rule in ("type7", "lower", "kth"):
        assert -quantile_of(returns, round(1.0 - level, 12), rule) == pytest.approx(wanted[rule], rel=1e-12)
    tail = worst(losses, level)
    assert value_at_risk(tail, len(losses), level) == pytest.approx(wanted["type7"], rel=1e-12)
    assert expected_shortfall(tail, len(losses), level) == pytest.approx(wanted["es"], rel=1e-12)


@given(
    losses=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60).map(np.array),
    level=st.sampled_from([0.0, 0.5, 0.9, 0.975, 0.99, 0.999]),
)
def test_the_worst_few_are_enough(losses: np.ndarray, level: float) -> None:
    """The kernel's measures of the largest few are those of the whole sorted sample."""
    tail = worst(losses, level)
    assert value_at_risk(tail, len(losses), level) == pytest.approx(np.quantile(losses, level), rel=1e-9, abs=1e-6)
    assert tail.tolist() == np.sort(losses)[::-1][: len(tail)].tolist()
    if level:
        shortfall = expected_shortfall(tail, len(losses), level)
        assert np.mean(losses) - 1e-6 <= shortfall <= losses.max() + 1e-6


def test_filtered_history() -> None:
    """V3: each return by the volatility before it, at the volatility of now."""
    given_, wanted = CASES["V3"]["inputs"], CASES["V3"]["expected"]
    returns, start, level = np.array(given_["returns"]), given_["init"], given_["alpha"]
    variance, z = np.empty(len(returns) + 1), np.empty(len(returns) - start)
    ewma_variance(returns, given_["lam"], start, variance)
    standardised(returns, variance, start, 1e-12, z)
    now = math.sqrt(variance[-1])
    assert now == pytest.approx(wanted["sigma_next"], rel=1e-12)
    quantile = -quantile_of(-z, level)
    assert quantile == pytest.approx(wanted["z_quantile"], rel=1e-12)
    assert -quantile * now == pytest.approx(wanted["fhs_var"], rel=1e-12)
    # the case takes the mean at and beyond the quantile; the kernel the exact 5 %
    assert -z[z <= quantile].mean() * now == pytest.approx(wanted["fhs_es"], rel=1e-12)
    assert quantile_of(-returns[start:], level) == pytest.approx(wanted["hs_var"], rel=1e-9)
    rules = TailRules(level, level, given_["lam"], start, 1.0)
    ordered = np.sort(-z)[::-1] * now
    # 2.5 of 50
    exact = (ordered[0] + ordered[1] + 0.5 * ordered[2]) / 2.5
    found = linear_requirement(np.ones(1), returns[:, None], rules, np.empty((3, len(returns) + 1)))
    assert found == pytest.approx(max(wanted["fhs_var"], exact), rel=1e-12)
    assert linear_requirement(np.zeros(1), returns[:, None], rules, np.empty((3, len(returns) + 1))) == 0.0
    short = returns[:start, None].copy()
    assert linear_requirement(np.ones(1), short, rules, np.empty((3, start + 1))) == 0.0


def test_a_line_is_its_own_curve() -> None:
    """A linear book costs the same along its profit curve as by its delta, past the ends of the curve too."""
    draw = np.random.default_rng(8)
    z = draw.standard_t(4.0, (500, 2))
    moves = np.empty_like(z)
    factor_moves(z, np.array([0.03, 0.05]), moves)
    assert moves[3, 1] == exp(z[3, 1] * 0.05) - 1.0
    points = np.linspace(-0.1, 0.1, 9)
    delta = np.array([100.0, -40.0])
    rules = TailRules(0.99, 0.975, 0.97, 50, 1.0)
    found = curve_requirement(delta[:, None] * points, -0.1, 0.025, moves, rules, np.empty(500))
    losses = -(moves[:, 0] * delta[0] + moves[:, 1] * delta[1])
    ordered = np.sort(losses)[::-1]
    shortfall = (ordered[:12].sum() + 0.5 * ordered[12]) / 12.5
    assert found == pytest.approx(max(np.quantile(losses, 0.99), shortfall), rel=1e-12)


def test_a_sold_curve_is_never_better_by_lines() -> None:
    """Between points a loss of sold gamma is overstated, by at most gamma step^2 / 8."""
    z = np.linspace(-3.0, 3.0, 401)[:, None]
    moves = np.empty_like(z)
    factor_moves(z, np.array([0.03]), moves)
    points, step = np.linspace(-0.2, 0.2, 17), 0.025
    curve = -0.5 * 1_000.0 * points**2
    rules = TailRules(0.9, 0.5, 0.97, 1, 1.0)
    exact = tail_requirement(0.5 * 1_000.0 * moves[:, 0] ** 2, rules)
    found = curve_requirement(curve[None, :], -0.2, step, moves, rules, np.empty(401))
    assert exact <= found <= exact + 1_000.0 * step * step / 8.0


@pytest.mark.parametrize("after", [1, 20, 400])
def test_a_leap_out_of_sleep_counts_as_one_leap(after: int) -> None:
    """A pegged coin that moved by 2 % once in 1,000 hours: by the filter alone that was thousands of volatilities, and
    would be charged as such. With a floor of a half of the window's, 23.75 losses are its tail, of which one is known:
    (2 % / floor) x volatility of now / 23.75, with all units of it alike."""
    rules = TailRules(0.99, 0.975, 0.97, 50, 1.0, 0.5)
    returns = np.zeros((1000, 1))
    returns[-after, 0] = -0.02
    floor = 0.5 * 0.02 / math.sqrt(1000)
    now = max(0.02 * math.sqrt(0.03 * 0.97 ** (after - 1)), floor)
    found = linear_requirement(np.ones(1), returns, rules, np.empty((3, 1001)))
    assert found == pytest.approx(0.02 / floor * now / 23.75)
    assert found < 0.02
    (move,) = {move for move in margined_moves(returns, np.array([now]), rules)[:, 0].tolist() if move}
    assert move == pytest.approx(math.exp(math.log(0.98) / floor * now) - 1.0)


def test_the_larger_of_the_two_measures() -> None:
    """Twelve of a thousand lose 100: the 99 % quantile is 100, the mean of the worst 25 is 48. One loses 1,000: the
    quantile is 0, the mean 40. All gain: 0."""
    rules = TailRules(0.99, 0.975, 0.97, 10, 1.0)
    for lost, count, wanted in ((100.0, 12, 100.0), (1_000.0, 1, 40.0), (-5.0, 1_000, 0.0)):
        losses = np.zeros(1_000)
        losses[:count] = lost
        assert tail_requirement(losses, rules) == pytest.approx(wanted)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_not_the_least_one(bad: float) -> None:
    """Wherever it stands, also where enough others fill the tail: who knows what is lost then?"""
    rules = TailRules(0.99, 0.975, 0.97, 10, 1.0)
    for at in (0, 150, 299):
        losses = np.linspace(-1.0, 1.0, 300)
        losses[at] = bad
        assert math.isnan(tail_requirement(losses, rules))


def test_gains_too_large_for_a_variance_are_no_number() -> None:
    rules = TailRules(0.99, 0.975, 0.97, 10, 1.0)
    returns = np.full((100, 1), 0.01)
    for leap in (1e160, math.inf, math.nan):
        returns[70, 0] = leap
        room = np.empty((3, 101))
        assert math.isnan(linear_requirement(np.ones(1), returns, rules, room))
    assert linear_requirement(np.ones(1), np.full((100, 1), -0.01), rules, np.empty((3, 101))) > 0.0


@pytest.mark.parametrize("move", [1e18, 1e19, 1e30, 1e300])
def test_a_curve_goes_on_beyond_its_end_however_far(move: float) -> None:
    """A call sold: the last piece falls, the first is flat."""
    rules = TailRules(0.99, 0.975, 0.97, 1, 1.0)
    points = -0.6 + 0.025 * np.arange(49)
    curve = -np.maximum(points, 0.0)[None, :]
    moves = np.full((200, 1), 0.01)
    moves[100:, 0] = move
    found = curve_requirement(curve, -0.6, 0.025, moves, rules, np.empty(200))
    assert found == pytest.approx(move, rel=1e-9)


def test_textbook_tails() -> None:
    """V6, V1 and V2: normal and Student tails, delta-normal and the quadratic by Cornish and Fisher."""
    wanted = CASES["V6"]["expected"]
    assert normal_tail(0.99)[0] == pytest.approx(wanted["norm_var99"], rel=1e-12)
    assert normal_tail(0.975)[1] == pytest.approx(wanted["norm_es975"], rel=1e-12)
    degrees = float(CASES["V6"]["inputs"]["nu"])
    assert student_tail(0.99, degrees)[0] == pytest.approx(wanted["t_var99"], rel=1e-11)
    assert student_tail(0.975, degrees)[1] == pytest.approx(wanted["t_es975"], rel=1e-11)
    assert student_tail(0.99, 1e7)[0] == pytest.approx(wanted["norm_var99"], rel=1e-6)
    with pytest.raises(ValueError, match="must be > 2"):
        student_tail(0.99, 2.0)
    given_, wanted = CASES["V1"]["inputs"], CASES["V1"]["expected"]
    columns = [np.array(given_[name]) for name in ("exposure", "sigma", "corr")]
    var, shortfall, component = delta_normal(*columns, given_["alpha"])
    assert (var, shortfall) == pytest.approx((wanted["var"], wanted["es"]), rel=1e-12)
    assert component == pytest.approx(wanted["component"], rel=1e-12)
    given_, wanted = CASES["V2"]["inputs"], CASES["V2"]["expected"]
    delta, gamma, covariance = (np.array(given_[name]) for name in ("delta", "gamma", "cov"))
    assert cornish_fisher(delta, gamma, covariance, given_["alpha"]) == pytest.approx(wanted["VaR"], rel=1e-12)
    z = normal_tail(given_["alpha"])[0]
    assert z * math.sqrt(delta @ covariance @ delta) == pytest.approx(wanted["VaR_delta_only"], rel=1e-12)


def test_distance_to_threshold() -> None:
    """L5: how far the price may move before equity by delta and gamma meets the requirement."""
    given_, wanted = CASES["L5"]["inputs"], CASES["L5"]["expected"]
    down, up = threshold_moves(given_["equity"], given_["mm"], given_["delta"], given_["gamma"])
    assert (down, up) == pytest.approx((wanted["down"], wanted["up"]), rel=1e-12)
    assert min(-down, up) == pytest.approx(wanted["distance"], rel=1e-12)
    assert quadratic_loss(given_["delta"], given_["gamma"], 0.0, 0.16, 0.0) == pytest.approx(-wanted["worst_16"])


@given(slack=st.floats(-1e5, 1e5), delta=st.floats(-1e6, 1e6), gamma=st.one_of(st.just(0.0), st.floats(-1e7, 1e7)))
def test_moves_reach_the_threshold(slack: float, delta: float, gamma: float) -> None:
    """Where a distance is given, equity there is the requirement; where none is, it never gets there near by."""
    down, up = threshold_moves(slack, 0.0, delta, gamma)
    assert down <= 0.0 <= up
    for move in (down, up):
        if math.isfinite(move) and abs(move) < 1e3:
            size = abs(slack) + abs(delta * move) + abs(gamma * move * move)
            assert abs(slack + delta * move + 0.5 * gamma * move * move) <= 1e-9 * size + 1e-9


def test_horizon_and_buffers() -> None:
    """V7, V9: liquidity horizons add in squares; margin uses its buffer up before it rises."""
    assert liquidity_horizon([100.0], [1.0]) == 100.0
    assert liquidity_horizon([100.0, 100.0], [1.0, 4.0]) == pytest.approx(200.0), "root time for what takes four days"
    with pytest.raises(ValueError, match="must ascend"):
        liquidity_horizon([1.0, 1.0], [2.0, 2.0])
    assert buffered(np.array([100.0, 130.0, 125.0, 90.0])).tolist() == [125.0, 130.0, 130.0, 112.5]
    assert (floored_volatility(0.2, 0.6), floored_volatility(0.4, 0.6)) == (0.3, 0.4)
    assert limited_fall(100.0, 99.0) == 99.0


@given(required=st.lists(st.floats(1.0, 1e3), min_size=1, max_size=30))
def test_buffered_margin_covers(required: list[float]) -> None:
    """Margin is at least the requirement, at most a quarter more, and moves only when it must."""
    margin = buffered(np.array(required))
    for t, value in enumerate(required):
        assert value <= margin[t] <= 1.25 * value
        if t and value <= margin[t - 1] <= 1.25 * value:
            assert margin[t] == margin[t - 1]


def test_correlation_counts_the_newest_most() -> None:
    """Two periods, decay a half: covariances (x + 2 y) / 4 by hand; what never moved is uncorrelated."""
    returns = np.array([[1.0, 1.0, 0.0], [1.0, -1.0, 0.0]])
    found = ewma_correlation(returns, 0.5)
    # variances 0.75, covariance 0.5 x 0.5 - 0.5 = -0.25
    assert found == pytest.approx(np.array([[1.0, -1.0 / 3.0, 0.0], [-1.0 / 3.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    assert shrunk(found, 1.0)[0, 1] == pytest.approx(-1.0 / 9.0)
    assert shrunk(np.eye(1), 0.3).tolist() == [[1.0]]


@given(seed=st.integers(0, 10_000), n=st.integers(1, 8))
def test_any_matrix_is_made_valid(seed: int, n: int) -> None:
    """Whatever stress did to the pairs, the result is a correlation: no book has negative variance under it."""
    draw = np.random.default_rng(seed)
    loose = draw.uniform(-1.0, 1.0, (n, n))
    loose = np.tril(loose, -1) + np.tril(loose, -1).T + np.eye(n)
    values, vectors = eigen(loose)
    assert np.sort(values) == pytest.approx(np.linalg.eigvalsh(loose), abs=1e-12)
    assert vectors @ np.diag(values) @ vectors.T == pytest.approx(loose, abs=1e-12)
    for found in (made_valid(loose, 1e-8), stressed(loose, 0.5), *low_and_high(loose, fall=0.3, rise=0.5)):
        assert np.diag(found).tolist() == [1.0] * n
        assert np.linalg.eigvalsh(found).min() > -1e-12
        assert np.abs(found).max() <= 1.0 + 1e-12
    sound = np.full((n, n), 0.5) + 0.5 * np.eye(n)
    assert made_valid(sound, 1e-8).tolist() == sound.tolist(), "a valid matrix is left alone, to the bit"
