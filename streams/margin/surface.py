"""Volatility surface: a smile per expiry, between expiries by total variance, and whether it can be arbitraged.

A smile is SVI (Gatheral's raw parameters) or a spline through quoted points; both are functions of log-moneyness
k = ln(strike / forward). Total variance w = volatility^2 x years.

References
----------
J. Gatheral and A. Jacquier, Arbitrage-free SVI volatility surfaces, Quantitative Finance 14 (2014).
"""

import math
from typing import NamedTuple

import numpy as np

from streams.compiled import kernel
from streams.margin.parameters import F64

#: What a checked surface is: arbitrage by a butterfly, by a calendar spread, or parameters without a meaning.
SOUND, BUTTERFLY, CALENDAR, BAD_PARAMETERS = range(4)


class Svi(NamedTuple):
    """w(k) = level + slope (tilt (k - centre) + sqrt((k - centre)^2 + width^2)).

    slope >= 0, |tilt| < 1, width > 0, level + slope width sqrt(1 - tilt^2) >= 0. In the letters of the paper: a, b,
    rho, m, sigma.
    """

    level: float
    slope: float
    tilt: float
    centre: float
    width: float


class Spline(NamedTuple):
    """Volatility as a cubic spline in x = k / sqrt(years), flat beyond its ends; `spline` makes it.

    `x` ascends, `volatility` and `bend` (second derivative) are at its points.
    """

    x: F64
    volatility: F64
    bend: F64


class Limits(NamedTuple):
    """Least and most volatility that a surface may say."""

    least: float = 0.10
    most: float = 5.0


@kernel
def svi_variance(svi: Svi, k: float) -> tuple[float, float, float]:
    """Total variance at log-moneyness k, its slope and its bend.

    Examples
    --------
    A published smile of 37 days: 56.54 % at 120,000 on a forward of 96,248.77

    >>> svi = Svi(0.0143003577, 0.0827524527, -0.3828225784, -0.0958055292, 0.130054633)
    >>> round(math.sqrt(svi_variance(svi, 0.2205555945)[0] / 0.1019197108), 6)
    0.56542
    """
    y = k - svi.centre
    root = math.sqrt(y * y + svi.width * svi.width)
    value = svi.level + svi.slope * (svi.tilt * y + root)
    return value, svi.slope * (svi.tilt + y / root), svi.slope * svi.width * svi.width / (root * root * root)


@kernel
def svi_volatility(svi: Svi, k: float, years: float, limits: Limits) -> float:
    """Volatility of a smile at log-moneyness k, within the limits.

    Parameters
    ----------
    years : > 0
    """
    variance = max(svi_variance(svi, k)[0], 0.0)
    return min(max(math.sqrt(variance / years), limits.least), limits.most)


@kernel
def svi_volatilities(svi: Svi, k: F64, years: float, limits: Limits) -> F64:
    """`svi_volatility` at each k, shape (n,)."""
    found = np.empty(k.shape[0])
    for i in range(k.shape[0]):
        found[i] = svi_volatility(svi, k[i], years, limits)
    return found


def spline(k: F64, volatility: F64, years: float) -> Spline:
    """Natural cubic spline through quoted volatilities.

    Parameters
    ----------
    k : log-moneyness of the quotes, ascending, shape (n,), n >= 2
    volatility : > 0, shape (n,)

    Raises
    ------
    ValueError : where fewer than two quotes are given, or they do not ascend
    """
    if len(k) < 2 or not (np.diff(k) > 0.0).all():
        raise ValueError(f"a smile must have two or more quotes of ascending strike, found k = {k.tolist()}")
    x = k / math.sqrt(years)
    n = len(x)
    bend, upper = np.zeros(n), np.zeros(n)
    for i in range(1, n - 1):
        below, above = x[i] - x[i - 1], x[i + 1] - x[i]
        steps = (volatility[i + 1] - volatility[i]) / above - (volatility[i] - volatility[i - 1]) / below
        pivot = 2.0 * (below + above) - below * upper[i - 1]
        upper[i] = above / pivot
        bend[i] = (6.0 * steps - below * bend[i - 1]) / pivot
    for i in range(n - 2, 0, -1):
        bend[i] -= upper[i] * bend[i + 1]
    return Spline(x, volatility.astype(np.float64), bend)


@kernel
def spline_volatility(smile: Spline, k: float, years: float, limits: Limits) -> float:
    """Volatility of a spline at log-moneyness k, within the limits; flat beyond the quotes."""
    x = k / math.sqrt(years)
    last = smile.x.shape[0] - 1
    if not x > smile.x[0]:
        found = smile.volatility[0]
    elif not x < smile.x[last]:
        found = smile.volatility[last]
    else:
        at = np.searchsorted(smile.x, x, side="right") - 1
        width = smile.x[at + 1] - smile.x[at]
        right = (x - smile.x[at]) / width
        left = 1.0 - right
        found = (
            left * smile.volatility[at]
            + right * smile.volatility[at + 1]
            + ((left * left - 1.0) * left * smile.bend[at] + (right * right - 1.0) * right * smile.bend[at + 1])
            * (width * width / 6.0)
        )
    return min(max(found, limits.least), limits.most)


@kernel
def spline_volatilities(smile: Spline, k: F64, years: float, limits: Limits) -> F64:
    """`spline_volatility` at each k, shape (n,)."""
    found = np.empty(k.shape[0])
    for i in range(k.shape[0]):
        found[i] = spline_volatility(smile, k[i], years, limits)
    return found


@kernel
def density_factor(k: float, variance: float, slope: float, bend: float) -> float:
    """Gatheral's g(k): the density of the price at a strike, but for a positive factor; < 0 is butterfly arbitrage.

    g = (1 - k w' / (2 w))^2 - w'^2 / 4 (1 / w + 1 / 4) + w'' / 2
    """
    first = 1.0 - k * slope / (2.0 * variance)
    return first * first - 0.25 * slope * slope * (1.0 / variance + 0.25) + 0.5 * bend


@kernel
def checked(smiles: F64, years: F64, k: F64, tolerance: float) -> tuple[int, int, float]:
    """Whether SVI smiles of ascending expiries are sound at the log-moneyness points k; the first fault found.

    Parameters
    ----------
    smiles : rows of `Svi` parameters, shape (n_expiries, 5)
    years : ascending, > 0, shape (n_expiries,)
    tolerance : of g below 0, and of total variance that falls with the term; for rounding, 1e-9

    Returns
    -------
    fault, expiry, k : SOUND, -1, nan where none; BUTTERFLY at an expiry; CALENDAR between it and the one before;
        BAD_PARAMETERS of one, k nan
    """
    for e in range(smiles.shape[0]):
        one = Svi(smiles[e, 0], smiles[e, 1], smiles[e, 2], smiles[e, 3], smiles[e, 4])
        least = one.level + one.slope * one.width * math.sqrt(max(1.0 - one.tilt * one.tilt, 0.0))
        if not (one.slope >= 0.0 and abs(one.tilt) < 1.0 and one.width > 0.0 and least >= 0.0 and years[e] > 0.0):
            return BAD_PARAMETERS, e, math.nan
        for at in range(k.shape[0]):
            variance, slope, bend = svi_variance(one, k[at])
            if not variance > 0.0 or density_factor(k[at], variance, slope, bend) < -tolerance:
                return BUTTERFLY, e, k[at]
            if e > 0:
                before = Svi(smiles[e - 1, 0], smiles[e - 1, 1], smiles[e - 1, 2], smiles[e - 1, 3], smiles[e - 1, 4])
                if variance < svi_variance(before, k[at])[0] - tolerance:
                    return CALENDAR, e, k[at]
    return SOUND, -1, math.nan


@kernel
def between(years: F64, volatility: F64, term: float) -> float:
    """Volatility at a term from those of quoted expiries at the same log-moneyness: total variance is linear.

    Before the first expiry and after the last their own volatility holds.

    Parameters
    ----------
    years : ascending, > 0, shape (n,), n >= 1
    volatility : of each expiry at one k, shape (n,)

    Examples
    --------
    w = 0.3^2 x 0.1 = 0.009 and 0.5^2 x 0.3 = 0.075: half way 0.042, over 0.2 years

    >>> round(between(np.array([0.1, 0.3]), np.array([0.3, 0.5]), 0.2), 6)
    0.458258
    """
    last = years.shape[0] - 1
    if term <= years[0]:
        return volatility[0]
    if term >= years[last]:
        return volatility[last]
    at = np.searchsorted(years, term, side="right") - 1
    first = volatility[at] * volatility[at] * years[at]
    second = volatility[at + 1] * volatility[at + 1] * years[at + 1]
    share = (term - years[at]) / (years[at + 1] - years[at])
    return math.sqrt((first + share * (second - first)) / term)
