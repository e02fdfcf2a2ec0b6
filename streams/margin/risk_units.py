"""Risk units side by side: the grid and the charges of each, as arrays that one kernel reads for a whole account.

A unit is one underlying with all that is held on it. Grids of fewer scenarios are filled up with such as count
nothing, before those that tilt the smile, so the scenarios of all units stand in the same columns.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from streams.compiled import kernel
from streams.margin.parameters import F64, I32
from streams.margin.scenarios import SAME, Grid
from streams.margin.unit_risk import ChargeRates


class RiskUnits(NamedTuple):
    """Rules of all units; arrays of shape (n_units, n_scenarios) and (n_units,).

    `common` has the factors and what else is alike for all units; its rates that stand here as arrays are not read.
    """

    move: F64
    shock: I32
    dampening: F64
    to_edge: F64
    tilts: int
    basis_up: F64
    basis_down: F64
    calendar: F64
    naked_initial: F64
    naked_maintenance: F64
    delta_net: F64
    delta_hedged: F64
    impact: F64
    liquidity_horizon: F64  # over how many horizons past moves count, 1 or more
    common: ChargeRates


def risk_units(
    grids: Sequence[Grid], rates: Sequence[ChargeRates], common: ChargeRates, horizons: Sequence[float]
) -> RiskUnits:
    """The units of these grids, charges and liquidity horizons, in the order given.

    Examples
    --------
    >>> from streams.margin.scenarios import grid
    >>> rates = ChargeRates(1.0, 0.8, False, False, False, 0.01, 0.005, 0.005, 0.02, 0.01, 0.0, 0.0, 0.0)
    >>> grids = [grid(price_range=0.16), grid(price_range=0.2, tails=(), skew=False)]
    >>> both = risk_units(grids, [rates] * 2, rates, [1.0, 1.0])
    >>> both.move.shape, both.tilts, both.dampening[1, 27:].tolist()
    ((2, 37), 2, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    """
    tilts = max((one.tilts for one in grids), default=0)
    plain = max((len(one.move) - one.tilts for one in grids), default=0)
    shape = len(grids), plain + tilts
    move, shock = np.zeros(shape), np.full(shape, SAME, dtype=np.int32)
    dampening, to_edge = np.zeros(shape), np.zeros(shape)
    for unit, one in enumerate(grids):
        own = len(one.move) - one.tilts
        columns = (move, one.move), (shock, one.shock), (dampening, one.dampening), (to_edge, one.to_edge)
        for filled, given in columns:
            filled[unit, :own] = given[:own]
            filled[unit, plain : plain + one.tilts] = given[own:]

    def column(values: Sequence[float]) -> F64:
        return np.array(values, dtype=np.float64)

    return RiskUnits(
        move=move,
        shock=shock,
        dampening=dampening,
        to_edge=to_edge,
        tilts=tilts,
        basis_up=column([one.basis_up for one in grids]),
        basis_down=column([one.basis_down for one in grids]),
        calendar=column([one.calendar for one in rates]),
        naked_initial=column([one.naked_initial for one in rates]),
        naked_maintenance=column([one.naked_maintenance for one in rates]),
        delta_net=column([one.delta_net for one in rates]),
        delta_hedged=column([one.delta_hedged for one in rates]),
        impact=column([one.impact for one in rates]),
        liquidity_horizon=column(horizons),
        common=common,
    )


@kernel
def grid_of_unit(units: RiskUnits, unit: int) -> Grid:
    """Grid of one unit."""
    return Grid(
        units.move[unit],
        units.shock[unit],
        units.dampening[unit],
        units.to_edge[unit],
        units.tilts,
        units.basis_up[unit],
        units.basis_down[unit],
    )


@kernel(_nrt=False)
def rates_of_unit(units: RiskUnits, unit: int) -> ChargeRates:
    """Charges of one unit."""
    common = units.common
    return ChargeRates(
        common.initial_factor,
        common.maintenance_factor,
        common.factor_on_charges,
        common.basis_floors,
        common.delta_floors,
        units.calendar[unit],
        units.naked_initial[unit],
        units.naked_maintenance[unit],
        units.delta_net[unit],
        units.delta_hedged[unit],
        common.unsure_below,
        common.unsure,
        units.impact[unit],
    )
