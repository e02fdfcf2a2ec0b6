"""Risk parameters of a market: what a schedule makes of its units' past returns, once, for all accounts.

A requirement then follows from the parameters and the account's positions alone, so whoever has the parameters as
they were written down gets the same bits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from streams.compiled import kernel
from streams.margin.correlation import ewma_correlation, low_and_high, shrunk, stressed
from streams.margin.elementary import log
from streams.margin.history import (
    TailRules,
    curve_requirement,
    ewma_variance,
    factor_moves,
    least_volatility,
    linear_requirement,
    standardised,
    volatility_now,
)
from streams.margin.parameters import F64
from streams.margin.procyclicality import cushion, next_margin


class RiskRules(NamedTuple):
    """How parameters are made of returns.

    Parameters
    ----------
    tail : levels, filter, floor, and the root of horizon / period
    window : periods that are known
    buffer : of the margined volatility, see `next_margin`
    shrink : share of the mean correlation, see `shrunk`
    fall, rise : to the low and the high correlations, see `low_and_high`
    stress : least of the high correlations, see `stressed`
    """

    tail: TailRules
    window: int = 1000
    buffer: float = 0.25
    shrink: float = 0.3
    fall: float = 0.25
    rise: float = 0.5
    stress: float = 0.5


class RiskParameters(NamedTuple):
    """Volatilities of the next period and correlations, by unit.

    `margined` is `volatility` with what is left of its buffer; `low` and `high` are what offsets are tested with.
    """

    volatility: F64
    margined: F64
    low: F64
    high: F64


def refreshed(returns: F64, before: F64, rules: RiskRules) -> RiskParameters:
    """The parameters after the newest of `returns`.

    Parameters
    ----------
    returns : simple returns of all units, oldest first, shape (rules.window, n_units)
    before : `margined` of the period before, inf for a unit that is new; shape (n_units,)
    """
    volatility, margined = np.empty(returns.shape[1]), before.copy()
    next_volatilities(returns, rules.tail, rules.buffer, volatility, margined)
    correlation = shrunk(ewma_correlation(returns, rules.tail.decay), rules.shrink)
    low, high = low_and_high(correlation, fall=rules.fall, rise=rules.rise)
    return RiskParameters(volatility, margined, low, stressed(high, rules.stress))


@kernel
def next_volatilities(returns: F64, rules: TailRules, buffer: float, volatility: F64, margined: F64) -> None:
    """Write each unit's volatility of the next period, and move its margined one as far as it must.

    Parameters
    ----------
    returns : shape (n_periods, n_units)
    volatility, margined : shape (n_units,)
    """
    variance = np.empty(returns.shape[0] + 1)
    for k in range(returns.shape[1]):
        volatility[k] = volatility_now(returns[:, k], rules, variance)
        margined[k] = next_margin(margined[k], volatility[k], buffer)


@kernel
def margined_moves(returns: F64, margined: F64, rules: TailRules) -> F64:
    """Price moves over the horizon at which books with options are valued, one row a past period after the warm-up.

    Each unit's past log returns in the volatility before them, at its margined volatility x `rules.scale`.
    """
    periods, units = returns.shape
    z, one = np.empty((periods - rules.warm_up, units)), np.empty(periods - rules.warm_up)
    variance, scaled = np.empty(periods + 1), np.empty(units)
    logs = np.empty(periods)
    for k in range(units):
        ewma_variance(returns[:, k], rules.decay, rules.warm_up, variance)
        largest = squares = 0.0
        for t in range(periods):
            logs[t] = log(1.0 + returns[t, k])
            largest = max(largest, abs(logs[t]))
            squares += returns[t, k] * returns[t, k]
        if largest > 0.0:
            least = least_volatility(squares, periods, largest, rules.floor)
            standardised(logs, variance, rules.warm_up, least, one)
        else:
            one[:] = 0.0
        z[:, k] = one
        scaled[k] = margined[k] * rules.scale
    moves = np.empty_like(z)
    factor_moves(z, scaled, moves)
    return moves


@kernel
def linear_value_at_risk(
    delta: F64, returns: F64, volatility: F64, margined: F64, rules: TailRules, room: F64
) -> float:
    """Loss over the horizon of a book without options, with what is left of the buffer; >= 0.

    Parameters
    ----------
    delta : gain of each unit by a move of 1, shape (n_units,)
    room : scratch of shape (3, n_periods + 1), see `linear_requirement`
    """
    return linear_requirement(delta, returns, rules, room) * cushion(delta, volatility, margined)


def curve_value_at_risk(curves: F64, first: float, step: float, moves: F64, rules: TailRules) -> float:
    """The same of a book with options: its profit curves by unit, at `margined_moves`; see `curve_requirement`."""
    return curve_requirement(curves, first, step, moves, rules, np.empty(moves.shape[0]))


def horizon_scale(horizon_ms: int, period_ms: int) -> float:
    """What a period's loss is multiplied by for the horizon's: the root of their ratio.

    >>> horizon_scale(14_400_000, 3_600_000)
    2.0
    """
    return math.sqrt(horizon_ms / period_ms)
