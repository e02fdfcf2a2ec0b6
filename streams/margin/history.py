"""Filtered historical simulation: past returns, each by its own volatility, at the volatility of now.

Returns are taken out of the volatility they happened in and put into today's; a book is then valued at each. A
linear book is filtered as one series, a book with options factor by factor, along its profit curve.

References
----------
Barone-Adesi, Giannopoulos and Vosper, VaR without correlations (1999); Hull and White (1998).
"""

import math
from typing import NamedTuple

import numpy as np

from streams.compiled import inner, kernel
from streams.margin.elementary import exp
from streams.margin.parameters import F64
from streams.margin.procyclicality import floored_volatility
from streams.margin.tail import expected_shortfall, tail_size, value_at_risk, worst_of


class TailRules(NamedTuple):
    """Levels of the two measures, of which the larger counts, and what turns a period's loss into the horizon's.

    `decay` and `warm_up` are of the volatility filter (see `ewma_variance`), `scale` multiplies the result
    (sqrt(horizon / period)). A volatility, of now or of a past period, counts as at least `floor` times that of all
    periods given.
    """

    value_at_risk_level: float
    shortfall_level: float
    decay: float
    warm_up: int
    scale: float
    floor: float = 0.0


@kernel
def ewma_variance(returns: F64, decay: float, warm_up: int, variance: F64) -> None:
    """Write the variance before each return, and after the last one: v(t+1) = decay v(t) + (1 - decay) r(t)^2.

    Parameters
    ----------
    returns : shape (n,), n >= warm_up >= 1
    warm_up : v(0) is the mean square of so many first returns, which are then not to be used as standardised ones
    variance : shape (n + 1,); variance[t] knows nothing of returns[t]
    """
    start = 0.0
    for t in range(warm_up):
        start += returns[t] * returns[t]
    variance[0] = start / warm_up
    for t in range(returns.shape[0]):
        variance[t + 1] = decay * variance[t] + (1.0 - decay) * returns[t] * returns[t]


@kernel
def standardised(returns: F64, variance: F64, warm_up: int, least: float, z: F64) -> None:
    """Write each return after the warm-up in units of the volatility before it, at least `least` > 0.

    Parameters
    ----------
    z : shape (n - warm_up,)
    """
    for t in range(warm_up, returns.shape[0]):
        z[t - warm_up] = returns[t] / max(math.sqrt(variance[t]), least)


@kernel
def factor_moves(z: F64, volatility: F64, moves: F64) -> None:
    """Write the price moves of all factors in each past period at the volatilities of now: exp(z sigma) - 1.

    Parameters
    ----------
    z : standardised log returns, shape (n_periods, n_factors); one row is one day of all of them, which keeps how
        they fell together
    volatility : of each factor over the horizon, shape (n_factors,)
    moves : shape (n_periods, n_factors)
    """
    for t in range(z.shape[0]):
        for k in range(z.shape[1]):
            moves[t, k] = exp(z[t, k] * volatility[k]) - 1.0


@inner
def least_volatility(squares: float, count: int, largest: float, floor: float) -> float:
    """What a past volatility counts as at least: the floor's share of the root mean square of so many returns.

    A series that slept and then leapt, as a pegged coin does, has no volatility before the leap: divided by what the
    filter says it would be as many thousand of them. Without a floor a millionth of the `largest` return is enough
    not to divide by nothing.
    """
    return max(floored_volatility(0.0, math.sqrt(squares / count), floor), 1e-6 * largest)


@inner
def volatility_now(returns: F64, rules: TailRules, variance: F64) -> float:
    """Volatility of the next period: of the filter, at least the floor's share of the root mean square of `returns`.

    Parameters
    ----------
    variance : scratch of shape (n + 1,), see `ewma_variance`
    """
    ewma_variance(returns, rules.decay, rules.warm_up, variance)
    squares = 0.0
    for t in range(returns.shape[0]):
        squares += returns[t] * returns[t]
    long_run = math.sqrt(squares / returns.shape[0])
    return floored_volatility(math.sqrt(variance[returns.shape[0]]), long_run, rules.floor)


@kernel
def linear_requirement(delta: F64, returns: F64, rules: TailRules, room: F64) -> float:
    """Loss of a linear book: its own return series, filtered as one; >= 0, and 0 while history is too short.

    nan where a gain, or the square of one, is too large for float64.

    Parameters
    ----------
    delta : gain of each factor by a move of 1, shape (n_factors,)
    returns : moves of each factor in past periods, oldest first, shape (n_periods, n_factors)
    room : scratch of shape (3, n_periods + 1), in which the book's gains, their variances and the filtered losses
        of a period are left
    """
    n = returns.shape[0]
    if n <= rules.warm_up:
        return 0.0
    gains, variance, losses = room[0, :n], room[1, : n + 1], room[2, : n - rules.warm_up]
    largest = every = 0.0
    for t in range(n):
        total = 0.0
        for k in range(delta.shape[0]):
            total += delta[k] * returns[t, k]
        gains[t] = total
        every += total * total
        largest = max(largest, abs(total))
    if not every < math.inf:
        return math.nan
    if largest == 0.0:
        losses[:] = 0.0
        variance[:] = 0.0
        return 0.0
    now = volatility_now(gains, rules, variance)
    standardised(gains, variance, rules.warm_up, least_volatility(every, n, largest, rules.floor), losses)
    for t in range(losses.shape[0]):
        losses[t] = -losses[t] * now
    return rules.scale * tail_requirement(losses, rules)


@kernel
def curve_requirement(curves: F64, first: float, step: float, moves: F64, rules: TailRules, room: F64) -> float:
    """Loss of a book with options: its profit curves at the moves of all factors in each past period; >= 0.

    Parameters
    ----------
    curves : gain in each factor at the moves first, first + step, ..; shape (n_factors, n_points), n_points >= 2
    moves : shape (n_periods, n_factors), see `factor_moves`
    room : scratch of shape (n_periods,)

    Notes
    -----
    Between points the curve is a line, beyond the ends it goes on as its last piece does: a curve of dollar gamma
    G differs from it by at most |G| step^2 / 8, and where it is sold (bends down) a loss is never less.
    """
    points = curves.shape[1]
    losses = room[: moves.shape[0]]
    for t in range(moves.shape[0]):
        total = 0.0
        for k in range(curves.shape[0]):
            place = (moves[t, k] - first) / step
            at = int(min(place, points - 2.0)) if place > 0.0 else 0
            total += curves[k, at] + (place - at) * (curves[k, at + 1] - curves[k, at])
        losses[t] = -total
    return tail_requirement(losses, rules)


@kernel
def tail_requirement(losses: F64, rules: TailRules) -> float:
    """The larger of value at risk and expected shortfall, >= 0, in the losses' own period.

    nan where a loss is no finite number: nobody knows how much is lost then.
    """
    count = losses.shape[0]
    for t in range(count):
        if not abs(losses[t]) < math.inf:
            return math.nan
    if count < 2:
        return 0.0
    most = max(tail_size(count, rules.value_at_risk_level), tail_size(count, rules.shortfall_level))
    worst = np.empty(most)
    worst_of(losses, worst)
    var = value_at_risk(worst, count, rules.value_at_risk_level)
    return max(var, expected_shortfall(worst, count, rules.shortfall_level), 0.0)
