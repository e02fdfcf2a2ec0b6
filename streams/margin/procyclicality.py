"""What keeps margins from following the market up and down: horizon, buffer, stress weight, floors.

References
----------
Regulation (EU) 153/2013 article 28; Basel MAR33.4 (liquidity horizons).
"""

import math
from collections.abc import Sequence

import numpy as np

from streams.compiled import kernel
from streams.margin.parameters import F64


def liquidity_horizon(shortfalls: Sequence[float], horizons: Sequence[float], base: float = 1.0) -> float:
    """Expected shortfall over liquidity horizons: sqrt(sum (ES_j sqrt((LH_j - LH_j-1) / base))^2) (V7).

    Parameters
    ----------
    shortfalls : over `base`, ES_j with only the factors whose horizon is at least LH_j moving; the first has all
    horizons : LH_j ascending, the first replacing `base`; in the same unit

    Examples
    --------
    100 over a day; 60 of it takes two days to leave, 30 five: sqrt(100^2 + 60^2 + 3 x 30^2)

    >>> round(liquidity_horizon([100.0, 60.0, 30.0], [1.0, 2.0, 5.0]), 6)
    127.671453
    """
    total, before = 0.0, 0.0
    for shortfall, horizon in zip(shortfalls, horizons, strict=True):
        if not horizon > before:
            raise ValueError(f"liquidity horizons must ascend, found {list(horizons)}")
        total += shortfall * shortfall * (horizon - before) / base
        before = horizon
    return math.sqrt(total)


@kernel
def next_margin(before: float, required: float, buffer: float) -> float:
    """One step of `buffered`: the margin before, moved only as far as it must; `before` is inf at the first."""
    return min(max(before, required), (1.0 + buffer) * required)


@kernel
def cushion(exposure: F64, volatility: F64, margined: F64) -> float:
    """What is left of the buffer of a book: its factors' buffered volatilities by their plain ones, by exposure.

    The buffer is kept by factor, as a book's own would have to be remembered, and would be new by every trade:
    sum |exposure| margined / sum |exposure| volatility, from 1 to 1 + buffer; 1 of a book without exposure.

    Parameters
    ----------
    exposure : gain of each factor by a move of 1, shape (n_factors,)
    volatility, margined : of each factor, as it is and as `next_margin` keeps it

    Examples
    --------
    A full quarter on one half, nothing on the other

    >>> cushion(np.array([1.0, -1.0]), np.array([0.5, 0.5]), np.array([0.625, 0.5]))
    1.125
    """
    plain = kept = 0.0
    for k in range(exposure.shape[0]):
        plain += abs(exposure[k]) * volatility[k]
        kept += abs(exposure[k]) * margined[k]
    return kept / plain if plain > 0.0 else 1.0


def buffered(required: F64, buffer: float = 0.25) -> F64:
    """Margin that follows a requirement through a buffer: M(t) = clip(M(t-1), V(t), (1 + buffer) V(t)).

    It starts full, is used up when the requirement rises, and margin falls only when it is more than full.

    Examples
    --------
    >>> buffered(np.array([100.0, 120.0, 140.0, 90.0, 120.0])).tolist()
    [125.0, 125.0, 140.0, 112.5, 120.0]
    """
    found = np.empty(len(required))
    margin = math.inf
    for t, value in enumerate(required):
        margin = next_margin(margin, value, buffer)
        found[t] = margin
    return found


def stress_weighted(required: float, stressed: float, weight: float = 0.25) -> float:
    """Requirement with a share of it taken from stressed observations.

    Examples
    --------
    >>> stress_weighted(100.0, 260.0)
    140.0
    """
    return (1.0 - weight) * required + weight * stressed


@kernel
def floored_volatility(volatility: float, long_run: float, share: float = 0.5) -> float:
    """Volatility, at least a share of the long run's: a quiet month is no promise."""
    return max(volatility, share * long_run)


def limited_fall(before: float, target: float, most: float = 0.05) -> float:
    """A parameter that may rise at once and falls by at most a fraction of itself.

    Examples
    --------
    >>> limited_fall(100.0, 130.0), limited_fall(100.0, 60.0)
    (130.0, 95.0)
    """
    return max(target, before * (1.0 - most))
