"""Screens by delta and gamma: which accounts to look at first. None of them decides: only a full revaluation does.

Near a sold option the quadratic has the wrong sign a few percent away (a short strangle that gains 3,854 at -16 %
loses 2,003 by its delta and gamma), so a screen only ever says who is looked at.
"""

import math

import numpy as np

from streams.compiled import kernel
from streams.margin.elementary import normal_quantile
from streams.margin.parameters import F64
from streams.margin.tail import normal_tail


@kernel
def threshold_moves(equity: float, required: float, delta: float, gamma: float) -> tuple[float, float]:
    """Nearest moves down and up at which equity + delta s + gamma s^2 / 2 = required; -inf and inf where none (L5).

    Parameters
    ----------
    required : maintenance margin, held where it is
    delta, gamma : dollar greeks: gain by a move of 1, and its change

    Examples
    --------
    >>> [round(move, 6) for move in threshold_moves(30_000.0, 18_000.0, 120_000.0, -2_000_000.0)]
    [-0.0649, 0.1849]
    """
    slack = equity - required
    down, up = -math.inf, math.inf
    if gamma == 0.0:
        if delta != 0.0:
            root = -slack / delta
            if root <= 0.0:
                down = root
            if root >= 0.0:
                up = root
        elif slack == 0.0:
            return 0.0, 0.0
        return down, up
    square = delta * delta - 2.0 * gamma * slack
    if square < 0.0:
        return down, up
    # the sum of like signs, then the product of the roots: no digits are lost where gamma is small
    sum_of_like = -(delta + math.sqrt(square)) if delta >= 0.0 else -(delta - math.sqrt(square))
    for at in range(2):
        if at == 0:
            root = sum_of_like / gamma
        else:
            root = 2.0 * slack / sum_of_like if sum_of_like != 0.0 else 0.0
        if root <= 0.0:
            down = max(down, root)
        if root >= 0.0:
            up = min(up, root)
    return down, up


@kernel
def quadratic_loss(delta: float, gamma: float, vega: float, move: float, volatility_move: float) -> float:
    """Largest loss by delta and gamma over moves within +-move and volatilities within +-volatility_move; >= 0."""
    worst = max(-(delta * move + 0.5 * gamma * move * move), -(-delta * move + 0.5 * gamma * move * move), 0.0)
    if gamma > 0.0 and abs(delta) < gamma * move:
        worst = max(worst, 0.5 * delta * delta / gamma)
    return worst + abs(vega) * volatility_move


def delta_normal(exposure: F64, volatility: F64, correlation: F64, level: float) -> tuple[float, float, F64]:
    """Value at risk and expected shortfall if all returns were normal, and each factor's component of the first (V1).

    Parameters
    ----------
    exposure : gain of each factor by a move of 1, shape (n,)
    """
    z, shortfall = normal_tail(level)
    spread = exposure * volatility
    pull = np.einsum("ij,j->i", correlation, spread)
    deviation = math.sqrt(float(np.einsum("i,i->", spread, pull)))
    return z * deviation, shortfall * deviation, z * spread * pull / deviation


def cornish_fisher(delta: F64, gamma: F64, covariance: F64, level: float) -> float:
    """Value at risk of delta x + x' gamma x / 2 for normal x, by its first four moments (V2).

    mean = tr(GS) / 2, variance = d'Sd + tr(GSGS) / 2, third moment 3 d'SGSd + tr((GS)^3), fourth cumulant
    12 d'SGSGSd + 3 tr((GS)^4); quantile by Cornish and Fisher (Zangari, RiskMetrics Monitor 1996).
    """
    gs = np.einsum("ij,jk->ik", gamma, covariance)
    gs2 = np.einsum("ij,jk->ik", gs, gs)
    sd = np.einsum("ij,j->i", covariance, delta)
    first = np.einsum("ij,j->i", gs, delta)  # GSd

    def inner(one: F64, other: F64) -> float:
        return float(np.einsum("i,i->", one, other))

    def trace(one: F64, other: F64) -> float:
        return float(np.einsum("ij,ji->", one, other))

    mean = 0.5 * float(np.einsum("ii->", gs))
    variance = inner(delta, sd) + 0.5 * float(np.einsum("ii->", gs2))
    third = 3.0 * inner(sd, first) + trace(gs, gs2)
    second = np.einsum("ij,j->i", covariance, first)  # SGSd
    fourth = 12.0 * inner(first, second) + 3.0 * trace(gs2, gs2)
    skew, excess = third / variance**1.5, fourth / variance**2
    z = -normal_quantile(level)
    adjusted = (
        z + (z * z - 1.0) * skew / 6.0 + (z**3 - 3.0 * z) * excess / 24.0 - (2.0 * z**3 - 5.0 * z) * skew**2 / 36.0
    )
    return -(mean + adjusted * math.sqrt(variance))


def garch_horizon(variance: float, long_run: float, persistence: float, periods: int) -> float:
    """Volatility over several periods of a GARCH(1,1): the sum of the path that variance takes home (V5).

    Parameters
    ----------
    variance : of the next period
    long_run : variance it returns to
    persistence : alpha + beta, 0 to 1

    Examples
    --------
    From 4 % with a long run of 3 %: less than 4 % x sqrt(5)

    >>> round(garch_horizon(0.0016, 0.0009, 0.95, 5), 6), round(0.04 * 5**0.5, 6)
    (0.087562, 0.089443)
    """
    total, weight = 0.0, 1.0
    for _ in range(periods):
        total += long_run + weight * (variance - long_run)
        weight *= persistence
    return math.sqrt(total)
