"""Scenario grids and risk arrays: what one unit of each instrument is worth in each scenario.

A scenario moves all prices of an underlying by one fraction (forwards each by that of their own), shocks
volatilities by term or tilts the smile, and counts its loss in full or dampened. The arrays are made once per mark
and hold for every account; no time passes in them, and an implied volatility belongs to its strike.

References
----------
SPAN (CME), Deribit portfolio margin (support.deribit.com 25944756247837), Paradex (docs.paradex.trade/risk/
portfolio-margin), Derive v2-core src/risk-managers/PMRMLib.sol and PMRMLib_2.sol, read November 2026.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streams.compiled import inner, kernel
from streams.margin.black76 import option_value
from streams.margin.elementary import log, power
from streams.margin.parameters import F64, I32

#: What a scenario does to volatilities.
SAME, UP, DOWN, LINEAR_SKEW, ABSOLUTE_SKEW = range(5)
KINDS = 5
#: What an instrument is: an asset is a coin held, which moves with its underlying.
OPTION, FUTURE, ASSET = range(3)
#: Columns after the scenarios: a move up and one down of the basis test.
BASIS_COLUMNS = 2


class Grid(NamedTuple):
    """Scenarios as arrays of shape (n_scenarios,), and the moves of the basis test.

    `move` is a fraction of the price (> -1), `shock` one of SAME .. ABSOLUTE_SKEW, `dampening` the share of the
    profit or loss that counts. `to_edge` is what turns a gain that counts into that at the edge of the range, the
    largest dampened move / the scenario's own; 0 where the price stays or nothing counts. The last `tilts` scenarios,
    and no others, tilt the smile.
    """

    move: F64
    shock: I32
    dampening: F64
    to_edge: F64
    tilts: int
    basis_up: float
    basis_down: float


class VolatilityShock(NamedTuple):
    """Volatility in the scenarios UP and DOWN: times 1 +- range x (30 / days)**power, days at least `days_floor`.

    `short_power` holds to 30 days, `long_power` from there. Volatility is never negative, and in UP at least
    `least`.
    """

    up: float
    down: float
    short_power: float
    long_power: float
    days_floor: float
    least: float


class SkewShock(NamedTuple):
    """Tilt of the smile in the skew scenarios: volatility times 1 + min(cap, k cap / k*), k = ln(strike / forward).

    LINEAR_SKEW raises calls and lowers puts, ABSOLUTE_SKEW takes |k| and raises both wings. cap = base cap +
    slope x sqrt(years); k* = max(least, sqrt(years) x width x (static + scale x sqrt(years))).
    """

    linear_cap: float
    linear_slope: float
    absolute_cap: float
    absolute_slope: float
    least: float
    width: float
    static: float
    scale: float


class Instruments(NamedTuple):
    """Instruments of all risk units with their marks, as arrays of shape (n,).

    `kind` is OPTION, FUTURE or ASSET; `coin_settled` instruments pay in the underlying coin. `price` is the mark of
    a future or asset, of an option the forward of its expiry; `fixed` the part of an option's forward that no
    scenario moves. `right`, `strike`, `years`, `volatility`, `discount` are an option's (a future's `years` count
    in the basis test). `settlement_price` is the price of the currency it pays in, in the reporting currency: of
    the coin itself where coin-settled.
    """

    kind: I32
    coin_settled: npt.NDArray[np.bool_]
    price: F64
    fixed: F64
    right: F64
    strike: F64
    years: F64
    volatility: F64
    discount: F64
    multiplier: F64
    settlement_price: F64


def grid(
    *,
    price_range: float,
    steps: int = 4,
    shocks_at_edge: Sequence[int] = (UP, SAME, DOWN),
    tails: Sequence[float] = (-0.66, -0.33, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0),
    dampened_range: float | None = None,
    skew: bool = True,
    basis_move: float | None = None,
) -> Grid:
    """Prices at -range .. +range in 2 x steps + 1 equal steps, each with volatility up, same and down; tails; skew.

    A tail counts range / |move| of its loss, so a delta-one book never loses more in one than at the edge of the
    range: only convexity makes tails bind. Tails have volatility up.

    Parameters
    ----------
    price_range : largest move of the base grid, a fraction, 0 < range < 1
    shocks_at_edge : volatility shocks of the outermost prices; others have all three
    dampened_range : range that dampens the tails; price_range unless given
    basis_move : of the basis test; a quarter of the range unless given

    Examples
    --------
    >>> full = grid(price_range=0.16)
    >>> len(full.move), [float(round(d, 4)) for d in full.dampening[27:31]]
    (37, [0.2424, 0.4848, 0.32, 0.16])
    """
    rows: list[tuple[float, int, float]] = []
    for step in range(-steps, steps + 1):
        shocks = shocks_at_edge if abs(step) == steps else (UP, SAME, DOWN)
        rows += [(price_range * step / steps, shock, 1.0) for shock in shocks]
    damped = price_range if dampened_range is None else dampened_range
    rows += [(move, UP, min(damped / abs(move), 1.0)) for move in tails]
    if skew:
        rows += [(0.0, LINEAR_SKEW, 1.0), (0.0, ABSOLUTE_SKEW, 1.0)]
    basis = price_range / 4.0 if basis_move is None else basis_move
    return grid_of(rows, basis_up=basis, basis_down=-basis)


def span_grid(*, scan_range: float, extreme: float = 3.0, covered: float = 0.33) -> Grid:
    """SPAN's sixteen scenarios, in the order of its risk arrays (CME).

    The price stays, or moves by a third, two thirds and all of the scan range up and down, each with volatility up
    and down; 15 and 16 are extreme moves up and down, volatility same, of which a share is covered.

    Parameters
    ----------
    scan_range : a fraction of the price

    Examples
    --------
    120 points of 2,790, three times that at 35 %:

    >>> span = span_grid(scan_range=120 / 2790, covered=0.35)
    >>> [round(move * 2790) for move in span.move], float(span.dampening[-1])
    ([0, 0, 40, 40, -40, -40, 80, 80, -80, -80, 120, 120, -120, -120, 360, -360], 0.35)
    """
    thirds = (0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0)
    rows = [(scan_range * third / 3.0, shock, 1.0) for third in thirds for shock in (UP, DOWN)]
    rows += [(scan_range * extreme * side, SAME, covered) for side in (1.0, -1.0)]
    return grid_of(rows, basis_up=scan_range, basis_down=-scan_range)


def grid_of(rows: Sequence[tuple[float, int, float]], *, basis_up: float, basis_down: float) -> Grid:
    """Grid of (move, shock, dampening) rows, as a venue publishes them.

    Raises
    ------
    ValueError : where a scenario that tilts the smile stands before one that does not
    """
    tilted = [row[1] in (LINEAR_SKEW, ABSOLUTE_SKEW) for row in rows]
    if tilted != sorted(tilted):
        raise ValueError(
            f"scenarios that tilt the smile must come last, found one at {tilted.index(True)} of {len(rows)}"
        )
    move = np.array([row[0] for row in rows], dtype=np.float64)
    dampening = np.array([row[2] for row in rows], dtype=np.float64)
    counted = np.abs(move) * dampening
    return Grid(
        move=move,
        shock=np.array([row[1] for row in rows], dtype=np.int32),
        dampening=dampening,
        to_edge=np.divide(counted.max(initial=0.0), counted, out=np.zeros(len(rows)), where=counted > 0.0),
        tilts=sum(tilted),
        basis_up=basis_up,
        basis_down=basis_down,
    )


@kernel
def term_shock(reach: float, shock: VolatilityShock, days: float) -> float:
    """Volatility shock at a term: range x (30 / max(days, floor))**power (S1).

    Examples
    --------
    Deribit's own: 38 % at 15 days is 2**0.3 x 38 % = 46.78 %

    >>> round(term_shock(0.38, VolatilityShock(0.38, 0.38, 0.3, 0.13, 1.0, 0.0), 15.0), 6)
    0.467835
    """
    exponent = shock.short_power if days <= 30.0 else shock.long_power
    return reach * power(30.0 / max(days, shock.days_floor), exponent)


@kernel
def shocked_volatility(
    volatility: float, years: float, log_strike: float, kind: int, shock: VolatilityShock, skew: SkewShock
) -> float:
    """Volatility of an option in a scenario of volatility shock `kind`, >= 0.

    Parameters
    ----------
    years : to expiry, of 365 days
    log_strike : ln(strike / forward), forward before the scenario
    """
    if kind == UP:
        return max(volatility * (1.0 + term_shock(shock.up, shock, 365.0 * years)), shock.least)
    if kind == DOWN:
        return max(volatility * (1.0 - term_shock(shock.down, shock, 365.0 * years)), 0.0)
    if kind == SAME:
        return volatility
    root = math.sqrt(years)
    widest = max(skew.least, root * skew.width * (skew.static + root * skew.scale))
    if kind == LINEAR_SKEW:
        k = log_strike
        cap = skew.linear_cap + skew.linear_slope * root
    else:
        k = abs(log_strike)
        cap = skew.absolute_cap + skew.absolute_slope * root
    tilt = k * cap / widest
    tilt = min(cap, tilt) if k >= 0.0 else max(-cap, tilt)
    return max(volatility * (1.0 + tilt), 0.0)


@inner
def scenario_value(of: Instruments, i: int, move: float, volatility: float) -> float:
    """What a unit of instrument i is worth at a price move, in the reporting currency.

    A linear instrument: its value there. A coin-settled one: the coins it has then gained or lost against now, at
    the moved price of the coin, on top of the coins it is worth now at their price now: the coins held, profit to
    date included, are an ASSET of their own.
    """
    if of.kind[i] == OPTION:
        root = math.sqrt(max(of.years[i], 0.0))
        forward = of.price[i] * (1.0 + move) + of.fixed[i]
        value = option_value(of.right[i], forward, of.strike[i], volatility * root, of.discount[i])
        if of.coin_settled[i]:
            now = of.price[i] + of.fixed[i]
            coins = option_value(of.right[i], now, of.strike[i], of.volatility[i] * root, of.discount[i]) / now
            value = (value / forward - coins) * (1.0 + move) + coins
    elif of.coin_settled[i]:
        # it is worth -1 / mark coins: the gain of move / (1 + move) / mark coins is worth (1 + move) as much there
        value = (move - 1.0) / of.price[i]
    else:
        value = of.price[i] * (1.0 + move)
    return of.multiplier[i] * value * of.settlement_price[i]


@inner
def risk_arrays(of: Instruments, which: I32, grid: Grid, shock: VolatilityShock, skew: SkewShock, values: F64) -> None:
    """Write what a unit of each instrument of `which` is worth in each scenario to `values`.

    Parameters
    ----------
    which : instruments to write, of one grid
    values : shape (n, n_scenarios + BASIS_COLUMNS or more); the last two written are the basis test's, up and down
    """
    scenarios = grid.move.shape[0]
    shocked = np.zeros(KINDS)  # by kind of shock: a power each, so once an option and not once a scenario
    for at in range(which.shape[0]):
        i = which[at]
        if of.kind[i] == OPTION:
            log_strike = log(of.strike[i] / (of.price[i] + of.fixed[i]))
            for kind in range(KINDS):
                shocked[kind] = shocked_volatility(of.volatility[i], of.years[i], log_strike, kind, shock, skew)
        for s in range(scenarios):
            values[i, s] = scenario_value(of, i, grid.move[s], shocked[grid.shock[s]])
        values[i, scenarios] = scenario_value(of, i, grid.basis_up, of.volatility[i])
        values[i, scenarios + 1] = scenario_value(of, i, grid.basis_down, of.volatility[i])
