"""exp, log and the normal distribution: right to the last digits, and the same bits wherever they run.

If one of these failed, two workers could value one book differently, or a far option would be worth nothing.
"""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.margin import elementary
from streams.margin.elementary import exp, log, mills, normal, normal_quantile, power

ROOT_TWO_PI = Decimal("2.506628274631000502415765284811045253006986740609938316629924")
RELATIVE = Decimal("4e-16")


def exact_tail(x: float) -> Decimal:
    """1 - N(x) for x >= 0, to 30 digits: the series around 0, past 2 the continued fraction."""
    with localcontext() as context:
        context.prec = 60
        point = Decimal(x)
        density = (-point * point / 2).exp() / ROOT_TWO_PI
        if x < 2:
            term = total = point
            for n in range(3, 121, 2):
                term = term * point * point / n
                total += term
            return Decimal("0.5") - density * total
        fraction = point
        for level in range(400, 0, -1):
            fraction = point + level / fraction
        return density / fraction


def off(found: float, exact: Decimal) -> Decimal:
    return abs(Decimal(found) - exact) / abs(exact)


ARGUMENTS = np.concatenate([np.linspace(-745.0, 709.7, 400), np.linspace(-1.5, 1.5, 400), [1e-300, 0.0, -0.0, 5e-324]])
POSITIVE = np.concatenate([np.logspace(-320, 308, 400), np.linspace(0.5, 2.0, 401), [5e-324, 1.7976931348623157e308]])
POINTS = np.concatenate([np.linspace(0.0, 38.4, 401), np.array([1e-17, 0.0625, 0.06250001, 37.9])])


def test_exp_and_log_are_right() -> None:
    """To 4e-16 of themselves (log near 1 too), down to where a result is no longer a normal number."""
    for x in ARGUMENTS:
        if x > -708.0:
            assert off(exp(x), Decimal(float(x)).exp()) < RELATIVE, x
        else:
            assert abs(Decimal(exp(x)) - Decimal(float(x)).exp()) < Decimal("6e-324"), x
    for x in POSITIVE:
        exact = Decimal(float(x)).ln()
        assert (off(log(x), exact) < RELATIVE) if exact else log(x) == 0.0, x


def test_the_tail_is_right() -> None:
    """A probability keeps its digits however small it is: N(-37) as much as N(0)."""
    for x in POINTS:
        below, above, _ = normal(x)
        if x < 37.5:
            assert off(above, exact_tail(x)) < 2 * RELATIVE, x
        assert below + above == 1.0
        assert x == 0.0 or normal(-x)[:2] == (above, below)


LIMITS = [
    (exp, (709.79,), math.inf),
    (exp, (-745.2,), 0.0),
    (exp, (-math.inf,), 0.0),
    (exp, (math.inf,), math.inf),
    (log, (0.0,), -math.inf),
    (log, (math.inf,), math.inf),
    (log, (1.0,), 0.0),
    (power, (2.0, 10.0), 1024.0),
    (normal, (math.inf,), (1.0, 0.0, 0.0)),
    (normal, (-math.inf,), (0.0, 1.0, 0.0)),
    (normal, (38.7,), (1.0, 0.0, 0.0)),
    (normal_quantile, (0.5,), 0.0),
]


@pytest.mark.parametrize(
    ("function", "arguments", "wanted"), LIMITS, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_limits(function, arguments, wanted) -> None:
    """Past the range of float64 there is a limit, never an exception or a nan."""
    assert function(*arguments) == pytest.approx(wanted, rel=1e-15)


def test_what_is_no_number_stays_none() -> None:
    """A missing price must not become one."""
    for function in (exp, log, normal_quantile):
        assert math.isnan(function(math.nan))
    assert math.isnan(log(-1.0))
    assert all(math.isnan(part) for part in normal(math.nan))


def test_compiled_code_does_what_is_written() -> None:
    """Python does each operation by itself, IEEE rounded: a fused or reordered one in compiled code would differ."""
    for x in ARGUMENTS:
        assert exp(x) == exp.py_func(float(x))
    for x in POSITIVE:
        assert log(x) == log.py_func(float(x))
    for x in POINTS:
        assert mills(x) == mills.py_func(float(x))


@given(st.floats(min_value=1e-300, max_value=1.0, exclude_max=True))
def test_the_quantile_inverts_the_probability(probability: float) -> None:
    """A confidence level means the same loss whichever way it is looked up."""
    x = normal_quantile(probability)
    below, above, density = normal(x)
    near = below if probability <= 0.5 else above
    wanted = probability if probability <= 0.5 else 1.0 - probability
    # the quantile itself is rounded: that moves the probability by density x rounding
    assert abs(near - wanted) <= 1e-14 * wanted + 2.0 * density * math.ulp(x) + 1e-323


def test_the_tables_start_where_they_should() -> None:
    """Stepped down from 38 the ratio arrives at sqrt(pi / 2): all nodes on the way are right."""
    assert elementary.MILLS[0, -1] == float(ROOT_TWO_PI / 2)
    assert elementary.DENSITY[0] == float(1 / ROOT_TWO_PI)
