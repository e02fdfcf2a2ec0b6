"""Portfolio margin of an account: its units' scenario losses after offsets, its value at risk, and its add-ons.

core risk = the largest of the grid loss after offsets and the value at risk, at least every unit's own floor;
initial margin = initial factor x core + add-ons, maintenance margin = maintenance factor x core + add-ons. The
result says what binds; `unit_risk` of the unit says in which scenario, and what each add-on is. Equity is not in
it: values of options and coins are, once, in the account's equity.
"""

import math
from typing import NamedTuple

import numpy as np

from streams.compiled import kernel
from streams.margin.offsets import Correlations, offset_requirement
from streams.margin.parameters import F64, I32, I64
from streams.margin.risk_table import RiskTable
from streams.margin.risk_units import RiskUnits, rates_of_unit
from streams.margin.scenarios import BASIS_COLUMNS, Grid
from streams.margin.unit_risk import charges, unit_risk

#: What binds core risk: no loss anywhere, the scenarios, the value at risk, or a least charge.
NOTHING, GRID, VALUE_AT_RISK, FLOOR = range(4)


class PortfolioRisk(NamedTuple):
    """Requirement of an account, reporting currency.

    `grid_loss` is after offsets, `additive_loss` before; `binds` is one of NOTHING, GRID, VALUE_AT_RISK, FLOOR;
    the charges are the add-ons before any factor; `unsure` is for prices of low confidence, in initial margin only.
    """

    initial_margin: float
    maintenance_margin: float
    core: float
    grid_loss: float
    additive_loss: float
    value_at_risk: float
    binds: int
    initial_charges: float
    maintenance_charges: float
    unsure: float


_NAN = math.nan
#: Of an account with a scenario whose loss is no number, or with such a value at risk: numbers too large for float64
#: are not margined as none.
UNKNOWN = PortfolioRisk(_NAN, _NAN, _NAN, _NAN, _NAN, _NAN, NOTHING, _NAN, _NAN, _NAN)


class Room(NamedTuple):
    """Scratch of `portfolio_risk`; `room_for` makes it."""

    columns: F64
    up: F64
    down: F64
    unit: I32
    pairs: F64


def room_for(units: RiskUnits) -> Room:
    """Scratch for accounts of these risk units."""
    count, scenarios = units.move.shape
    return Room(
        columns=np.empty((3, scenarios + BASIS_COLUMNS)),
        up=np.empty(count),
        down=np.empty(count),
        unit=np.empty(count, dtype=np.int32),
        pairs=np.empty((2, count)),
    )


@kernel(_nrt=False, forceinline=True)
def portfolio_risk(
    table: RiskTable,
    units: RiskUnits,
    correlations: Correlations,
    instrument: I32,
    quantity: F64,
    value_at_risk: float,
    room: Room,
) -> PortfolioRisk:
    """Requirement of one account.

    Parameters
    ----------
    instrument, quantity : positions sorted by `table.line`, which ascends with the unit; shape (n_positions,)
    value_at_risk : of the whole account, >= 0; 0 where no model has spoken, nan where it is no number
    """
    initial = maintenance = unsure = lifted = most = 0.0
    count, first, last, known = 0, 0, instrument.shape[0], value_at_risk == value_at_risk
    while first < last:
        unit = table.unit[instrument[first]]
        until = first + 1
        while until < last and table.unit[instrument[until]] == unit:
            until += 1
        rates = rates_of_unit(units, unit)
        held = slice(first, until)
        columns = units.move[unit], units.shock[unit], units.dampening[unit], units.to_edge[unit]
        grid = Grid(*columns, units.tilts, units.basis_up[unit], units.basis_down[unit])
        risk = unit_risk(table, grid, rates, unit, instrument[held], quantity[held], room.columns)
        room.unit[count], room.up[count], room.down[count] = unit, risk.up, risk.down
        more, less = charges(risk, rates)
        # options bought cost no more than they are worth, whatever is added up
        room_left = max(risk.most - max(risk.scan, min(risk.floor, risk.most)), 0.0)
        initial += min(more, room_left)
        maintenance += min(less, room_left)
        unsure += risk.unsure
        lifted += max(min(risk.floor, risk.most) - risk.scan, 0.0)
        known = known and risk.scan == risk.scan
        most += risk.most
        count += 1
        first = until
    grid_loss, additive = offset_requirement(
        correlations, room.unit[:count], room.up[:count], room.down[:count], room.pairs
    )
    if not known:
        return UNKNOWN
    core, binds = grid_loss, GRID if grid_loss > 0.0 else NOTHING
    if min(value_at_risk, most) > core:
        core, binds = min(value_at_risk, most), VALUE_AT_RISK
    if grid_loss + lifted > core:
        core, binds = grid_loss + lifted, FLOOR
    common = units.common
    maintenance_margin = min(common.maintenance_factor * core + maintenance, most)
    if common.factor_on_charges:
        initial_margin = common.initial_factor * (core + initial) + unsure
    else:
        initial_margin = min(common.initial_factor * core + initial, most) + unsure
    return PortfolioRisk(
        max(initial_margin, maintenance_margin),
        maintenance_margin,
        core,
        grid_loss,
        additive,
        value_at_risk,
        binds,
        initial,
        maintenance,
        unsure,
    )


@kernel(_nrt=False)
def portfolio_risks(
    table: RiskTable,
    units: RiskUnits,
    correlations: Correlations,
    start: I64,
    instrument: I32,
    quantity: F64,
    value_at_risk: F64,
    room: Room,
    found: F64,
) -> None:
    """Write initial and maintenance margin of many accounts, each from its own positions alone.

    Parameters
    ----------
    start : positions start[a] : start[a + 1] are account a's, as `portfolio_risk` takes them; shape (n_accounts + 1,)
    value_at_risk : shape (n_accounts,)
    found : shape (n_accounts, 2)
    """
    for a in range(start.shape[0] - 1):
        held = slice(start[a], start[a + 1])
        risk = portfolio_risk(table, units, correlations, instrument[held], quantity[held], value_at_risk[a], room)
        found[a, 0] = risk.initial_margin
        found[a, 1] = risk.maintenance_margin
