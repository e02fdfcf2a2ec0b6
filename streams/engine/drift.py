"""How far what a risk table says has drifted from what it said when books were judged: measured, not foreseen.

A book on portfolio margin is worth, and requires, sums of its quantities x rows of the risk table, through functions
that never grow faster than those sums (the largest of losses, a part of a net amount, ...). So what it can have lost
since is at most the sum of |quantity| x what each of its rows has drifted by, whatever has moved them: prices,
volatilities, forwards, discounts, or time.

A row drifts in three ways, each taken relative to a *scale*, about what a move of its price by 1 does: in worth, in
what it makes the requirement, and in delta. The drift of a unit is the largest of its rows in any of them. A scale
only says how tight the bound is, never whether it holds.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streams.compiled import inner, kernel
from streams.margin import risk_table
from streams.margin.equity import position_value
from streams.margin.parameters import F64, I32, Parameters
from streams.margin.risk_table import RiskTable
from streams.margin.risk_units import RiskUnits
from streams.margin.scenarios import BASIS_COLUMNS, OPTION

Known = npt.NDArray[np.bool_]

#: A drift that no radius reaches: something is known now that was not, or no more.
FAR = 1e30
#: Columns of a sketch after the gains of all scenarios and of the basis test.
MARK, MINIMUM, CHARGE, SPREAD, NOTIONAL, DELTA, WORTH, LONG, SHORT, BASIS = range(10)
MORE = 10
#: Columns of scales; the last one bounds all amounts of a row.
IN_WORTH, IN_REQUIREMENT, IN_DELTA, SIZE = range(4)
SCALES = 4
#: A scale takes volatility to move by so much with a price that moves by 1, and is at least this part of the notional.
VOLATILITY_MOVE, LEAST = 0.5, 1e-4


class Sketch(NamedTuple):
    """What books are made of at one moment.

    Attributes
    ----------
    known : by row of the risk table, whether all of it is; rows of no unit never are
    rows : shape (rows, scenarios + BASIS_COLUMNS + MORE), 0 where not known; gains by scenario, then what MARK to BASIS
        name: WORTH is of one unit at the instrument's mark, in what it settles in, LONG to BASIS are its expiry's
    prices : by asset, nan where never seen
    """

    known: Known
    rows: F64
    prices: F64


def empty_sketch(table: RiskTable, assets: int) -> Sketch:
    """Room for a sketch of this table."""
    count, columns = table.values.shape
    return Sketch(np.zeros(count, dtype=np.bool_), np.zeros((count, columns + MORE)), np.full(assets, np.nan))


@kernel
def sketch(p: Parameters, table: RiskTable, marks: F64, prices: F64, out: Sketch) -> None:
    """Write down what the table, the marks and the prices say now."""
    columns = table.values.shape[1]
    for k in range(prices.shape[0]):
        out.prices[k] = prices[k]
    for i in range(table.values.shape[0]):
        row, amounts, expiry = out.rows[i], table.amounts[i], table.by_expiry[table.expiry[i]]
        total = 0.0
        for c in range(columns):
            row[c] = table.values[i, c] - amounts[risk_table.MARK]
            total += row[c]
        row[columns + MARK] = amounts[risk_table.MARK]
        row[columns + MINIMUM] = amounts[risk_table.MINIMUM]
        row[columns + CHARGE] = amounts[risk_table.MAINTENANCE]
        row[columns + SPREAD] = amounts[risk_table.SPREAD]
        row[columns + NOTIONAL] = amounts[risk_table.NOTIONAL]
        row[columns + DELTA] = amounts[risk_table.DELTA]
        row[columns + WORTH] = position_value(p, i, 1.0, marks[i]) if i < marks.shape[0] else 0.0
        row[columns + LONG] = expiry[risk_table.LONG_DISCOUNT]
        row[columns + SHORT] = expiry[risk_table.SHORT_DISCOUNT]
        row[columns + BASIS] = expiry[risk_table.BASIS_RATE]
        for c in range(columns, columns + MORE):
            total += row[c]
        out.known[i] = table.unit[i] >= 0 and np.isfinite(total)
        if not out.known[i]:
            row[:] = 0.0


@inner
def coin_requirement(units: RiskUnits, unit: int, row: F64, scenarios: int) -> float:
    """Most that one coin of a unit adds to maintenance margin but for what its delta does; from its row of a sketch."""
    common, columns = units.common, scenarios + BASIS_COLUMNS
    loss = 0.0
    for s in range(scenarios):
        loss = max(loss, units.dampening[unit, s] * abs(row[s]))
    basis = row[columns + BASIS] * max(abs(row[scenarios]), abs(row[scenarios + 1]))
    charged = row[columns + CHARGE] + row[columns + SPREAD] + basis
    return common.maintenance_factor * (loss + row[columns + MINIMUM]) + charged


@kernel
def write_scales(
    p: Parameters, table: RiskTable, units: RiskUnits, beside: I32, coin: I32, now: Sketch, out: F64
) -> None:
    """Write the scales of all rows at a sketch; nan where the row is not known.

    Parameters
    ----------
    beside : by unit and scenario, another of the same volatility shock and another move; -1 none
    coin : by asset, its row of the risk table; -1 none
    out : shape (rows, SCALES)
    """
    columns = table.values.shape[1]
    scenarios = columns - BASIS_COLUMNS
    factor = units.common.maintenance_factor
    for i in range(table.values.shape[0]):
        out[i, :] = np.nan
        if not now.known[i]:
            continue
        unit, row = table.unit[i], now.rows[i]
        amounts = table.amounts[i]
        delta, gamma, notional = amounts[risk_table.DELTA], abs(amounts[risk_table.GAMMA]), amounts[risk_table.NOTIONAL]
        steep, most = 0.0, 0.0
        for s in range(scenarios):
            other, move = beside[unit, s], units.move[unit, s]
            slope = (row[other] - row[s]) / (units.move[unit, other] - move) if other >= 0 else delta
            steep = max(steep, units.dampening[unit, s] * abs((1.0 + move) * slope - delta))
            most = max(most, abs(row[s]))
        least, moved = LEAST * abs(notional), VOLATILITY_MOVE * abs(amounts[risk_table.VEGA])
        basis = max(abs(row[scenarios]), abs(row[scenarios + 1])) + units.basis_up[unit] * gamma
        required = factor * (steep + moved + row[columns + MINIMUM]) + row[columns + BASIS] * basis
        required += row[columns + CHARGE] + row[columns + SPREAD] + least
        worth = 0.0
        if i < p.settlement.shape[0]:
            asset = p.settlement[i]
            worth = abs(row[columns + WORTH]) * now.prices[asset]
            if table.kind[i] == OPTION:
                required += units.naked_maintenance[unit] * abs(notional)
            if coin[asset] >= 0:
                required += abs(delta / now.prices[asset]) * coin_requirement(
                    units, unit, now.rows[coin[asset]], scenarios
                )
        out[i, IN_WORTH] = abs(delta) + moved + least
        out[i, IN_REQUIREMENT] = required
        out[i, IN_DELTA] = abs(delta) + gamma + least
        out[i, SIZE] = most + abs(row[columns + MARK]) + abs(notional) + worth


@kernel
def drifts(
    p: Parameters,
    table: RiskTable,
    units: RiskUnits,
    coin: I32,
    fixed: int,
    then: Sketch,
    scale: F64,
    now: Sketch,
    out: F64,
) -> None:
    """Write the drift of each unit since `then`, and last that of the prices of all assets that are no unit's coin.

    Parameters
    ----------
    fixed : the asset whose price cannot move (the reporting currency), or NONE
    then, scale : as books were anchored
    out : shape (units + 1,)
    """
    count, columns = table.values.shape
    scenarios = columns - BASIS_COLUMNS
    factor = units.common.maintenance_factor
    out[:] = 0.0
    for k in range(now.prices.shape[0]):
        if k != fixed:
            at = table.unit[coin[k]] if coin[k] >= 0 else out.shape[0] - 1
            moved = abs(now.prices[k] - then.prices[k]) / then.prices[k]
            if moved == moved:
                out[at] = max(out[at], moved)
            elif (now.prices[k] == now.prices[k]) or (then.prices[k] == then.prices[k]):
                out[at] = FAR
    by_line = np.zeros(count)  # there are no more lines than rows
    for i in range(count):
        if now.known[i] and then.known[i]:
            moved = abs(now.rows[i, columns + NOTIONAL] - then.rows[i, columns + NOTIONAL])
            by_line[table.line[i]] = max(by_line[table.line[i]], moved)
    for i in range(count):
        unit = table.unit[i]
        if now.known[i] and then.known[i]:
            here, there = now.rows[i], then.rows[i]
            loss = 0.0
            for s in range(scenarios):
                moved = units.dampening[unit, s] * abs(here[s] - there[s])
                loss = moved if moved > loss else loss
            mark = abs(here[columns + MARK] - there[columns + MARK])
            basis, rate = 0.0, abs(here[columns + BASIS] - there[columns + BASIS])
            for c in range(scenarios, columns):
                basis = max(basis, here[columns + BASIS] * abs(here[c] - there[c]) + rate * abs(there[c]))
            required = basis
            for c in (CHARGE, SPREAD):
                required += abs(here[columns + c] - there[columns + c])
            if table.kind[i] == OPTION:
                loss += _discounted(units, unit, here, there, scenarios, mark)
                required += units.naked_maintenance[unit] * by_line[table.line[i]]
            required += factor * (loss + abs(here[columns + MINIMUM] - there[columns + MINIMUM]))
            worth, delta = mark, abs(here[columns + DELTA] - there[columns + DELTA])
            if i < p.settlement.shape[0]:
                asset = p.settlement[i]
                gained = abs(here[columns + WORTH] - there[columns + WORTH])
                worth = max(worth, gained * now.prices[asset] * (1.0 + p.borrow_haircut[asset]))
                if coin[asset] >= 0:  # what it gains is coins, which are a leg too
                    row = now.rows[coin[asset]]
                    required += gained * coin_requirement(units, table.unit[coin[asset]], row, scenarios)
                    delta += gained * abs(row[columns + DELTA])
            moved = max(worth / scale[i, IN_WORTH], required / scale[i, IN_REQUIREMENT], delta / scale[i, IN_DELTA])
            out[unit] = max(out[unit], moved if moved == moved else FAR)
        elif now.known[i] != then.known[i]:
            out[unit] = FAR


@inner
def _discounted(units: RiskUnits, unit: int, here: F64, there: F64, scenarios: int, mark: float) -> float:
    """What discounting the value of an option in scenarios adds to the drift of its losses."""
    columns = scenarios + BASIS_COLUMNS
    long, short = here[columns + LONG], here[columns + SHORT]
    steeper = max(abs(long - 1.0), abs(short - 1.0))
    changed = max(abs(long - there[columns + LONG]), abs(short - there[columns + SHORT]))
    more = 0.0
    if steeper > 0.0 or changed > 0.0:
        for s in range(scenarios):
            value = abs(there[s] + there[columns + MARK])
            moved = steeper * (abs(here[s] - there[s]) + mark) + changed * value
            more = max(more, units.dampening[unit, s] * moved)
    return more
