"""Volatilities as the oracle holds them: an instrument's own, or the surface of a symbol, and whether it is sound."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from streams.margin.black76 import time_value
from streams.margin.elementary import exp
from streams.margin.parameters import F64
from streams.margin.surface import (
    BAD_PARAMETERS,
    BUTTERFLY,
    CALENDAR,
    SOUND,
    Limits,
    Spline,
    Svi,
    checked,
    spline,
    spline_volatilities,
    svi_volatilities,
)

YEAR_MS = 365 * 86_400_000
#: Where smiles of SVI are checked: strikes of 37 % to 272 % of the forward.
CHECKED_AT: F64 = np.linspace(-1.0, 1.0, 81)
#: What rounding may take from an SVI smile, in total variance.
ROUNDING = 1e-9
#: What quoted points may win without risk, as a share of the forward: a step of option prices on Deribit.
QUOTE_STEP = 5e-4
LIMITS = Limits()


class Smile(NamedTuple):
    """One expiry (epoch ms): `svi` as level, slope, tilt, centre, width, or `points` of (k, volatility).

    `forward` belongs to the `spot` of the surface; None: not told. `discount` is the factor to now.
    """

    expiry: int
    svi: tuple[float, ...] | None
    points: tuple[tuple[float, float], ...]
    forward: float | None
    discount: float


class Volatility(NamedTuple):
    """What `volatilities` says of one name: an instrument's `volatility`, or the `smiles` of a symbol, by expiry.

    Neither: it was taken back. `time` is the source's, epoch ms.
    """

    name: str
    source: str
    time: int
    volatility: float | None
    spot: float | None
    smiles: tuple[Smile, ...]

    @classmethod
    def of(cls, row: Sequence[Any]) -> "Volatility":
        """From a row of plain values, such as JSON gives back."""
        name, source, time, volatility, spot, smiles = row
        return cls(name, source, time, volatility, spot, tuple(_smile(*smile) for smile in smiles))


def _smile(
    expiry: int,
    svi: tuple[float, ...] | None,
    points: tuple[tuple[float, float], ...],
    forward: float | None,
    discount: float,
) -> Smile:
    told = None if svi is None else tuple(svi)
    return Smile(expiry, told, tuple((k, volatility) for k, volatility in points), forward, discount)


class Curve(NamedTuple):
    """A smile ready to be asked; `years` from the surface's time to its expiry."""

    smile: Svi | Spline
    years: float

    def at(self, k: F64) -> F64:
        """Volatilities at log-moneyness k, within LIMITS."""
        if isinstance(self.smile, Svi):
            return svi_volatilities(self.smile, k, self.years, LIMITS)
        return spline_volatilities(self.smile, k, self.years, LIMITS)


def curves(surface: Volatility) -> list[Curve]:
    """The smiles of a surface, by expiry."""
    found = []
    for smile in surface.smiles:
        years = (smile.expiry - surface.time) / YEAR_MS
        if smile.svi is not None:
            found.append(Curve(Svi(*smile.svi), years))
        else:
            k, volatility = np.array(smile.points, dtype=np.float64).T
            found.append(Curve(spline(np.ascontiguousarray(k), volatility, years), years))
    return found


def fault_of(surface: Volatility) -> str | None:
    """Why a surface can be arbitraged or means nothing, in a line; None where it is sound.

    SVI smiles are held against CHECKED_AT; quoted points against each other, where the options at them may win up to
    QUOTE_STEP.

    Examples
    --------
    >>> smile = Smile(YEAR_MS, None, ((-0.1, 0.2), (0.0, 2.0), (0.1, 0.2)), None, 1.0)
    >>> fault_of(Volatility("BTC", "a", 0, None, None, (smile,)))
    'smiles must hold no arbitrage, found a butterfly at k = 0 of expiry 31536000000'
    """
    found = curves(surface)
    by_formula = [at for at, smile in enumerate(surface.smiles) if smile.svi is not None]
    if by_formula:
        parameters = np.array([surface.smiles[at].svi for at in by_formula], dtype=np.float64)
        years = np.array([found[at].years for at in by_formula])
        fault, at, k = checked(parameters, years, CHECKED_AT, ROUNDING)
        if fault != SOUND:
            return _fault(fault, surface.smiles[by_formula[at]].expiry, k)
    for at, smile in enumerate(surface.smiles):
        k = _butterfly(smile, found[at].years) if smile.points else math.nan
        if k == k:
            return _fault(BUTTERFLY, smile.expiry, k)
        if at and (smile.points or surface.smiles[at - 1].points):
            k = _calendar(surface.smiles[at - 1], smile, found[at - 1], found[at])
            if k == k:
                return _fault(CALENDAR, smile.expiry, k)
    return None


def _fault(fault: int, expiry: int, k: float) -> str:
    if fault == BAD_PARAMETERS:
        return f"svi must have b >= 0, |rho| < 1, sigma > 0 and no variance below 0, found others at expiry {expiry}"
    what = "a butterfly" if fault == BUTTERFLY else "a calendar spread"
    return f"smiles must hold no arbitrage, found {what} at k = {k:.6g} of expiry {expiry}"


def _butterfly(smile: Smile, years: float) -> float:
    """The first quoted k at which a call costs more than those on either side allow; nan where none does."""
    strikes = [exp(k) for k, _ in smile.points]
    calls = [
        time_value(1.0, strike, volatility * math.sqrt(years)) + max(1.0 - strike, 0.0)
        for strike, (_, volatility) in zip(strikes, smile.points, strict=True)
    ]
    for at, (k, _) in enumerate(smile.points):
        if at and calls[at] > calls[at - 1] + QUOTE_STEP:
            return k
        if 0 < at < len(calls) - 1:
            share = (strikes[at] - strikes[at - 1]) / (strikes[at + 1] - strikes[at - 1])
            if calls[at] > (1.0 - share) * calls[at - 1] + share * calls[at + 1] + QUOTE_STEP:
                return k
    return math.nan


def _calendar(before: Smile, after: Smile, first: Curve, second: Curve) -> float:
    """The first k quoted of either at which the later option is worth less; nan where none is."""
    quoted = sorted({k for k, _ in (*before.points, *after.points)})
    for smile in (before, after):
        if smile.points:
            quoted = [k for k in quoted if smile.points[0][0] <= k <= smile.points[-1][0]]
    at = np.array(quoted, dtype=np.float64)
    for k, early, late in zip(quoted, first.at(at).tolist(), second.at(at).tolist(), strict=True):
        worth = [time_value(1.0, exp(k), v * math.sqrt(t)) for v, t in ((early, first.years), (late, second.years))]
        if worth[1] < worth[0] - QUOTE_STEP:
            return k
    return math.nan
