"""Walk forward through a panel: what each model would have required at every time, and what was lost after it.

At a time only the `window` periods up to it are known. A model that keeps its history in periods of `period` steps
is `period` models side by side, each on its own phase (every period-th row); none sees another's rows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from streams.compiled import kernel
from streams.margin.elementary import normal_quantile
from streams.margin.history import TailRules
from streams.margin.parameters import F64
from streams.margin.risk_parameters import linear_value_at_risk, next_volatilities
from streams.margin.tail import tail_size, value_at_risk, worst_of

#: Rows of `required`.
MODELS = ("delta-normal", "historical", "filtered", "requirement")
DELTA_NORMAL, HISTORICAL, FILTERED, REQUIREMENT = range(4)


class Rules(NamedTuple):
    """`tail` as the engine has it; `window` periods are known, `buffer` is of the margined volatility."""

    tail: TailRules
    window: int
    buffer: float


class Losses(NamedTuple):
    """Of a fixed book over the horizon after each time: at its end, and the worst at any row inside; gains negative.

    Shape (n_times - horizon,) each.
    """

    end: F64
    worst: F64


def required(weights: F64, price: F64, period: int, rules: Rules) -> F64:
    """What each of MODELS requires at every time, as a share of what the weights are; NaN where history is short.

    Parameters
    ----------
    weights : gain of each asset by a move of 1, shape (n_assets,)
    price : without blanks, shape (n_times, n_assets)
    period : steps from one kept price to the next; the horizon is `rules.tail.scale`^2 of it

    Returns
    -------
    shape (len(MODELS), n_times)
    """
    found = np.full((len(MODELS), len(price)), np.nan)
    z = normal_quantile(rules.tail.value_at_risk_level)
    for phase in range(min(period, len(price))):
        kept = price[phase::period]
        returns = kept[1:] / kept[:-1] - 1.0
        if len(returns) >= rules.window:
            found[:, phase + rules.window * period :: period] = _walk(
                weights, returns, rules.window, rules.tail, rules.buffer, z
            )
    return found


def losses(weights: F64, price: F64, horizon: int) -> Losses:
    """What a book of these weights, bought at each time and left alone, lost by the horizon, and at worst before."""
    count = len(price) - horizon
    worst = np.full(count, -math.inf)
    end = worst
    for step in range(1, horizon + 1):
        end = -((price[step : step + count] / price[:count] - 1.0) @ weights)
        worst = np.maximum(worst, end)
    return Losses(end, worst)


@kernel
def _walk(weights: F64, returns: F64, window: int, rules: TailRules, buffer: float, z: float) -> F64:
    """Requirements before each return from `window` on, and after the last; shape (4, n - window + 1)."""
    count, factors = returns.shape[0] - window + 1, returns.shape[1]
    found = np.empty((4, count))
    room = np.empty((3, window + 1))
    worst = np.empty(tail_size(window, rules.value_at_risk_level))
    volatility, margined = np.empty(factors), np.full(factors, math.inf)
    for t in range(count):
        known = returns[t : t + window]
        next_volatilities(known, rules, buffer, volatility, margined)
        found[3, t] = linear_value_at_risk(weights, known, volatility, margined, rules, room)
        # the EWMA of a book's gains is w' S w with the EWMA of the factors' products as S: RiskMetrics
        found[0, t] = rules.scale * z * math.sqrt(room[1, window])
        filtered = room[2, : window - rules.warm_up]
        kept = worst[: tail_size(filtered.shape[0], rules.value_at_risk_level)]
        worst_of(filtered, kept)
        found[2, t] = rules.scale * max(value_at_risk(kept, filtered.shape[0], rules.value_at_risk_level), 0.0)
        gains = room[0, :window]
        for s in range(window):
            gains[s] = -gains[s]
        kept = worst[: tail_size(window, rules.value_at_risk_level)]
        worst_of(gains, kept)
        found[1, t] = rules.scale * max(value_at_risk(kept, window, rules.value_at_risk_level), 0.0)
    return found
