"""European options on a forward (Black 1976): value, greeks, payoff and settlement, linear or settled in coins.

An option is `right` (+1 call, -1 put), `strike`, `years` to expiry; the market gives the `forward` of that expiry,
the `volatility` (a year's, 0.5 is 50 %) and the `discount` factor. Values are per unit of the underlying, in the
currency of the forward. Nothing here knows positions, marks or messages.

The value is that of the side out of the money plus what exercise would pay, so that a far strike keeps its digits
and put-call parity holds to the last bit that float64 can give.

References
----------
F. Black, The pricing of commodity contracts, J. Financial Economics 3 (1976). Coin-settled options: Deribit,
"Inverse options" (support.deribit.com): a premium of V / F coins, a hedge of delta - V / F.
"""

import math
from typing import NamedTuple

import numpy as np

from streams.compiled import kernel
from streams.margin.elementary import log, mills, normal
from streams.margin.parameters import F64


class Greeks(NamedTuple):
    """Value of an option and its derivatives, per unit of the underlying.

    `delta`, `gamma` by the forward; `vega`, `vanna` (delta by volatility) and `volga` (vega by volatility) by a
    volatility of 1, so a point of volatility is a hundredth; `theta` by calendar time, per year; `rho` by the rate
    of the discount, at a given forward.
    """

    value: float
    delta: float
    gamma: float
    vega: float
    theta: float
    rho: float
    vanna: float
    volga: float


@kernel
def time_value(forward: float, strike: float, deviation: float) -> float:
    """Undiscounted value of the side out of the money (put below the forward, call above); >= 0.

    With low < high the two of forward and strike, and M the Mills ratio: low n(d1) (M(-d1) - M(-d2)) where d1 < 0,
    which loses no digits to N(d1) - N(d2) of a far strike; low (1 - n(d1) (M(d1) + M(-d2))) near the money.

    Parameters
    ----------
    forward, strike : > 0
    deviation : volatility x sqrt(years), >= 0
    """
    low, high = min(forward, strike), max(forward, strike)
    if not deviation > 0.0 or not low > 0.0:
        return 0.0 if deviation == deviation and low == low else math.nan
    d1 = log(low / high) / deviation + 0.5 * deviation
    first, density = mills(abs(d1))
    second, _ = mills(deviation - d1)
    if d1 <= 0.0:
        if density == 0.0:
            return 0.0
        return max(low * density * (first - second), 0.0)
    if density == 0.0:
        return low
    return low * (1.0 - density * (first + second))


@kernel
def option_value(right: float, forward: float, strike: float, deviation: float, discount: float) -> float:
    """Value of one option, >= 0; at expiry or without volatility what exercise would pay, discounted.

    Parameters
    ----------
    right : +1 call, -1 put
    forward, strike : > 0
    deviation : volatility x sqrt(years), >= 0
    discount : factor to today, > 0

    Examples
    --------
    >>> round(option_value(1, 100.0, 100.0, 0.2, 1.0), 12), option_value(-1, 90.0, 100.0, 0.0, 1.0)
    (7.965567455406, 10.0)
    """
    return discount * (time_value(forward, strike, deviation) + max(right * (forward - strike), 0.0))


@kernel
def option_greeks(
    right: float, forward: float, strike: float, years: float, volatility: float, discount: float
) -> Greeks:
    """Greeks of one option.

    At expiry or without volatility: delta is that of exercise (one half exactly at the strike), and what would be
    infinite exactly at the strike (gamma) or has nothing to act on (vega at expiry) is 0.
    """
    root = math.sqrt(max(years, 0.0))
    deviation = volatility * root
    value = option_value(right, forward, strike, deviation, discount)
    rate = -log(discount) / years if years > 0.0 else 0.0
    if not deviation > 0.0:
        gain = right * (forward - strike)
        half = 0.5 if gain == 0.0 else (1.0 if gain > 0.0 else 0.0)
        return Greeks(value, discount * right * half, 0.0, 0.0, rate * value, -years * value, 0.0, 0.0)
    d1 = log(forward / strike) / deviation + 0.5 * deviation
    d2 = d1 - deviation
    below, above, density = normal(d1)
    delta = discount * (below if right > 0 else -above)
    scaled = discount * density
    if scaled == 0.0:
        return Greeks(value, delta, 0.0, 0.0, rate * value, -years * value, 0.0, 0.0)
    vega = scaled * forward * root
    return Greeks(
        value,
        delta,
        scaled / (forward * deviation),
        vega,
        rate * value - 0.5 * vega * volatility / years,
        -years * value,
        -scaled * d2 / volatility,
        vega * d1 * d2 / volatility,
    )


@kernel
def values(right: F64, forward: F64, strike: F64, years: F64, volatility: F64, discount: F64) -> F64:
    """Values of options; all arguments are arrays of shape (n_options,)."""
    found = np.empty(strike.shape[0])
    for i in range(strike.shape[0]):
        deviation = volatility[i] * math.sqrt(max(years[i], 0.0))
        found[i] = option_value(right[i], forward[i], strike[i], deviation, discount[i])
    return found


@kernel
def greeks(right: F64, forward: F64, strike: F64, years: F64, volatility: F64, discount: F64) -> F64:
    """Greeks of options, a row each in the order of `Greeks`, shape (8, n_options); arguments of shape (n_options,)."""
    n = strike.shape[0]
    found = np.empty((8, n))
    for i in range(n):
        one = option_greeks(right[i], forward[i], strike[i], years[i], volatility[i], discount[i])
        found[0, i] = one.value
        found[1, i] = one.delta
        found[2, i] = one.gamma
        found[3, i] = one.vega
        found[4, i] = one.theta
        found[5, i] = one.rho
        found[6, i] = one.vanna
        found[7, i] = one.volga
    return found


def coin_value(value: F64, forward: F64) -> F64:
    """Price of a coin-settled option in coins: its value in the currency of the forward, through the forward."""
    return value / forward


def coin_delta(delta: F64, value: F64, forward: F64) -> F64:
    """Coins that hedge a coin-settled option: delta less the coins that the premium itself is.

    A holder's premium is an asset in coins and gains with the coin; that part needs no hedge (Deribit, "Options
    greeks": net transaction delta).

    Examples
    --------
    >>> round(coin_delta(0.25, 900.0, 60_000.0), 6)
    0.235
    """
    return delta - value / forward


@kernel
def payoff(right: float, settlement_price: float, strike: float, coin_settled: bool) -> float:
    """What one unit pays at expiry: max(right (P - K), 0), in coins that over P.

    Examples
    --------
    >>> payoff(1, 50_000.0, 40_000.0, False), payoff(1, 50_000.0, 40_000.0, True), payoff(-1, 50_000.0, 40_000.0, True)
    (10000.0, 0.2, 0.0)
    """
    gain = max(right * (settlement_price - strike), 0.0)
    return gain / settlement_price if coin_settled else gain


@kernel
def settlement_forward(index_price: float, mean_so_far: float, years: float, window: float) -> tuple[float, float]:
    """Forward and years to value an option at that settles at a mean of the index over its last `window` years.

    The mean of the window to come has a third of the variance of its end. Inside the window a share is settled
    already: the forward is that share x the mean so far + the rest x the index, and only the rest still moves.

    Parameters
    ----------
    index_price, mean_so_far : > 0; the second counts only inside the window
    years : to expiry, >= 0
    window : length of the settlement window in years, > 0

    Returns
    -------
    forward, years : deviation = volatility x sqrt(years); continuous where the window opens, 0 at expiry

    Examples
    --------
    >>> settlement_forward(50_200.0, 50_000.0, 0.0, 0.001), settlement_forward(50_200.0, 50_000.0, 0.25, 0.0)
    ((50000.0, 0.0), (50200.0, 0.25))
    """
    if years >= window:
        return index_price, years - window * 2.0 / 3.0
    rest = years / window
    forward = (1.0 - rest) * mean_so_far + rest * index_price
    share = rest * index_price / forward
    return forward, years / 3.0 * share * share


def settlement_mean(times: F64, prices: F64, opened: float, closed: float) -> float:
    """Time-weighted mean of an index over [opened, closed], each price holding until the next.

    Parameters
    ----------
    times : ascending, shape (n,); the first at or before `opened`
    prices : > 0, shape (n,)

    Raises
    ------
    ValueError : where no price is known at `opened`, or the window is empty

    Examples
    --------
    >>> float(settlement_mean(np.array([0.0, 10.0, 20.0]), np.array([100.0, 110.0, 120.0]), 5.0, 25.0))
    110.0
    """
    if not closed > opened:
        raise ValueError(f"a settlement window must close after it opens, found {opened} to {closed}")
    if not times.shape[0] or times[0] > opened:
        raise ValueError(f"a settlement mean must have a price at its start {opened}, found none before it")
    total = 0.0
    for i in range(times.shape[0]):
        until = times[i + 1] if i + 1 < times.shape[0] else closed
        width = min(until, closed) - max(times[i], opened)
        if width > 0.0:
            total += prices[i] * width
    return total / (closed - opened)
