"""exp, log and the normal distribution from + - x / alone, so that every machine gets the same bits.

The C library chooses its instructions by processor: told to do without fused multiply-add, its exp, log and erf,
and NumPy's, give other last bits. A margin that one worker decides and another replays must not. IEEE arithmetic in
a fixed order is the same everywhere, and the tables are derived when the module is loaded, in decimal arithmetic,
whose rounding is defined too. Relative errors stay below 4e-16, of a probability below 8e-16.

References
----------
The Mills ratio M(x) = (1 - N(x)) / n(x) solves M' = x M - 1, which gives all its Taylor coefficients at a point
from the value there: c(n+1) = (x c(n) + c(n-1)) / (n + 1). Stepped downward, errors die out as exp(-x^2 / 2).
"""

import math
from decimal import Decimal, localcontext

import numpy as np

from streams.compiled import kernel
from streams.margin.parameters import F64

#: Nodes of the Mills ratio lie 1 / STEPS apart; past the last one the density is 0 in float64.
STEPS = 8
NODES = 309
DEGREE = 10
BEYOND = NODES / STEPS

LOG2_E = 1.4426950408889634
#: exp of more is not finite, of less is 0.
LARGEST = 709.782712893384
LEAST = -745.1332191019412
SQRT_HALF = math.sqrt(0.5)


def _split_ln2() -> tuple[float, float]:
    """ln 2 as a part of 40 bits, so that a whole multiple of it is exact, and the rest."""
    with localcontext() as context:
        context.prec = 60
        exact = Decimal(2).ln()
        high = int(exact * 2**40) / 2**40
        return high, float(exact - Decimal(high))


LN2_HIGH, LN2_LOW = _split_ln2()
#: 1/n! for n = 2 .. 13, and 2/(2j + 1) for j = 1 .. 10: the series of exp and of log, highest power first.
EXP_SERIES = np.array([1.0 / math.factorial(n) for n in range(13, 1, -1)])
LOG_SERIES = np.array([2.0 / (2 * j + 1) for j in range(10, 0, -1)])
POWERS_OF_TWO = np.array([math.ldexp(1.0, k) for k in range(-1022, 1024)])


def _mills_tables() -> tuple[F64, F64]:
    """Taylor coefficients of the Mills ratio at each node, highest power first, and the density there."""
    coefficients = np.empty((NODES, DEGREE + 1))
    density = np.empty(NODES)
    with localcontext() as context:
        context.prec = 60
        step = Decimal(1) / STEPS
        root_two_pi = (2 * Decimal("3.14159265358979323846264338327950288419716939937510582097494459")).sqrt()
        x = NODES * step
        value = x  # the continued fraction x + 1/(x + 2/(x + ...)), from its inside
        for level in range(60, 0, -1):
            value = x + level / value
        value = 1 / value
        for node in range(NODES, -1, -1):
            taylor = [value, x * value - 1]
            for n in range(1, 36):
                taylor.append((x * taylor[n] + taylor[n - 1]) / (n + 1))
            if node < NODES:
                coefficients[node] = [float(c) for c in taylor[DEGREE::-1]]
                density[node] = float((-x * x / 2).exp() / root_two_pi)
            value = Decimal(0)
            for c in reversed(taylor):
                value = c - value * step
            x -= step
    return coefficients, density


MILLS, DENSITY = _mills_tables()


@kernel
def exp(x: float) -> float:
    """e**x; inf above 709.78, 0 below -745.13, nan for nan.

    x = k ln 2 + r with |r| <= ln 2 / 2; e**r is its Taylor series to the 13th power.
    """
    if x != x:
        return x
    if x > LARGEST:
        return math.inf
    if x < LEAST:
        return 0.0
    k = math.floor(x * LOG2_E + 0.5)
    high = x - k * LN2_HIGH
    low = k * LN2_LOW
    r = high - low
    lost = (high - r) - low
    series = 0.0
    for n in range(EXP_SERIES.shape[0]):
        series = series * r + EXP_SERIES[n]
    value = 1.0 + (r + (lost + r * r * series))
    if k > 1023:
        return value * 2.0 * POWERS_OF_TWO[k + 1021]
    if k < -1022:
        return value * POWERS_OF_TWO[k + 1122] * POWERS_OF_TWO[922]
    return value * POWERS_OF_TWO[k + 1022]


@kernel
def log(x: float) -> float:
    """Natural logarithm; -inf at 0, nan below.

    x = 2**k m with m about 1; log m = 2 atanh(s), s = (m - 1) / (m + 1), by its series to the 21st power.
    """
    if x <= 0.0:
        return -math.inf if x == 0.0 else math.nan
    if not x < math.inf:
        return x
    m, k = math.frexp(x)
    if m < SQRT_HALF:
        m *= 2.0
        k -= 1
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    series = 0.0
    for j in range(LOG_SERIES.shape[0]):
        series = series * z + LOG_SERIES[j]
    half = 0.5 * f * f
    return k * LN2_HIGH - ((half - (s * (half + z * series) + k * LN2_LOW)) - f)


@kernel
def power(x: float, y: float) -> float:
    """x**y for x > 0."""
    return exp(y * log(x))


@kernel
def mills(x: float) -> tuple[float, float]:
    """Mills ratio (1 - N(x)) / n(x) of x >= 0, and the normal density n(x); density 0 from 38.6 on.

    Examples
    --------
    >>> [round(v, 15) for v in mills(0.0)]
    [1.2533141373155, 0.398942280401433]
    """
    if not x < BEYOND - 0.5 / STEPS:
        return 0.0, 0.0 * x if x != x else 0.0
    node = int(x * STEPS + 0.5)
    middle = node / STEPS
    h = x - middle
    ratio = 0.0
    for n in range(DEGREE + 1):
        ratio = ratio * h + MILLS[node, n]
    return ratio, DENSITY[node] * exp(-0.5 * h * (x + middle))


@kernel
def normal(x: float) -> tuple[float, float, float]:
    """Standard normal probability below x, above x, and the density at x; each to full precision in its tail.

    Examples
    --------
    >>> below, above, density = normal(-10.0)
    >>> f"{below:.12e}", above
    ('7.619853024161e-24', 1.0)
    """
    ratio, density = mills(abs(x))
    tail = ratio * density
    if x > 0.0:
        return 1.0 - tail, tail, density
    return tail, 1.0 - tail, density


@kernel
def normal_quantile(probability: float) -> float:
    """x with N(x) = probability, 0 < probability < 1: Halley steps on log N, from the tail's own scale.

    Examples
    --------
    >>> round(normal_quantile(0.99), 12)
    2.326347874041
    """
    tail = min(probability, 1.0 - probability)
    if not tail > 0.0:
        return math.nan
    target = log(tail)
    x = math.sqrt(max(-2.0 * log(2.0 * tail), 0.0))
    for _ in range(12):
        ratio, density = mills(x)
        miss = log(ratio * density) - target
        slope = -1.0 / ratio
        curve = slope * (-x - slope)
        x -= miss / (slope - 0.5 * miss * curve / slope)
        x = max(x, 0.0)
        if abs(miss) < 1e-15:
            break
    return x if probability > 0.5 else -x
