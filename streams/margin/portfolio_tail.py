"""Value at risk of one book on portfolio margin, from the market's past moves and the rows of the risk table.

A book without options is its dollar delta by unit; one with options its profit curves, whose points are columns of the
table. A unit whose past is not known adds its own worst scenario: it is never left out. What takes longer to get out of
counts over its liquidity horizon: Basel's cascade, `procyclicality.liquidity_horizon`.
"""

from typing import NamedTuple

import numpy as np

from streams.compiled import inner
from streams.margin.history import TailRules, curve_requirement
from streams.margin.parameters import F64, I32
from streams.margin.risk_parameters import linear_value_at_risk
from streams.margin.risk_table import CURVE_FIRST, CURVE_POINTS, CURVE_STEP, DELTA, RiskTable
from streams.margin.risk_units import RiskUnits, grid_of_unit, rates_of_unit
from streams.margin.scenarios import OPTION
from streams.margin.unit_risk import unit_risk


class Tails(NamedTuple):
    """The market's past as a book's value at risk needs it; `no_tails` where nothing was told.

    Parameters
    ----------
    column : by risk unit, its place in what follows; -1 where its past is not known
    returns : shape (n_periods, n_columns); no periods: no value at risk
    volatility, margined : by column, see `RiskParameters`
    moves : see `margined_moves`
    delta, curves, room : scratch
    """

    column: I32
    returns: F64
    volatility: F64
    margined: F64
    moves: F64
    rules: TailRules
    delta: F64
    curves: F64
    room: F64


def tails(column: I32, returns: F64, volatility: F64, margined: F64, moves: F64, rules: TailRules) -> Tails:
    """Tails with their scratch."""
    periods, columns = returns.shape
    rooms = np.empty(columns), np.empty((columns, CURVE_POINTS)), np.empty((3, periods + 1))
    return Tails(column, returns, volatility, margined, moves, rules, *rooms)


def no_tails(units: int) -> Tails:
    """Of a market whose past nobody has told: nothing is at risk by it."""
    nothing, none = np.zeros((0, 0)), np.zeros(0)
    return tails(np.full(units, -1, dtype=np.int32), nothing, none, none, nothing, TailRules(0.99, 0.975, 0.97, 1, 1.0))


@inner
def book_tail(tails: Tails, table: RiskTable, units: RiskUnits, instrument: I32, quantity: F64, columns: F64) -> float:
    """Value at risk over the horizon, >= 0, reporting currency; 0 where no past was told.

    Parameters
    ----------
    instrument, quantity : positions sorted by `table.line`, which ascends with the unit; shape (n_positions,)
    columns : scratch of `unit_risk`
    """
    if tails.returns.shape[0] == 0:
        return 0.0
    beside, bent = 0.0, False
    tails.delta[:] = 0.0
    first, last = 0, instrument.shape[0]
    while first < last:
        unit = table.unit[instrument[first]]
        until = first
        while until < last and table.unit[instrument[until]] == unit:
            until += 1
        at = tails.column[unit]
        if at >= 0:
            for j in range(first, until):
                tails.delta[at] += quantity[j] * table.amounts[instrument[j], DELTA]
                bent = bent or table.kind[instrument[j]] == OPTION
        else:
            held, rates = slice(first, until), rates_of_unit(units, unit)
            grid = grid_of_unit(units, unit)
            beside += unit_risk(table, grid, rates, unit, instrument[held], quantity[held], columns).scan
        first = until
    if bent:
        _write_curves(tails, table, instrument, quantity)
    found, before = 0.0, 0.0
    horizon = _next_horizon(tails, table, units, instrument, 0.0)
    while horizon > before:
        step = _measure(tails, bent) * np.sqrt(horizon - before)
        found = step if before == 0.0 else np.sqrt(found * found + step * step)
        _leave(tails, table, units, instrument, horizon)
        before = horizon
        horizon = _next_horizon(tails, table, units, instrument, before)
    return beside + found


@inner(_nrt=False)
def _next_horizon(tails: Tails, table: RiskTable, units: RiskUnits, instrument: I32, above: float) -> float:
    """Least liquidity horizon above one, of the units held whose past is known; the one given where there is none."""
    found = np.inf
    for j in range(instrument.shape[0]):
        unit = table.unit[instrument[j]]
        if tails.column[unit] >= 0 and units.liquidity_horizon[unit] > above:
            found = min(found, units.liquidity_horizon[unit])
    return found if found < np.inf else above


@inner(_nrt=False)
def _leave(tails: Tails, table: RiskTable, units: RiskUnits, instrument: I32, horizon: float) -> None:
    """From here on units of this horizon and shorter ones move no more."""
    for j in range(instrument.shape[0]):
        unit = table.unit[instrument[j]]
        if tails.column[unit] >= 0 and units.liquidity_horizon[unit] <= horizon:
            tails.delta[tails.column[unit]] = 0.0
            tails.curves[tails.column[unit]] = 0.0


@inner(_nrt=False)
def _write_curves(tails: Tails, table: RiskTable, instrument: I32, quantity: F64) -> None:
    """Profit of the book by unit, at the points of the curves."""
    tails.curves[:] = 0.0
    for j in range(instrument.shape[0]):
        at = tails.column[table.unit[instrument[j]]]
        if at >= 0:
            for point in range(CURVE_POINTS):
                tails.curves[at, point] += quantity[j] * table.curves[instrument[j], point]


@inner
def _measure(tails: Tails, bent: bool) -> float:
    """Value at risk over the horizon of what is in the scratch: of deltas, or of curves where there are options."""
    if bent:
        return curve_requirement(tails.curves, CURVE_FIRST, CURVE_STEP, tails.moves, tails.rules, tails.room[0])
    return linear_value_at_risk(tails.delta, tails.returns, tails.volatility, tails.margined, tails.rules, tails.room)
