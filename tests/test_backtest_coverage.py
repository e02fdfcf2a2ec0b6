"""Tests of breaches: published numbers, numbers by hand, and what they must say of a right and a wrong requirement."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.backtest.coverage import conditional, independence, joint, pinball, unconditional
from tests.tables import Row, rows

KUPIEC = rows("""
case                           | breaches | count | level | statistic | p
risk paper, 5 of 250           | 5        | 250   | 0.99  | 1.957     | 0.162
# 2 (245 ln(0.98 / 0.99) + 5 ln(0.02 / 0.01))
Jorion, J.P. Morgan in 1998    | 20       | 252   | 0.95  | 3.913     | 0.048
# Value at Risk, 3rd edition, 6.2: 3.91, more than 3.84
as many as are due             | 10       | 1000  | 0.99  | 0.000     | 1.000
none                           | 0        | 250   | 0.99  | 5.025     | 0.025
# -2 x 250 ln 0.99
every one                      | 3        | 3     | 0.99  | 27.631    | 0.000
# -2 x 3 ln 0.01
no period                      | 0        | 0     | 0.99  | 0.000     | 1.000
""")


@pytest.mark.parametrize("row", KUPIEC)
def test_kupiec(row: Row) -> None:
    """A requirement that is passed too often, or that takes too much, is found out at the published strength."""
    found = unconditional(int(row["breaches"] or 0), int(row["count"] or 0), float(row["level"] or 0))
    assert found.statistic == pytest.approx(float(row["statistic"] or 0), abs=6e-4)
    assert found.p == pytest.approx(float(row["p"] or 0), abs=6e-4)


def pattern(none: int, first: int, last: int, both: int) -> np.ndarray:
    """Breaches with so many changes from nothing to nothing, to a breach, back, and from breach to breach."""
    assert first == last
    runs = [1 + both, *(1 for _ in range(first - 1))]
    quiet = [1 + none, *(1 for _ in range(last))]
    quiet[-1] = 1
    series = [False] * quiet[0]
    for run, rest in zip(runs, quiet[1:], strict=True):
        series += [True] * run + [False] * rest
    return np.array(series)


def test_christoffersen_as_published() -> None:
    """Jorion, 6.2: of 20 exceptions in 252 days 6 followed another. Independence 9.53, conditional 3.91 + 9.53."""
    breached = pattern(218, 14, 14, 6)
    changes = 2 * breached[:-1].astype(int) + breached[1:]
    assert np.bincount(changes).tolist() == [218, 14, 14, 6]
    assert independence(breached).statistic == pytest.approx(9.5296, abs=1e-4)
    assert independence(breached).p == pytest.approx(0.00202, abs=1e-5)
    # the first day is of no change: 253 days, 20 breaches
    both = conditional(breached, 0.95)
    assert both.statistic == pytest.approx(unconditional(20, 253, 0.95).statistic + 9.5296, abs=1e-4)
    assert both.p == pytest.approx(math.exp(-both.statistic / 2.0))


def test_independence_by_hand() -> None:
    """Breaches 0 0 1 1: changes 1, 1, 0, 1. ln: apart 2 ln 0.5 + 0, together 1 ln(1/3) + 2 ln(2/3)."""
    found = independence(np.array([False, False, True, True]))
    wanted = 2.0 * (2.0 * math.log(0.5) - (math.log(1.0 / 3.0) + 2.0 * math.log(2.0 / 3.0)))
    assert found.statistic == pytest.approx(wanted)
    for alone in ([], [True], [False, False, False], [True, True, True]):
        assert independence(np.array(alone, dtype=bool)) == (0.0, 1.0)


def test_breaches_in_a_row_are_told_from_breaches_apart() -> None:
    """The same ten breaches of a thousand: in one run the requirement did not react, every hundredth it did."""
    run, apart = np.zeros(1000, dtype=bool), np.zeros(1000, dtype=bool)
    run[500:510] = apart[50::100] = True
    assert independence(run).p < 1e-9
    assert independence(apart).p > 0.5
    assert conditional(run, 0.99).p < 1e-9 < conditional(apart, 0.99).p


@given(breached=st.lists(st.booleans(), max_size=60).map(lambda one: np.array(one, dtype=bool)))
def test_p_values_are_probabilities(breached: np.ndarray) -> None:
    """Whatever came, no test fails on it: neither few periods nor none."""
    for found in (unconditional(int(breached.sum()), len(breached), 0.99), independence(breached),
                  conditional(breached, 0.99)):  # fmt: skip
        assert found.statistic >= 0.0
        assert 0.0 <= found.p <= 1.0


def test_joint_p_values() -> None:
    """Half of the phases must agree: twice the middle one; one phase stands for itself."""
    assert joint([0.3]) == 0.3
    assert joint([0.01, 0.03, 0.5, 0.9]) == pytest.approx(0.06)
    assert joint([0.9, 0.001]) == pytest.approx(0.002)


def test_pinball_is_least_at_the_quantile() -> None:
    """The right requirement scores better than one too low and one too high: breaches cost 99, slack 1."""
    loss = np.arange(1.0, 1001.0)
    scores = [pinball(loss, np.full(1000, level), 0.99) for level in (970.0, 990.0, 999.5)]
    assert scores[1] == min(scores)
    # ten breaches of 1 to 10 above 990, and 0.01 x the mean of what was left over
    assert scores[1] == pytest.approx((0.99 * 55 + 0.01 * sum(range(990))) / 1000)
