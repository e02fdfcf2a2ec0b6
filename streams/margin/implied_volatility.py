"""Implied volatility: the volatility at which Black-76 gives a price.

Solved on the side out of the money, by Halley steps on the logarithm of the price inside a bracket, so that far
strikes converge as near ones do. Feed prices out of the money: those in the money carry the digits of their
intrinsic value, and lose as many of the volatility.
"""

import math

import numpy as np
import numpy.typing as npt

from streams.compiled import inner, kernel
from streams.margin.black76 import time_value
from streams.margin.elementary import log, mills
from streams.margin.parameters import F64

#: Why a price has no implied volatility; SOLVED where it has one.
SOLVED, BELOW_INTRINSIC, ABOVE_BOUND, BAD_INPUT = range(4)

#: A deviation (volatility x sqrt(years)) past which the value is its bound in float64.
DEVIATION_MOST = 16.0
#: Time value smaller than this share of the price is rounding of the price itself.
ROUNDING = 2.0**-50
STEPS_MOST = 100


@inner
def implied_deviation(forward: float, strike: float, target: float) -> float:
    """Deviation at which the side out of the money is worth `target` undiscounted, 0 < target < min(F, K).

    g(s) = log value(s) - log target increases; g' = vega / value, g'' = g' (d1 d2 / s - g'). A Halley step that
    leaves the bracket is replaced by its middle.
    """
    low, high = min(forward, strike), max(forward, strike)
    x = log(low / high)
    wanted = log(target)
    least, most = 0.0, DEVIATION_MOST
    near = 2.5066282746310002 * target / low
    far = -x / math.sqrt(max(-2.0 * (wanted - log(low)), 1e-9))
    s = min(max(near, far, 1e-12), 0.5 * most)
    for _ in range(STEPS_MOST):
        value = time_value(forward, strike, s)
        if value <= 0.0:
            least = s
            s = 0.5 * (least + most)
            continue
        miss = log(value) - wanted
        if miss < 0.0:
            least = s
        else:
            most = s
        d1 = x / s + 0.5 * s
        slope = low * mills(abs(d1))[1] / value
        ratio = miss / slope if slope > 0.0 else math.inf
        bend = d1 * (d1 - s) / s - slope
        step = ratio / max(1.0 - 0.5 * ratio * bend, 0.5) if abs(ratio) < math.inf else math.inf
        if abs(step) <= 2.0**-51 * s:
            return s - step
        s -= step
        if not least < s < most:
            s = 0.5 * (least + most)
    return s


@kernel
def implied_volatility(
    right: float, price: float, forward: float, strike: float, years: float, discount: float
) -> tuple[float, int]:
    """Volatility at which an option costs `price`, and SOLVED; nan and the reason where there is none.

    A price that is its intrinsic value within rounding has volatility 0.

    Parameters
    ----------
    right : +1 call, -1 put
    price : in the currency of the forward, today's
    forward, strike, years, discount : > 0

    Returns
    -------
    volatility, status : BELOW_INTRINSIC where the price is less than exercise pays; ABOVE_BOUND where it is not
        below the forward (call) or the strike (put), discounted; BAD_INPUT where an argument is not > 0 and finite

    Notes
    -----
    Out of the money the volatility comes back to 1e-13 of itself where its price is a normal number and rises with
    volatility at all; where price / (vega x volatility) is large, float64 of the price allows that much less.

    Examples
    --------
    >>> volatility, status = implied_volatility(1, 7.965567455405804, 100.0, 100.0, 0.25, 1.0)
    >>> round(volatility, 12), status == SOLVED
    (0.4, True)
    """
    good = forward > 0.0 and strike > 0.0 and years > 0.0 and discount > 0.0 and price >= 0.0
    if not good or not forward + strike + years + discount + price < math.inf:
        return math.nan, BAD_INPUT
    undiscounted = price / discount
    target = undiscounted - max(right * (forward - strike), 0.0)
    if abs(target) <= ROUNDING * undiscounted:
        return 0.0, SOLVED
    if target < 0.0:
        return math.nan, BELOW_INTRINSIC
    if target >= min(forward, strike) * (1.0 - ROUNDING):
        return math.nan, ABOVE_BOUND
    return implied_deviation(forward, strike, target) / math.sqrt(years), SOLVED


@kernel
def implied_volatilities(
    right: F64, price: F64, forward: F64, strike: F64, years: F64, discount: F64
) -> tuple[F64, npt.NDArray[np.int8]]:
    """Volatility and status of each option; all arguments are arrays of shape (n_options,)."""
    n = price.shape[0]
    volatility = np.empty(n)
    status = np.empty(n, np.int8)
    for i in range(n):
        volatility[i], status[i] = implied_volatility(right[i], price[i], forward[i], strike[i], years[i], discount[i])
    return volatility, status
